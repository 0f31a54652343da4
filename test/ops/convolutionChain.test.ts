import * as tf from '@tensorflow/tfjs';
import {applyLoRA, disposeModel, trainableVariables} from 'tfjs-lora';
import '../../src/kernels/backends';
import {withoutOwnCode} from '../../src/kernels/tryOut';
import {expectGradients, kernelsOf, numbers, random, useBackend, withoutLeaks} from '../helpers';

beforeAll(async () => {
  await useBackend('wasm');
});

type Layers = (input: tf.SymbolicTensor) => tf.SymbolicTensor | tf.SymbolicTensor[];

const apply = (x: tf.SymbolicTensor, ...layers: tf.layers.Layer[]) =>
  layers.reduce((y, layer) => layer.apply(y) as tf.SymbolicTensor, x);

const conv = (filters: number, args = {}) => tf.layers.conv2d({filters, kernelSize: 3, padding: 'same', ...args});
const norm = (args = {}) =>
  tf.layers.batchNormalization({
    ...{betaInitializer: 'randomNormal', movingMeanInitializer: 'randomNormal'},
    ...{gammaInitializer: tf.initializers.randomUniform({minval: 0.5, maxval: 2})},
    ...args,
  });
const depthwise = (args = {}) =>
  tf.layers.depthwiseConv2d({kernelSize: 3, padding: 'same', depthwiseInitializer: 'glorotNormal', ...args});

const shared = () => {
  const [layer, after] = [conv(16), norm()];
  return {layer, after};
};

/** Models in which a convolution, a normalization and a relu follow each other, or nearly. */
const MODELS: Record<string, Layers> = {
  'conv, norm, relu': x => apply(x, conv(16), norm(), tf.layers.reLU(), conv(8)),
  'conv, norm, relu6': x => apply(x, conv(16), norm(), tf.layers.reLU({maxValue: 6}), conv(8)),
  'conv, norm, activation': x => apply(x, conv(12), norm(), tf.layers.activation({activation: 'relu6'}), conv(8)),
  'conv, norm, tanh': x => apply(x, conv(12), norm(), tf.layers.activation({activation: 'tanh'}), conv(8)),
  'conv, norm': x => apply(x, conv(16), norm(), conv(8), norm()),
  'conv, relu': x => apply(x, conv(16), tf.layers.reLU(), conv(8)),
  'depthwise, norm, relu6': x =>
    apply(x, conv(8), depthwise(), norm(), tf.layers.reLU({maxValue: 6}), depthwise({strides: 2}), norm()),
  'strides and no padding': x =>
    apply(x, conv(9, {strides: 2}), norm(), tf.layers.reLU(), conv(6, {padding: 'valid'}), norm(), tf.layers.reLU()),
  'without bias, scale and center': x =>
    apply(x, conv(8, {useBias: false}), norm({scale: false, center: false}), tf.layers.reLU()),
  'a result used twice': x => {
    const y = apply(x, conv(8));
    return tf.layers.add().apply([apply(y, norm(), tf.layers.reLU()), y]) as tf.SymbolicTensor;
  },
  'a normalization used twice': x => {
    const y = apply(x, conv(8), norm());
    return tf.layers.add().apply([apply(y, tf.layers.reLU()), y]) as tf.SymbolicTensor;
  },
  'inner outputs': x => {
    const convolved = apply(x, conv(8));
    const normalized = apply(convolved, norm());
    return [convolved, normalized, apply(normalized, tf.layers.reLU())];
  },
  'shared layers': x => {
    const {layer, after} = shared();
    const first = apply(apply(x, conv(16)), layer, after, tf.layers.reLU());
    return apply(first, layer, after, tf.layers.reLU({maxValue: 6}), layer);
  },
};

function build(layers: Layers): tf.LayersModel {
  const input = tf.input({shape: [9, 8, 3]});
  return tf.model({inputs: input, outputs: layers(input)});
}

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

describe.each(Object.entries(MODELS))('%s', (_, layers) => {
  test('has the gradients that its layers have one by one, in the first step and in later ones', async () => {
    const base = build(layers);
    const model = applyLoRA(base, {rank: 2, targets: ['Conv2D'], seed: 1});
    stir(model);
    const x = random<tf.Rank.R4>([2, 9, 8, 3], 5);
    const expected = await withoutOwnCode(() => gradients(model, x));
    for (let step = 0; step < 3; step++) {
      expectGradients(gradients(model, x), expected);
    }
    await withoutLeaks(() => gradients(model, x));
    x.dispose();
    [model, base].forEach(disposeModel);
  });
});

test('three layers are one launch', async () => {
  const base = build(MODELS['conv, norm, relu']!);
  const model = applyLoRA(base, {rank: 2, targets: ['Conv2D'], seed: 1});
  const x = random<tf.Rank.R4>([2, 9, 8, 3], 5);
  gradients(model, x);
  const names = (await kernelsOf(() => gradients(model, x))).map(({name}) => name);
  expect(names.filter(name => name === 'Relu' || name === 'TfjsLoRAAffine')).toEqual(['TfjsLoRAAffine']);
  expect(names).not.toContain('ReluGrad');
  x.dispose();
  [model, base].forEach(disposeModel);
});

test('a model cut at an inner output computes what it did', () => {
  const base = build(MODELS['conv, norm, relu']!);
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
  x.dispose();
  [model, base].forEach(disposeModel);
});

test('a new model still computes what its base computes, bit for bit', async () => {
  const base = build(MODELS['depthwise, norm, relu6']!);
  const model = applyLoRA(base, {rank: 2, targets: ['Conv2D']});
  const x = random<tf.Rank.R4>([2, 9, 8, 3], 5);
  tf.tidy(() => expect(numbers(model.predict(x) as tf.Tensor)).toEqual(numbers(base.predict(x) as tf.Tensor)));
  const loaded = await tf.loadLayersModel(tf.io.fromMemory(await artifactsOf(model)));
  gradients(loaded, x);
  tf.tidy(() => expect(numbers(loaded.predict(x) as tf.Tensor)).toEqual(numbers(base.predict(x) as tf.Tensor)));
  x.dispose();
  [loaded, model, base].forEach(disposeModel);
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
