import * as tf from '@tensorflow/tfjs';
import {FrozenLayer} from 'tfjs-lora';
import {BACKENDS, numbers, random, useBackend} from '../../helpers';

/** A stock layer with weights that are not those it starts with. */
function stock(args: {scale?: boolean; center?: boolean; epsilon?: number}, width: number): tf.layers.Layer {
  const layer = tf.layers.layerNormalization({...args, name: 'norm'});
  layer.build([null, 3, width]);
  layer.setWeights(layer.getWeights().map(({shape}, i) => random(shape, 7 + i)));
  return layer;
}

describe.each(BACKENDS)('a frozen LayerNormalization on %s', backend => {
  beforeEach(() => useBackend(backend));

  test.each([
    ['with scale and shift', {}],
    ['without a scale', {scale: false}],
    ['without a shift', {center: false}],
    ['with neither, and a large epsilon', {scale: false, center: false, epsilon: 0.1}],
  ])('%s computes in training what the stock layer computes, and its gradient', (_what, args) => {
    const layer = stock(args, 5);
    const frozen = new FrozenLayer({layer});
    const [x, weights] = [random([2, 3, 5], 1), random([2, 3, 5], 2)];
    frozen.apply(x);
    // tfjs itself has no gradient without a scale or a shift, so plain operations stand for the layer.
    const {gamma, beta, epsilon} = layer as unknown as Record<'gamma' | 'beta', tf.LayerVariable | null> & {
      epsilon: number;
    };
    const plain = (input: tf.Tensor) => {
      const {mean, variance} = tf.moments(input, -1, true);
      const normalized = tf.div(tf.sub(input, mean), tf.sqrt(tf.add(variance, epsilon)));
      return tf.add(tf.mul(normalized, gamma?.read() ?? 1), beta?.read() ?? 0);
    };
    const ours = (input: tf.Tensor) => frozen.apply(input, {training: true}) as tf.Tensor;
    const gradientOf = (compute: (input: tf.Tensor) => tf.Tensor) =>
      numbers(tf.grad(input => tf.sum(tf.mul(compute(input), weights)))(x));
    const expected = [...numbers(layer.apply(x) as tf.Tensor), ...gradientOf(plain)];
    [...numbers(ours(x)), ...gradientOf(ours)].forEach((number, i) => expect(number).toBeCloseTo(expected[i]!, 5));
  });

  test('predicts what the stock layer predicts, bit for bit', () => {
    const layer = stock({}, 5);
    const frozen = new FrozenLayer({layer});
    const x = random([2, 3, 5], 3);
    expect(numbers(frozen.apply(x) as tf.Tensor)).toEqual(numbers(layer.apply(x) as tf.Tensor));
  });

  test('has a gradient of few launches, however long the rows are', async () => {
    const frozen = new FrozenLayer({layer: stock({}, 300)});
    const x = random([2, 3, 300], 4);
    frozen.apply(x);
    const gradient = tf.grad(input => tf.sum(frozen.apply(input, {training: true}) as tf.Tensor));
    const {kernels} = await tf.profile(() => gradient(x));
    expect(kernels.length).toBeLessThan(60); // 600 slices and sums in tfjs
  });
});
