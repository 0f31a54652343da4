import * as tf from '@tensorflow/tfjs';
import {applyLoRA, getAdapter, LoRAError, scaleAdapter, setAdapter} from 'tfjs-lora';
import {type Adapter, combineAdapters, mergeLoRA} from '../../../src';
import {numbers, random, withoutLeaks} from '../../helpers';
import {baseWeights, cnn, predictions, train} from '../../models';
import {times, updateOf, written} from './adapters';

test.each([0, 0.5, 1, 3])('an adapter at strength %p has as many times the updates, and shares its buffers', k => {
  const adapter = written({
    one: {
      a: [
        [1, 2],
        [3, 4],
      ],
      b: [
        [1, 0, 2],
        [0, 1, 1],
      ],
      alpha: 3,
      rankStabilized: true,
    },
    two: {a: [[1], [2]], b: [[5, 6]], alpha: 0.5},
  });
  const before = tf.memory().numDataBuffers;
  const scaled = scaleAdapter(adapter, k);
  expect(tf.memory().numDataBuffers).toBe(before);
  for (const path of ['one', 'two']) {
    expect(updateOf(scaled, path).flat()).toBeAllClose(times(updateOf(adapter, path), k).flat());
  }
  expect(adapter.config.layers.one!.alpha).toBe(3);
  adapter.dispose();
  expect(numbers(scaled.tensors['two/lora_B']!)).toEqual([5, 6]);
});

test('at strength 0 a model computes what its base computes, but for layers that are brought in full', async () => {
  const {model, inputs} = cnn();
  const adapted = applyLoRA(model, {rank: 2, targets: ['conv'], trainInFull: ['head']});
  await train(adapted, inputs);
  const own = getAdapter(adapted);
  const nothing = scaleAdapter(own, 0);
  setAdapter(adapted, nothing);
  expect(baseWeights(adapted)).not.toEqual(baseWeights(model));
  const {head: _, ...rest} = nothing.config.layers;
  expect(Object.values(rest).map(({alpha}) => alpha)).toEqual([0]);
  const bodyOnly = applyLoRA(model, {rank: 2, targets: ['conv']});
  setAdapter(bodyOnly, scaleAdapter(getAdapter(bodyOnly), 0));
  expect(predictions(bodyOnly, inputs)).toEqual(predictions(model, inputs));
});

test.each([-1, NaN, Infinity, '2' as unknown as number])('a strength of %p is refused', k => {
  const adapter = written({one: {a: [[1]], b: [[1]]}});
  const {numTensors} = tf.memory();
  expect(() => scaleAdapter(adapter, k)).toThrow(LoRAError);
  expect(() => scaleAdapter(adapter, k)).toThrow('k must be a finite number that is not negative');
  expect(tf.memory().numTensors).toBe(numTensors);
});

/** Two layers of one size, with updates whose singular values are known. */
function adaptedModel(first: number[], second: number[]): {base: tf.LayersModel; model: tf.LayersModel} {
  const base = tf.sequential({
    layers: [tf.layers.dense({units: 6, name: 'one', inputShape: [6]}), tf.layers.dense({units: 6, name: 'two'})],
  });
  const model = applyLoRA(base, {rank: 3, alpha: 3});
  [first, second].forEach((values, i) => {
    const layer = model.layers[i] as unknown as {setParameter(name: string, value: tf.Tensor): void};
    const axes = (scale: number[]) => scale.map((value, k) => Array.from({length: 6}, (_, j) => (j === k ? value : 0)));
    layer.setParameter('lora_A', tf.transpose(tf.tensor2d(axes(values.map(() => 1)))));
    layer.setParameter('lora_B', tf.tensor2d(axes(values)));
  });
  return {base, model};
}

function ranksOf({config}: Adapter): Record<string, number> {
  return Object.fromEntries(Object.entries(config.layers).map(([path, {rank}]) => [path, rank]));
}

function sizeOf({tensors}: Adapter): number {
  return Object.values(tensors).reduce((sum, {size}) => sum + size, 0);
}

test('ranks go where the largest singular values are, at no more than the budget', async () => {
  const {base, model} = adaptedModel([5, 4, 0.1], [3, 0.2, 0.1]);
  await withoutLeaks(async () => {
    const adapter = getAdapter(model);
    const cut = await combineAdapters(adapter, {budget: 36});
    expect(ranksOf(cut)).toEqual({one: 2, two: 1});
    expect(sizeOf(cut)).toBe(36);
    const applied = applyLoRA(base, cut);
    const merged = mergeLoRA(applied);
    const [before, after] = [base, merged].map(of => numbers(of.getLayer('one').getWeights()[0]!));
    const diagonal = [0, 7, 14].map(i => after![i]! - before![i]!);
    expect(diagonal).toBeAllClose([5, 4, 0]);
    [adapter, cut, applied, merged].forEach(each => each.dispose());
  });
});

test('a layer whose update carries least is left out', async () => {
  const {base, model} = adaptedModel([5, 4, 3], [0.1, 0, 0]);
  const cut = await combineAdapters(getAdapter(model), {budget: 36});
  expect(ranksOf(cut)).toEqual({one: 3});
  const x = random([4, 6], 2);
  expect(predictions(applyLoRA(base, cut), [x])).toHaveLength(1);
});

test('ranks go where a value carries most of the square of a singular value', async () => {
  const base = tf.sequential({
    layers: [tf.layers.dense({units: 6, name: 'one', inputShape: [6]}), tf.layers.dense({units: 18, name: 'wide'})],
  });
  const model = applyLoRA(base, {rank: 1, alpha: 1});
  [0.9, 1.2].forEach((value, i) => {
    const layer = model.layers[i] as unknown as {setParameter(name: string, value: tf.Tensor): void};
    layer.setParameter(
      'lora_A',
      tf
        .oneHot(tf.tensor1d([0], 'int32'), 6)
        .reshape([6, 1])
        .toFloat(),
    );
    layer.setParameter('lora_B', tf.mul(tf.oneHot(tf.tensor1d([0], 'int32'), 6 + 12 * i), value));
  });
  // 0.9² in 12 values is more than 1.2² in 24.
  expect(ranksOf(await combineAdapters(getAdapter(model), {budget: 24}))).toEqual({one: 1});
});

test('with room for all nothing is lost', async () => {
  const {base, model} = adaptedModel([5, 4, 3], [2, 1, 0.5]);
  const x = random([4, 6], 2);
  const same = applyLoRA(base, await combineAdapters(getAdapter(model), {budget: 1e6}));
  expect(predictions(same, [x])[0]).toBeAllClose(predictions(model, [x])[0]!);
});

test('a budget that is invalid, or too small for any rank, is refused', async () => {
  const {model} = adaptedModel([1, 1, 1], [1, 1, 1]);
  const adapter = getAdapter(model);
  await expect(combineAdapters(adapter, {budget: 0})).rejects.toThrow('budget must be a number above 0, got 0.');
  await expect(combineAdapters(adapter, {budget: 11})).rejects.toThrow('budget must be at least 12');
});
