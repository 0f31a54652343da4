import workerThreads from 'node:worker_threads';
import * as tf from '@tensorflow/tfjs';
import {adam, applyLoRA, disposeModel, LoRAError} from 'tfjs-lora';
import {currentNative} from '../../src/backends/wasm/module/find';
import {callThreadsFor} from '../../src/backends/wasm/module/threads';
import {startWasm} from '../../src/index';
import {random} from '../helpers';

const FLAG = 'WASM_HAS_MULTITHREAD_SUPPORT';

/** Products of stacks of small matrices, of which either may be transposed. */
function stacks(): tf.Tensor[] {
  const product = (a: number[], b: number[], transposeA: boolean, transposeB: boolean) =>
    tf.tidy(() => tf.matMul(random([24, ...a], 6), random([24, ...b], 7), transposeA, transposeB));
  return [
    product([5, 7], [7, 6], false, false),
    product([5, 7], [6, 7], false, true),
    product([9, 5], [9, 7], true, false),
    product([9, 50], [9, 6], true, false),
  ];
}

/** The adapted kernels of a small network after three steps, what it predicts, and products of stacks. */
async function trained(): Promise<number[][]> {
  const layers = [
    tf.layers.conv2d({inputShape: [9, 9, 3], filters: 8, kernelSize: 3, kernelInitializer: initializer(1)}),
    tf.layers.depthwiseConv2d({kernelSize: 3, depthwiseInitializer: initializer(2), activation: 'relu'}),
    tf.layers.flatten(),
    tf.layers.dense({units: 37, kernelInitializer: initializer(3), activation: 'tanh'}),
    tf.layers.dense({units: 4, kernelInitializer: initializer(4), activation: 'softmax'}),
  ];
  const base = tf.sequential({layers});
  const model = applyLoRA(base, {rank: 3, seed: 1});
  model.compile({optimizer: adam({learningRate: 0.01}), loss: 'categoricalCrossentropy'});
  const [x, y] = [random([6, 9, 9, 3], 5), tf.tidy(() => tf.oneHot(tf.tensor1d([0, 1, 2, 3, 0, 1], 'int32'), 4))];
  for (let step = 0; step < 3; step++) {
    await model.trainOnBatch(x, y);
  }
  const predicted = model.predict(x) as tf.Tensor;
  const products = stacks();
  const results = [...model.getWeights(), predicted, ...products];
  const values = await Promise.all(results.map(async each => [...(await each.data())]));
  tf.dispose([x, y, predicted, products]);
  model.optimizer.dispose();
  disposeModel(model);
  disposeModel(base);
  return values;
}

function initializer(seed: number): ReturnType<typeof tf.initializers.randomNormal> {
  return tf.initializers.randomNormal({mean: 0, stddev: 0.3, seed});
}

afterAll(() => {
  tf.removeBackend('wasm');
});

test('threads compute the same bits, are restarted with another count, and leave tfjs as it was', async () => {
  const [worker, {Worker: NodeWorker}] = [Object.getOwnPropertyDescriptor(globalThis, 'Worker'), workerThreads];
  callThreadsFor(1);
  expect(await startWasm({threads: 1})).toEqual({threads: 1});
  const expected = await trained();
  expect(await startWasm({threads: 3})).toEqual({threads: 3});
  expect(tf.getBackend()).toBe('wasm');
  expect(currentNative()?.threadCount).toBe(3);
  expect(Object.getOwnPropertyDescriptor(globalThis, 'Worker')).toEqual(worker);
  expect(workerThreads.Worker).toBe(NodeWorker);
  expect(tf.env().getBool(FLAG)).toBe(false);
  expect(await trained()).toEqual(expected);

  // With the same count there is nothing to do, also while there are tensors.
  const x = tf.ones([3]);
  x.dataSync();
  await tf.setBackend('cpu');
  expect(await startWasm({threads: 3})).toEqual({threads: 3});
  expect(tf.getBackend()).toBe('wasm');
  await expect(startWasm({threads: 2})).rejects.toThrow(
    /^The wasm backend is in use with 3 thread\(s\): it holds \d+ tensors\. Call startWasm\(\) before/,
  );
  await expect(startWasm({threads: 2})).rejects.toMatchObject({code: 'ERR_BUSY'});
  x.dispose();
  expect(await startWasm({threads: 2})).toEqual({threads: 2});
  expect(await trained()).toEqual(expected);

  // Removed by the user: tfjs's own start has one thread again.
  const factory = tf.findBackendFactory('wasm');
  tf.removeBackend('wasm');
  tf.registerBackend('wasm', factory, 2);
  await tf.setBackend('wasm');
  expect(currentNative()?.threadCount).toBe(1);
  expect(await startWasm({threads: 2})).toEqual({threads: 2});
});

test.each([0, 1.5, 9, '2', null])('%p threads are refused', async threads => {
  const error = await startWasm({threads: threads as number}).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(LoRAError);
  expect((error as LoRAError).code).toBe('ERR_OPTION');
  expect((error as LoRAError).message).toMatch(/threads/);
});
