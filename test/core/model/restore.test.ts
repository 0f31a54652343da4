import * as tf from '@tensorflow/tfjs';
import {loraSites} from '../../../src/core/model/adapted';
import {applyLoRA} from '../../../src/core/model/apply';
import {mergeLoRA, removeLoRA, safeMergeLoRA} from '../../../src/core/model/restore';
import {disposeModel} from '../../../src/core/rewire/dispose';
import {LoRAError} from '../../../src/platform/errors';
import {numbers, random, useBackend, withoutLeaks} from '../../helpers';
import {bytesIn, manifold, peakOf} from '../../memory';
import {
  baseWeights,
  cnn,
  factorsOf,
  mlp,
  predictions,
  reloaded,
  type Specimen,
  stir,
  stirFactors,
  train,
} from '../../models';

/**
 * Layers whose weights have constraints, and an input for them. Training leaves constraints out of account, loading
 * does not.
 */
function constrained(): Specimen {
  const {layers} = tf;
  const [nonNeg, maxNorm] = [tf.constraints.nonNeg(), tf.constraints.maxNorm({maxValue: 0.1, axis: 0})];
  const model = tf.sequential({
    layers: [
      layers.depthwiseConv2d({kernelSize: 2, depthwiseConstraint: nonNeg, name: 'depthwise', inputShape: [4, 3, 2]}),
      layers.reshape({targetShape: [3, 4], name: 'steps'}),
      layers.bidirectional({
        layer: layers.lstm({units: 2, returnSequences: true, recurrentConstraint: nonNeg, name: 'lstm'}),
        mergeMode: 'concat',
        name: 'both',
      }),
      layers.dense({units: 3, kernelConstraint: maxNorm, biasConstraint: nonNeg, name: 'body'}),
      layers.batchNormalization({gammaConstraint: nonNeg, name: 'norm'}),
      layers.dense({units: 2, kernelConstraint: maxNorm, name: 'head'}),
    ],
  });
  stir(model);
  return {model, inputs: [random([3, 4, 3, 2], 5)]};
}

test('after training, merged and adapted model agree, and differ from the base', async () => {
  const {model, inputs} = cnn();
  const adapted = applyLoRA(model, {rank: 2, seed: 1});
  await train(adapted, inputs, {epochs: 10});
  const [expected] = predictions(adapted, inputs);
  expect(predictions(mergeLoRA(adapted), inputs)[0]).toBeAllClose(expected!);
  expect(predictions(model, inputs)[0]).not.toBeAllClose(expected!);
});

test('what was trained without a constraint is loaded as it was saved, adapted and merged', async () => {
  const {model, inputs} = constrained();
  const adapted = applyLoRA(model, {
    targets: ['depthwise', 'both', 'body'],
    trainInFull: ['head'],
    bias: 'adapted',
    rank: 2,
    seed: 1,
  });
  await train(adapted, inputs, {epochs: 20, optimizer: tf.train.adam(0.1)});
  const trained = predictions(adapted, inputs);
  expect(predictions(await reloaded(adapted), inputs)).toEqual(trained);
  const merged = mergeLoRA(adapted);
  expect(predictions(merged, inputs)[0]).toBeAllClose(trained[0]!);
  expect(predictions(await reloaded(merged), inputs)).toEqual(predictions(merged, inputs));
});

test('what was not trained has its constraints after a merge, and all has them after a removal', () => {
  const {model} = constrained();
  const adapted = applyLoRA(model, {targets: ['depthwise', 'both', 'body'], trainInFull: ['head'], rank: 2});
  const constraints = (one: tf.LayersModel) =>
    one.layers.map(layer => JSON.stringify(layer.getConfig()).match(/"(MaxNorm|NonNeg)"/g)?.length ?? 0);
  expect(constraints(model)).toEqual([0, 0, 1, 2, 1, 1]); // tfjs leaves that of DepthwiseConv2D out
  expect(constraints(removeLoRA(adapted))).toEqual(constraints(model));
  expect(constraints(mergeLoRA(adapted))).toEqual([0, 0, 0, 0, 1, 0]);
});

test('a safe merge is the merge where all is finite', async () => {
  const {model, inputs} = mlp();
  const adapted = applyLoRA(model, {rank: 2, seed: 1});
  stirFactors(adapted);
  const merged = await safeMergeLoRA(adapted);
  expect(predictions(merged, inputs)).toEqual(predictions(mergeLoRA(adapted), inputs));
});

test('a safe merge refuses options that do not exist', async () => {
  const options: object = {safe: true};
  const merge = safeMergeLoRA(applyLoRA(mlp().model, {rank: 1}), options);
  await expect(merge).rejects.toThrow('There is no option "safe". The options are: signal, onProgress.');
});

test.each([
  ['NaN', NaN],
  ['an infinity', Infinity],
])("a safe merge refuses %s by the layer's name, and changes and leaves nothing", async (_, value) => {
  const {model} = mlp();
  const adapted = applyLoRA(model, {rank: 1, seed: 1});
  stirFactors(adapted);
  const [site] = loraSites(adapted);
  const b = site!.layer.loraLayer.B;
  site!.layer.setParameter('lora_B', tf.fill(b.shape, value));
  const before = baseWeights(adapted);
  await withoutLeaks(async () => {
    const merge = safeMergeLoRA(adapted);
    await expect(merge).rejects.toThrow(LoRAError);
    await expect(merge).rejects.toThrow('hidden');
  });
  expect(baseWeights(adapted)).toEqual(before);
});

test('a safe merge refuses finite factors whose product with the kernel is not', async () => {
  const {model} = mlp();
  const adapted = applyLoRA(model, {rank: 1});
  const {layer} = loraSites(adapted)[0]!;
  layer.setParameter('kernel', tf.fill([5, 6], 3e38));
  layer.setParameter('lora_A', tf.fill([5, 1], 3e19));
  layer.setParameter('lora_B', tf.fill([1, 6], 1e19));
  await expect(safeMergeLoRA(adapted)).rejects.toThrow('hidden');
});

describe('with layers that train in full', () => {
  const config = {rank: 2, seed: 1, targets: ['conv'], trainInFull: ['norm', 'head']};

  test('these are trained, statistics included, and the original is not touched', async () => {
    const {model, inputs} = cnn();
    const before = baseWeights(model);
    const adapted = applyLoRA(model, config);
    await train(adapted, inputs);
    expect(baseWeights(model)).toEqual(before);
    const after = baseWeights(adapted);
    const moved = Object.keys(before).filter(name => JSON.stringify(before[name]) !== JSON.stringify(after[name]));
    expect(moved.sort()).toEqual([
      'head/bias',
      'head/kernel',
      'norm/beta',
      'norm/gamma',
      'norm/moving_mean',
      'norm/moving_variance',
    ]);
  });

  test.each([
    ['at once', async (model: tf.LayersModel) => Promise.resolve(model)],
    ['after a file', reloaded],
  ])('merging keeps what they have become and removing gives back what they were, %s', async (_, through) => {
    const {model, inputs} = cnn();
    const trained = applyLoRA(model, config);
    await train(trained, inputs);
    const adapted = await through(trained);
    const merged = mergeLoRA(adapted);
    expect(predictions(merged, inputs)[0]).toBeAllClose(predictions(trained, inputs)[0]!);
    expect(baseWeights(merged)['head/kernel']).toEqual(baseWeights(trained)['head/kernel']);
    const plain = removeLoRA(adapted);
    expect(baseWeights(plain)).toEqual(baseWeights(model));
    expect(predictions(plain, inputs)).toEqual(predictions(model, inputs));
  });

  test('nothing leaks', async () => {
    await withoutLeaks(async () => {
      const {model, inputs} = cnn();
      const adapted = applyLoRA(model, config);
      await train(adapted, inputs, {epochs: 2});
      const [merged, plain] = [mergeLoRA(adapted), removeLoRA(adapted)];
      [model, adapted, merged, plain].forEach(each => disposeModel(each));
      tf.dispose(inputs);
    });
  });
});

describe('with bases that train along', () => {
  const config = {rank: 2, seed: 1, targets: ['conv'], freezeBaseLayer: false};

  test('the adapted layers train in full, and no others', async () => {
    const {model, inputs} = cnn();
    const before = baseWeights(model);
    const adapted = applyLoRA(model, config);
    expect(adapted.trainableWeights).toHaveLength(4);
    await train(adapted, inputs);
    expect(baseWeights(model)).toEqual(before);
    const after = baseWeights(adapted);
    expect(after['conv/kernel']).not.toEqual(before['conv/kernel']);
    expect(after['conv/bias']).not.toEqual(before['conv/bias']);
    const others = Object.entries(before).filter(([name]) => !name.startsWith('conv'));
    expect(after).toMatchObject(Object.fromEntries(others));
  });

  test.each([
    ['at once', async (model: tf.LayersModel) => Promise.resolve(model)],
    ['after a file', reloaded],
  ])('merging bakes all in and removing gives the original back, %s', async (_, through) => {
    const {model, inputs} = cnn();
    const trained = applyLoRA(model, config);
    await train(trained, inputs);
    const adapted = await through(trained);
    expect(adapted.trainableWeights).toHaveLength(4);
    expect(predictions(adapted, inputs)).toEqual(predictions(trained, inputs));
    const merged = mergeLoRA(adapted);
    expect(predictions(merged, inputs)[0]).toBeAllClose(predictions(trained, inputs)[0]!);
    const plain = removeLoRA(adapted);
    expect(baseWeights(plain)).toEqual(baseWeights(model));
    await train(adapted, inputs);
    expect(baseWeights(removeLoRA(adapted))).toEqual(baseWeights(model));
  });

  test('nothing leaks', async () => {
    await withoutLeaks(async () => {
      const {model, inputs} = cnn();
      const adapted = applyLoRA(model, config);
      await train(adapted, inputs, {epochs: 2});
      const [merged, plain] = [mergeLoRA(adapted), removeLoRA(adapted)];
      [model, adapted, merged, plain].forEach(each => disposeModel(each));
      tf.dispose(inputs);
    });
  });
});

test('a merged model trains on, apart from the adapted one', async () => {
  const {model, inputs} = mlp();
  const adapted = applyLoRA(model, {rank: 2, seed: 1});
  stirFactors(adapted);
  const [merged, plain] = [mergeLoRA(adapted), removeLoRA(adapted)];
  const before = [baseWeights(adapted), factorsOf(adapted).map(w => numbers(w.read()))];
  for (const each of [merged, plain]) {
    const weights = baseWeights(each);
    await train(each, inputs);
    expect(baseWeights(each)).not.toEqual(weights);
  }
  expect([baseWeights(adapted), factorsOf(adapted).map(w => numbers(w.read()))]).toEqual(before);
  expect(baseWeights(model)).toEqual(before[0]);
});

test('a model that is not adapted is neither merged nor removed from', async () => {
  await useBackend('cpu');
  await withoutLeaks(() => {
    const {model, inputs} = mlp();
    for (const verb of [mergeLoRA, removeLoRA]) {
      expect(() => verb(model)).toThrow('The model has no LoRA layers. Adapt it first');
    }
    disposeModel(model);
    tf.dispose(inputs);
  });
});

// 2 % of the base are for what is made for a moment.
test('adapting takes the memory of the factors, and none for the weights that are shared', () => {
  const base = manifold();
  stir(base);
  const ofBase = bytesIn(base.weights);
  let adapted = base;
  const peak = peakOf(() => (adapted = applyLoRA(base, {rank: 2, targets: 'all'})));
  expect(factorsOf(adapted).length).toBeGreaterThan(10);
  expect(peak).toBeLessThan(bytesIn(factorsOf(adapted)) + 0.02 * ofBase);
});

test('a layer that trains in full takes no memory before it trains', () => {
  const base = manifold();
  const ofBase = bytesIn(base.weights);
  let adapted = base;
  const peak = peakOf(() => (adapted = applyLoRA(base, {rank: 2, targets: ['inner/wide'], trainInFull: ['out']})));
  expect(peak).toBeLessThan(bytesIn(factorsOf(adapted)) + 0.02 * ofBase);
});

test('merging makes the kernels that change, one after the other, and no others', () => {
  const base = manifold();
  const adapted = applyLoRA(base, {rank: 2, targets: ['inner/wide', 'inner/narrow', 'shared']});
  stirFactors(adapted);
  const peak = peakOf(() => mergeLoRA(adapted));
  const kernels = 4 * (32 * 64 + 64 * 32 + 32 * 32);
  // An update is as large as its kernel; the scaled one is another such tensor.
  expect(peak).toBeLessThanOrEqual(kernels + 2 * 4 * 32 * 64);
});

test('removing an adapter takes no memory', () => {
  const base = manifold();
  const adapted = applyLoRA(base, {rank: 2, targets: 'all'});
  const peak = peakOf(() => removeLoRA(adapted));
  expect(peak).toBeLessThan(0.02 * bytesIn(base.weights));
});
