import * as tf from '@tensorflow/tfjs';
import 'tfjs-lora/transformers';
import {trainableVariables} from 'tfjs-lora';
import {numbers} from '../../../helpers';
import {reloaded} from '../../../models';
import {RelativeBias} from '../../../../src/extensions/transformers/layers/relativeBias';

/**
 * The row for a key so many positions behind its query, of 32 rows. Eight distances have their own; then a row is for
 * those from 8·2^(k/2) on: 8, 11.3, 16, 22.6, 32, 45.3, 64, 90.5.
 */
const FIRST = [0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91];

function rowFor(distance: number): number {
  const row = FIRST.filter(first => first <= Math.abs(distance)).length - 1;
  return distance > 0 ? 16 + row : row;
}

function modelOf(layer: tf.layers.Layer): tf.LayersModel {
  const x = tf.input({shape: [null, 3]});
  return tf.model({inputs: x, outputs: layer.apply(x) as tf.SymbolicTensor});
}

describe('a relative bias', () => {
  test('has the row of the table that is for a distance', () => {
    const layer = new RelativeBias({heads: 2});
    const model = modelOf(layer);
    const table = Array.from({length: 32}, (_, row) => [row, 100 + row]);
    layer.setWeights([tf.tensor2d(table)]);
    const bias = model.apply(tf.zeros([1, 130, 3])) as tf.Tensor;
    expect(bias.shape).toEqual([1, 2, 130, 130]);
    const positions = Array.from({length: 130}, (_, i) => i);
    const wanted = [0, 100].flatMap(head =>
      positions.flatMap(query => positions.map(key => head + rowFor(key - query))),
    );
    expect(numbers(bias)).toEqual(wanted);
  });

  test('gives each row the sum of the gradients of its positions', () => {
    const layer = new RelativeBias({heads: 1, buckets: 8, maxDistance: 9});
    const model = modelOf(layer);
    const [table] = trainableVariables(model);
    const {grads} = tf.variableGrads(() => tf.sum<tf.Scalar>(model.apply(tf.zeros([1, 3, 3])) as tf.Tensor), [table!]);
    // Of three positions: three pairs at a distance of 0, two a position before and behind, one two positions so.
    expect(numbers(grads[table!.name]!)).toEqual([3, 2, 1, 0, 0, 2, 1, 0]);
  });

  test('is saved and loaded', async () => {
    const model = modelOf(new RelativeBias({heads: 2, buckets: 8, maxDistance: 20}));
    const loaded = await reloaded(model);
    const [expected, found] = [model, loaded].map(each => numbers(each.apply(tf.zeros([1, 30, 3])) as tf.Tensor));
    expect(found).toEqual(expected);
  });
});

test.each([
  [{heads: 0}, 'heads must be'],
  [{heads: 1, buckets: 3}, 'buckets must be'],
  [{heads: 1, buckets: 32, maxDistance: 8}, 'maxDistance must be'],
])('%j is refused', (args, message) => {
  expect(() => new RelativeBias(args)).toThrow(message);
});
