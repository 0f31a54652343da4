import * as tf from '@tensorflow/tfjs';
import {
  applyLoRA,
  combineAdapters,
  convertToLoRA,
  disposeModel,
  getAdapter,
  LoRAError,
  type LoRAConfig,
  mergeLoRA,
} from 'tfjs-lora';
import {numbers, random, withoutLeaks} from '../../helpers';

/** A small model with a convolution, two Dense layers and a recurrent one. */
function network(): tf.LayersModel {
  const kernelInitializer = tf.initializers.glorotNormal({seed: 1});
  return tf.sequential({
    layers: [
      tf.layers.conv1d({filters: 6, kernelSize: 2, inputShape: [5, 4], kernelInitializer, name: 'conv'}),
      tf.layers.dense({units: 5, activation: 'tanh', kernelInitializer, biasInitializer: 'ones', name: 'dense'}),
      tf.layers.flatten({}),
      tf.layers.dense({units: 3, kernelInitializer, name: 'out'}),
    ],
  });
}

/** An adapted model whose update is not zero. */
function trained(base: tf.LayersModel, config: LoRAConfig): tf.LayersModel {
  const model = applyLoRA(base, {...(config.method?.startsWith('ia3') !== true && {rank: 3}), seed: 2, ...config});
  model.trainableWeights.forEach((weight, i) => {
    tf.tidy(() => void weight.write(tf.add(weight.read(), random(weight.shape as number[], i, 0.3))));
  });
  return model;
}

const METHODS = ['dora', 'loha', 'lokr', 'vera', 'ia3', 'ia3-feedforward', 'lora-fa'] as const;

test.each(METHODS)('%s of full rank computes the same as LoRA', async method => {
  await withoutLeaks(async () => {
    const base = network();
    const model = trained(base, {method});
    const {adapter, error, errors} = await convertToLoRA(model, {rank: 64});
    expect(error).toBeLessThan(1e-5);
    expect(Object.keys(errors)).toEqual(['conv', 'dense', 'out']);
    expect(Object.values(adapter.config.layers).map(layer => layer.method)).toEqual([undefined, undefined, undefined]);
    const plain = applyLoRA(base, adapter);
    tf.tidy(() => {
      const x = random([2, 5, 4], 9);
      expect(numbers(plain.predict(x) as tf.Tensor)).toBeAllClose(numbers(model.predict(x) as tf.Tensor), {
        rtol: 1e-4,
        atol: 1e-5,
      });
    });
    [plain, model, base].forEach(each => disposeModel(each));
  });
});

test('the error that is left is that of the merged kernel', async () => {
  await withoutLeaks(async () => {
    const base = network();
    const model = trained(base, {method: 'loha', targets: ['dense']});
    const converted = await convertToLoRA(model, {rank: 1});
    const plain = applyLoRA(base, converted.adapter);
    const models = [base, mergeLoRA(model), mergeLoRA(plain)];
    const [before, exact, near] = models.map(each => each.getLayer('dense').getWeights()[0]!) as [
      tf.Tensor,
      tf.Tensor,
      tf.Tensor,
    ];
    const expected = tf.tidy(() => numbers(tf.div(tf.norm(tf.sub(exact, near)), tf.norm(tf.sub(exact, before)))));
    expect(converted.error).toBeCloseTo(expected[0]!, 4);
    expect(converted.error).toBeGreaterThan(0.01);
    expect(converted.errors).toEqual({dense: converted.error});
    [plain, model, ...models].forEach(each => disposeModel(each));
  });
});

describe('a converted adapter', () => {
  test('can be combined, and LoRA stays as it is', async () => {
    const base = network();
    const dora = getAdapter(trained(base, {method: 'dora', targets: ['out']}));
    const model = trained(base, {targets: ['out']});
    const lora = await convertToLoRA(model, {rank: 3});
    expect(lora.error).toBe(0);
    const own = getAdapter(model);
    expect(numbers(lora.adapter.tensors['out/lora_A']!)).toEqual(numbers(own.tensors['out/lora_A']!));
    const {adapter} = await convertToLoRA(base, {adapter: dora, rank: 3});
    const sum = await combineAdapters([
      {adapter, weight: 0.5},
      {adapter: lora.adapter, weight: 0.5},
    ]);
    expect(sum.config.layers.out?.method).toBeUndefined();
    await expect(combineAdapters([dora, adapter].map(each => ({adapter: each, weight: 1})))).rejects.toThrow(
      'convertToLoRA',
    );
  });

  test('errors say what is wrong', async () => {
    const base = network();
    await expect(convertToLoRA(base)).rejects.toThrow(LoRAError);
    const model = trained(base, {method: 'ia3'});
    await expect(convertToLoRA(model, {rank: 0})).rejects.toThrow('rank must be a whole number, 1 or more, got 0.');
    const aborted = AbortSignal.abort();
    await expect(convertToLoRA(model, {signal: aborted})).rejects.toMatchObject({code: 'ERR_ABORTED'});
  });
});
