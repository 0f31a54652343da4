import * as tf from '@tensorflow/tfjs';
import {GridPositionEmbedding} from '../../../../src/extensions/transformers/layers/gridPositionEmbedding';
import {numbers, useBackend, withoutLeaks} from '../../../helpers';

beforeAll(() => useBackend('cpu'));

test('a table is resized to the grid of each image, and padding gets the first position', async () => {
  const layer = new GridPositionEmbedding({edge: 2, name: 'positions'});
  const patches = tf.zeros([3, 4, 1]);
  const grids = tf.tensor2d([[1, 1], [2, 2], [1, 3]], undefined, 'int32'); // prettier-ignore
  tf.dispose(layer.apply([patches, grids]) as tf.Tensor);
  layer.setWeights([tf.tensor2d([0, 4, 8, 20], [4, 1])]);
  await withoutLeaks(() =>
    tf.tidy(() => {
      // One patch covers the grid: its mean. Three columns: the first, the middle of both, the second; rows are averaged.
      const wanted = [8, 8, 8, 8, 0, 4, 8, 20, 4, 8, 12, 4];
      expect(numbers(layer.apply([patches, grids]) as tf.Tensor)).toBeAllClose(wanted);
      expect(() => layer.apply([patches, tf.zeros([3, 3])])).toThrow('[batch, 2]; got [3, 4, 1], [3, 3].');
      expect(() => layer.apply(patches)).toThrow('[batch, 2]; got [3, 4, 1].');
    }),
  );
  expect(() => new GridPositionEmbedding({edge: 0})).toThrow('edge must be a whole number, 1 or more, got 0.');
});
