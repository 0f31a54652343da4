import * as tf from '@tensorflow/tfjs';
import {applyLoRA, getAdapter, LoRAError, scaleAdapter, setAdapter} from 'tfjs-lora';
import {numbers} from '../../helpers';
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
