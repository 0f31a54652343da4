import * as tf from '@tensorflow/tfjs';
import {oneByOne, replace} from './variableSteps';

const {fround} = Math;

/** Steps in one loop over a variable's values, if reading a tensor is faster than launching an operation. */
export const hostSteps = oneByOne({
  adam(value, gradient, slots, {learningRate, gradientScale, beta1, beta2, epsilon, corrections, decayFactor}) {
    const [x, g, m, v] = [value, gradient, ...slots].map(floatsOf) as Four;
    const size = x.length;
    const [y, m1, v1] = [x, m, v].map(like) as Three;
    // Each step is rounded as tfjs rounds it: gradients of both signs cancel, and what is left shows every rounding.
    const [keep1, rest1, keep2, rest2] = [beta1, 1 - beta1, beta2, 1 - beta2].map(fround) as Quartet;
    const [correction1, correction2, rate, least] = [...corrections, learningRate, epsilon].map(fround) as Quartet;
    for (let i = 0; i < size; i++) {
      const slope = fround(at(g, i) * gradientScale);
      const first = fround(fround(at(m, i) * keep1) + fround(slope * rest1));
      const second = fround(fround(at(v, i) * keep2) + fround(fround(slope * slope) * rest2));
      m1[i] = first;
      v1[i] = second;
      const root = fround(Math.sqrt(fround(second / correction2)));
      const change = fround(fround(first / correction1) / fround(root + least));
      y[i] = fround(at(x, i) * decayFactor) - fround(change * rate);
    }
    replace(slots, [withShapeOf(m1, value), withShapeOf(v1, value)]);
    return withShapeOf(y, value);
  },
  momentum(value, gradient, slots, {learningRate, gradientScale, momentum, nesterov}) {
    const [x, g, m] = [value, gradient, ...slots].map(floatsOf) as Three;
    const size = x.length;
    const [y, m1] = [x, m].map(like) as Two;
    for (let i = 0; i < size; i++) {
      const slope = at(g, i) * gradientScale;
      const velocity = at(m, i) * momentum + slope;
      m1[i] = velocity;
      y[i] = at(x, i) - learningRate * (nesterov ? slope + velocity * momentum : velocity);
    }
    replace(slots, [withShapeOf(m1, value)]);
    return withShapeOf(y, value);
  },
  descend(value, gradient, _slots, {learningRate, gradientScale}) {
    const [x, g] = [value, gradient].map(floatsOf) as Two;
    return withShapeOf(
      x.map((number, i) => number - learningRate * gradientScale * at(g, i)),
      value,
    );
  },
  sumOfSquares: gradient => floatsOf(gradient).reduce((sum, number) => sum + number * number, 0),
});

type Two = [Float32Array, Float32Array];
type Three = [...Two, Float32Array];
type Four = [...Three, Float32Array];
type Quartet = [number, number, number, number];

function floatsOf(tensor: tf.Tensor): Float32Array {
  return tensor.dataSync<'float32'>();
}

function like(numbers: Float32Array): Float32Array {
  return new Float32Array(numbers.length);
}

/** The number at an index below the length of the array. */
function at(numbers: Float32Array, i: number): number {
  return numbers[i] as number;
}

function withShapeOf(numbers: Float32Array, {shape}: tf.Tensor): tf.Tensor {
  return tf.tensor(numbers, shape, 'float32');
}
