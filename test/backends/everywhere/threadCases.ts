import * as tf from '@tensorflow/tfjs';
import {adam, useRelaxedSIMD} from 'tfjs-lora';
import {Attention, FusedLayerNormalization, Gelu, RMSNormalization} from 'tfjs-lora/transformers';
import {currentNative} from '../../../src/backends/wasm/module/find';
import {callThreadsFor} from '../../../src/backends/wasm/module/threads';
import {random} from '../../helpers';
import {type Case, largestDifference, read} from './case';
import {CONFIGS, outcome} from './quantizedCases';

/** Threads begin while the page is idle. */
const PATIENCE_MS = 20_000;

/** Gradients of the sum of the squares of `f`, and its result. */
function recorded(f: (...inputs: tf.Tensor[]) => tf.Tensor, inputs: tf.Tensor[]): tf.Tensor[] {
  const {value, grads} = tf.valueAndGrads((...given: tf.Tensor[]) => tf.sum(tf.square(f(...given))))(inputs);
  return [f(...inputs), value, ...grads];
}

/** An operation with its gradients, on inputs of these shapes. */
function operation(f: (...inputs: tf.Tensor[]) => tf.Tensor, ...shapes: number[][]): () => tf.Tensor[] {
  return () =>
    recorded(
      f,
      shapes.map((shape, i) => random(shape, i + 1)),
    );
}

const convolution = (strides: number, pad: 'same' | 'valid') =>
  ((x: tf.Tensor4D, filter: tf.Tensor4D) => tf.relu(tf.conv2d(x, filter, strides, pad))) as (
    ...inputs: tf.Tensor[]
  ) => tf.Tensor;
const depthwise = (strides: number) =>
  ((x: tf.Tensor4D, filter: tf.Tensor4D) => tf.relu6(tf.depthwiseConv2d(x, filter, strides, 'same'))) as (
    ...inputs: tf.Tensor[]
  ) => tf.Tensor;
const product = (transposeA: boolean, transposeB: boolean) => (a: tf.Tensor, b: tf.Tensor) =>
  tf.matMul(a, b, transposeA, transposeB);

/** A layer without weights that train, with its gradients. */
function ofLayer(make: () => tf.layers.Layer, ...shapes: number[][]): () => tf.Tensor[] {
  return () => {
    const layer = make();
    const results = operation(
      (...inputs) => layer.apply(inputs.length === 1 ? inputs[0]! : inputs) as tf.Tensor,
      ...shapes,
    )();
    if (layer.built) {
      layer.dispose();
    }
    return results;
  };
}

const TEXT = [3, 10, 12];

/** Operations of tfjs that our wasm module computes, with their gradients. */
export const OPERATIONS: [kind: string, compute: () => tf.Tensor[]][] = [
  ['a product whose tiles are cut off', operation(product(false, false), [13, 37], [37, 21])],
  ['a product of one row', operation(product(false, false), [1, 19], [19, 5])],
  ['a product with a large matrix', operation(product(false, false), [9, 401], [401, 397])],
  ['a product with a transposed matrix', operation(product(false, true), [70, 33], [45, 33])],
  ['a product of a transposed matrix, with few columns', operation(product(true, false), [50, 203], [50, 6])],
  ['a product of batches', operation(product(false, false), [3, 10, 8], [3, 8, 9])],
  ['a stack of small products', operation(product(false, false), [24, 5, 8], [24, 8, 9])],
  ['a convolution of one image', operation(convolution(1, 'same'), [1, 11, 9, 3], [3, 3, 3, 5])],
  ['a convolution of several images', operation(convolution(2, 'valid'), [5, 11, 9, 3], [3, 3, 3, 5])],
  ['a convolution by Winograd’s method', operation(convolution(1, 'same'), [3, 12, 12, 16], [3, 3, 16, 12])],
  ['a convolution of pixels', operation(convolution(1, 'same'), [2, 7, 5, 12], [1, 1, 12, 20])],
  ['a depthwise convolution', operation(depthwise(1), [3, 9, 7, 8], [3, 3, 8, 1])],
  ['a depthwise convolution with strides', operation(depthwise(2), [3, 9, 7, 8], [3, 3, 8, 1])],
  [
    'a normalization',
    () => [
      tf.batchNorm(
        random<tf.Rank.R4>([3, 5, 7, 12], 1),
        random<tf.Rank.R1>([12], 2),
        tf.square<tf.Tensor1D>(random([12], 3)),
        random<tf.Rank.R1>([12], 4),
        random<tf.Rank.R1>([12], 5),
      ),
    ],
  ],
  [
    'steps of Adam',
    () => {
      const optimizer = adam({learningRate: 0.1});
      const variable = tf.variable(random([101], 1));
      for (let step = 0; step < 3; step++) {
        optimizer.applyGradients([{name: variable.name, tensor: random([101], step + 2)}]);
      }
      const value = variable.clone();
      tf.dispose(variable);
      optimizer.dispose();
      return [value];
    },
  ],
];

/** Operations of transformers, by a module of their own. */
export const OF_TRANSFORMERS: typeof OPERATIONS = [
  ['attention', ofLayer(() => new Attention({heads: 2}), TEXT, TEXT, TEXT)],
  [
    'attention to the past, with rotary places',
    ofLayer(() => new Attention({heads: 2, causal: true, rotary: {}}), TEXT, TEXT, TEXT),
  ],
  [
    'attention of many heads to few of keys',
    ofLayer(() => new Attention({heads: 4, keyValueHeads: 2, causal: true}), [40, 9, 16], [40, 9, 8], [40, 9, 8]),
  ],
  ['a normalization of rows', ofLayer(() => new FusedLayerNormalization({}), TEXT)],
  ['a normalization by the root mean square', ofLayer(() => new RMSNormalization({}), TEXT)],
  ['a gate', ofLayer(() => new Gelu({}), [7, 13])],
];

/** Lets threads be called for the least, and waits until they are there. */
export async function callThreads(): Promise<void> {
  callThreadsFor(1);
  const end = Date.now() + PATIENCE_MS;
  while (threadCount() < 2 && Date.now() < end) {
    await new Promise(resolve => setTimeout(resolve, 20));
  }
}

/** In how many parts what is large is computed. */
function threadCount(): number {
  return currentNative()?.partsOf(64, 1, 2 ** 40).length ?? 0;
}

/**
 * What threads have to do, where the backend has them. The others run on threads too: they are called for the least.
 */
export const threadCases: readonly Case[] = [
  {
    behaviour: 'kernels use several threads on wasm',
    tolerance: 0,
    run: () => Promise.resolve(threadCount() >= 2 ? 0 : 1),
  },
  ...[...OPERATIONS, ...OF_TRANSFORMERS].map(([kind, compute]): Case => ({
    behaviour: 'several threads compute the same bits as one',
    kind,
    tolerance: 0,
    run: () => betweenThreads(compute),
  })),
  {
    behaviour: 'several threads compute the same bits as one',
    kind: 'a quantized model',
    tolerance: 0,
    run: async () => {
      const [[, lora]] = CONFIGS as [(typeof CONFIGS)[0]];
      const on = (work: number) => {
        callThreadsFor(work);
        return outcome(4, lora, false);
      };
      await on(1);
      await callThreads();
      const expected = await on(Infinity);
      return largestDifference(await on(1), expected);
    },
  },
  {
    behaviour: 'several threads compute the same bits as one with relaxed SIMD',
    tolerance: 0,
    run: async () => {
      if (!useRelaxedSIMD()) {
        throw new Error('This browser has no relaxed SIMD.');
      }
      const differences = [];
      for (const [, compute] of OPERATIONS) {
        differences.push(await betweenThreads(compute));
      }
      useRelaxedSIMD(false);
      return Math.max(...differences);
    },
  },
];

/** The largest difference between what several threads compute, and one. */
async function betweenThreads(compute: () => tf.Tensor[]): Promise<number> {
  const on = async (work: number) => {
    callThreadsFor(1);
    tf.dispose(tf.tidy(compute)); // the first call may bring the threads another module
    await callThreads();
    callThreadsFor(work);
    return read(tf.tidy(compute));
  };
  const expected = await on(Infinity);
  return largestDifference(await on(1), expected);
}
