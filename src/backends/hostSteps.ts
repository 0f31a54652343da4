import * as tf from '@tensorflow/tfjs';
import {type OptimizerSteps, replaceSlots} from './optimizerSteps';

/** For variables of more numbers than this TensorFlow's own operations are faster: they divide the work among threads. */
const FEW = 2 ** 17;

/**
 * Steps that update a variable in one loop over its numbers, where reading a tensor takes less time than launching an operation: on cpu, and
 * on tensorflow for variables that are small on average.
 */
export function hostSteps(gradients: readonly tf.Tensor[]): OptimizerSteps | undefined {
  const backend = tf.getBackend();
  const isFaster =
    backend === 'cpu' ||
    (backend === 'tensorflow' && gradients.reduce((sum, {size}) => sum + size, 0) <= FEW * gradients.length);
  return isFaster ? STEPS : undefined;
}

const STEPS: OptimizerSteps = {
  adam(value, gradient, slots, {learningRate, gradientScale, beta1, beta2, epsilon, corrections, kept}) {
    const [x, g, m, v] = [value, gradient, ...slots].map(numbersOf) as Four;
    const size = x.length;
    const [y, m1, v1] = [x, m, v].map(like) as Three;
    // Only divisions and roots that differ from number to number stay in the loop.
    const [rest1, rest2] = [1 - beta1, 1 - beta2];
    const [rate, root] = [learningRate / corrections[0], 1 / Math.sqrt(corrections[1])];
    for (let i = 0; i < size; i++) {
      const slope = at(g, i) * gradientScale;
      const first = at(m, i) * beta1 + slope * rest1;
      const second = at(v, i) * beta2 + slope * slope * rest2;
      m1[i] = first;
      v1[i] = second;
      y[i] = at(x, i) * kept - (rate * first) / (Math.sqrt(second) * root + epsilon);
    }
    replaceSlots(slots, [tensorOf(m1, value), tensorOf(v1, value)]);
    return tensorOf(y, value);
  },
  momentum(value, gradient, slots, {learningRate, gradientScale, momentum, nesterov}) {
    const [x, g, m] = [value, gradient, ...slots].map(numbersOf) as Three;
    const size = x.length;
    const [y, m1] = [x, m].map(like) as Two;
    for (let i = 0; i < size; i++) {
      const slope = at(g, i) * gradientScale;
      const velocity = at(m, i) * momentum + slope;
      m1[i] = velocity;
      y[i] = at(x, i) - learningRate * (nesterov ? slope + velocity * momentum : velocity);
    }
    replaceSlots(slots, [tensorOf(m1, value)]);
    return tensorOf(y, value);
  },
  descend(value, gradient, {learningRate, gradientScale}) {
    const [x, g] = [value, gradient].map(numbersOf) as Two;
    return tensorOf(
      x.map((number, i) => number - learningRate * gradientScale * at(g, i)),
      value,
    );
  },
  sumOfSquares: gradient => numbersOf(gradient).reduce((sum, number) => sum + number * number, 0),
};

type Two = [Float32Array, Float32Array];
type Three = [...Two, Float32Array];
type Four = [...Three, Float32Array];

function numbersOf(tensor: tf.Tensor): Float32Array {
  return tensor.dataSync<'float32'>();
}

function like(numbers: Float32Array): Float32Array {
  return new Float32Array(numbers.length);
}

/** A number of an array, at an index below its length. */
function at(numbers: Float32Array, i: number): number {
  return numbers[i] as number;
}

function tensorOf(numbers: Float32Array, {shape}: tf.Tensor): tf.Tensor {
  return tf.tensor(numbers, shape, 'float32');
}
