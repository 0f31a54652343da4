import * as tf from '@tensorflow/tfjs';
import {applyLoRA, trainableVariables} from 'tfjs-lora';
import {withoutOwnCode} from '../../../src/backends/shared/tryOut';
import {chainModel, CHAINS} from '../../backends/everywhere/chains';
import {expectGradients, kernelsOf, numbers, random, withoutLeaks} from '../../helpers';

/** The loss, then the gradients of everything that trains. */
function gradients(model: tf.LayersModel, x: tf.Tensor): number[][] {
  return tf.tidy(() => {
    const loss = () => {
      const outputs = [model.apply(x, {training: true}) as tf.Tensor | tf.Tensor[]].flat();
      return tf.addN(outputs.map(y => tf.sum<tf.Scalar>(tf.mul(y, tf.sin(tf.add(y, 0.5))))));
    };
    const {value, grads} = tf.variableGrads(loss, trainableVariables(model));
    return [value, ...Object.values(grads)].map(numbers);
  });
}

/** Gives factors that start at zero other values, so that the update counts. */
function stir(model: tf.LayersModel): void {
  trainableVariables(model).forEach((variable, i) => {
    tf.tidy(() => variable.assign(tf.add(variable, random(variable.shape as [number], i + 1, 0.05))));
  });
}

describe.each(Object.entries(CHAINS))('%s', (_, layers) => {
  test('has the gradients that its layers have one by one, in the first step and in later ones', async () => {
    const base = chainModel(layers);
    const model = applyLoRA(base, {rank: 2, targets: ['Conv2D'], seed: 1});
    stir(model);
    const x = random<tf.Rank.R4>([2, 9, 8, 3], 5);
    const expected = await withoutOwnCode(() => gradients(model, x));
    for (let step = 0; step < 3; step++) {
      expectGradients(gradients(model, x), expected);
    }
    await withoutLeaks(() => gradients(model, x));
  });
});

test('three layers are one launch', async () => {
  const base = chainModel(CHAINS['conv, norm, relu']!);
  const model = applyLoRA(base, {rank: 2, targets: ['Conv2D'], seed: 1});
  const x = random<tf.Rank.R4>([2, 9, 8, 3], 5);
  gradients(model, x);
  const names = (await kernelsOf(() => gradients(model, x))).map(({name}) => name);
  expect(names.filter(name => name === 'Relu' || name === 'TfjsLoRAAffine')).toEqual(['TfjsLoRAAffine']);
  expect(names).not.toContain('ReluGrad');
});

test('a model cut at an inner output computes what it did', () => {
  const base = chainModel(CHAINS['conv, norm, relu']!);
  const model = applyLoRA(base, {rank: 2, targets: ['Conv2D'], seed: 1});
  const x = random<tf.Rank.R4>([2, 9, 8, 3], 5);
  gradients(model, x);
  for (const layer of model.layers.slice(1, 4)) {
    const cut = tf.model({inputs: model.inputs, outputs: layer.output});
    tf.tidy(() => {
      const expected = numbers(cut.predict(x) as tf.Tensor);
      let inTraining: number[] = [];
      tf.grad(z => {
        const y = cut.apply(z, {training: true}) as tf.Tensor;
        inTraining = numbers(y);
        return tf.sum(y);
      })(x);
      expect(inTraining).toBeAllClose(expected, {rtol: 1e-4, atol: 1e-5});
    });
  }
});

test('a new model still computes what its base computes, bit for bit', async () => {
  const base = chainModel(CHAINS['depthwise, norm, relu6']!);
  const model = applyLoRA(base, {rank: 2, targets: ['Conv2D']});
  const x = random<tf.Rank.R4>([2, 9, 8, 3], 5);
  tf.tidy(() => expect(numbers(model.predict(x) as tf.Tensor)).toEqual(numbers(base.predict(x) as tf.Tensor)));
  const loaded = await tf.loadLayersModel(tf.io.fromMemory(await artifactsOf(model)));
  gradients(loaded, x);
  tf.tidy(() => expect(numbers(loaded.predict(x) as tf.Tensor)).toEqual(numbers(base.predict(x) as tf.Tensor)));
});

async function artifactsOf(model: tf.LayersModel): Promise<tf.io.ModelArtifacts> {
  let artifacts: tf.io.ModelArtifacts | undefined;
  const modelArtifactsInfo = {dateSaved: new Date(), modelTopologyType: 'JSON' as const};
  await model.save(
    tf.io.withSaveHandler(saved => {
      artifacts = saved;
      return Promise.resolve({modelArtifactsInfo});
    }),
  );
  return artifacts!;
}
