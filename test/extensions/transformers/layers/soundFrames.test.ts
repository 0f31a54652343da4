import * as tf from '@tensorflow/tfjs';
import 'tfjs-lora';
import {PositionalConvolution} from '../../../../src/extensions/transformers/layers/soundFrames';
import {numbers, random} from '../../../helpers';

test('a positional convolution of all channels is a plain one, and so are its gradients', () => {
  const x = random<tf.Rank.R3>([2, 5, 4], 1);
  const layer = new PositionalConvolution({size: 3, groups: 1});
  layer.apply(x);
  const [direction, magnitude] = layer.weights.map(weight => weight.read()) as [tf.Variable, tf.Variable];
  magnitude.assign(tf.tensor3d([2, 0.5, 3], [3, 1, 1]));
  const plain = () => {
    const norms = tf.sqrt(tf.sum(tf.square(direction), [1, 2], true));
    const kernel = tf.mul<tf.Tensor3D>(direction, tf.div(magnitude, norms));
    return tf.conv1d(x, kernel, 1, 'same');
  };
  const dy = random([2, 5, 4], 2);
  const outcome = (f: () => tf.Tensor) => {
    const {grads} = tf.variableGrads(() => tf.sum(tf.mul(f(), dy)), [direction, magnitude]);
    return [f(), grads[direction.name]!, grads[magnitude.name]!].flatMap(numbers);
  };
  expect(outcome(() => layer.apply(x) as tf.Tensor)).toBeAllClose(outcome(plain));
});
