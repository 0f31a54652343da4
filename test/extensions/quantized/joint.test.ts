import * as tf from '@tensorflow/tfjs';
import {readRows} from '../../../src/extensions/quantized/formats/blockMatrix';
import {
  type AdaptedMatrix,
  factorsOf,
  type JointProducts,
  supplyQuantizedKernels,
} from '../../../src/extensions/quantized/kernels/quantizedKernels';
import {outcome} from '../../backends/everywhere/blockCases';

// Products that wait for others of their input, on a backend that computes them by plain tfjs and notes the calls.

/** How many matrices each call was for, and whether something was added. */
let calls: string[] = [];

/** The kernel of a part in float32, with its update. */
function kernelOf({blocks, matrix, factors}: AdaptedMatrix): tf.Tensor2D {
  const bytes = new Uint8Array(blocks.dataSync().buffer as ArrayBuffer);
  const w = tf.transpose(tf.tensor2d(readRows(matrix, bytes, 0, matrix.rows), [matrix.rows, matrix.width]));
  return factors
    ? tf.add(w, tf.mul(factors.scaling, tf.matMul(factors.a as tf.Tensor2D, factors.b as tf.Tensor2D)))
    : w;
}

const joint: JointProducts = {
  takes: () => true,
  forward: (x, parts, added) =>
    tf.tidy(() => {
      calls.push(`${parts.length}${added ? '+' : ''}`);
      const kernel = tf.concat(parts.map(kernelOf), 1);
      const rows = tf.reshape(x, [-1, x.shape.at(-1) as number]);
      const y = tf.reshape(tf.matMul(rows, kernel), [...x.shape.slice(0, -1), kernel.shape[1]]);
      return added ? tf.add(y, added) : y;
    }),
  backward: (x, dy, parts) => {
    calls.push(`back ${parts.length}`);
    const width = parts[0]!.matrix.width;
    const flat = tf.reshape<tf.Rank.R2>(dy, [-1, dy.shape.at(-1) as number]);
    const gradients = tf.split(
      flat,
      parts.map(({matrix}) => matrix.rows),
      1,
    );
    return {
      ofInput: () => {
        const dx = tf.addN(parts.map((part, i) => tf.matMul(gradients[i]!, kernelOf(part), false, true)));
        return tf.reshape(dx, [...dy.shape.slice(0, -1), width]);
      },
      ofFactors: () =>
        factorsOf(parts).as.length === 0
          ? []
          : parts.flatMap(({factors}, i) => {
              if (factors === null) {
                return [];
              }
              const dw = tf.matMul(tf.reshape(x, [-1, width]), gradients[i]!, true);
              const {a, b, scaling} = factors;
              return [
                tf.mul(scaling, tf.matMul(dw, b as tf.Tensor2D, false, true)),
                tf.mul(scaling, tf.matMul(a as tf.Tensor2D, dw, true)),
              ];
            }),
    };
  },
};

const LOOK_UP = {lookUp: () => undefined};

beforeAll(() => tf.setBackend('cpu'));

afterEach(() => {
  supplyQuantizedKernels('cpu', () => undefined);
});

test.each([
  ['queries and values', {rank: 3, targets: [/^[qv]_/]}],
  ['all layers', {rank: 2}],
])('products computed together have the outputs and gradients of separate ones: %s', async (_, config) => {
  const expected = await outcome(config, null);
  const before = tf.memory().numTensors;
  supplyQuantizedKernels('cpu', () => ({...LOOK_UP, joint}));
  calls = [];
  const found = await outcome(config, null);
  expect(tf.memory().numTensors).toBe(before);
  expect(found).toHaveLength(expected.length);
  found.forEach((values, i) => {
    const largest = Math.max(...expected[i]!.map(Math.abs));
    values.forEach((value, j) => {
      expect(Math.abs(value - expected[i]![j]!)).toBeLessThan(1e-5 * largest);
    });
  });
  // In each block: queries, keys and values; what follows attention; gate and up; down. Only predictions add to them.
  const [step, predictions] = [
    ['3', '1', '2', '1'],
    ['3', '1+', '2', '1+'],
  ];
  const back = ['back 1', 'back 2', 'back 1', 'back 3'];
  expect(calls).toEqual([...step, ...step, ...back, ...back, ...[1, 2, 3, 4].flatMap(() => predictions)]);
});
