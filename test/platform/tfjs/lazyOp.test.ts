import * as tf from '@tensorflow/tfjs';
import {buildWithValues} from '../../../src/platform/tfjs/buildWithValues';
import {runLazyOp} from '../../../src/platform/tfjs/lazyOp';
import {Prepared} from '../../../src/platform/tfjs/prepared';
import {tensorOfBytes} from '../../../src/platform/tfjs/tensorOfBytes';
import {numbers, useBackend, withoutLeaks} from '../../helpers';

/** `x²`, by its own gradient, that tells how many buffers there are when it is gone through. */
function square(x: tf.Tensor, seen: number[] = []): tf.Tensor {
  return runLazyOp({
    inputs: {x},
    save: {x: true},
    forward: () => tf.square(x),
    gradient: (dy, saved) => {
      seen.push(tf.memory().numDataBuffers);
      return {x: () => tf.mul(dy, tf.mul(saved.x, 2))};
    },
  });
}

/** Passes gradients on as they are. */
function same(x: tf.Tensor): tf.Tensor {
  return runLazyOp({inputs: {x}, save: {}, forward: () => tf.clone(x), gradient: dy => ({x: () => dy})});
}

test('a backward pass holds no more the deeper the model is', () => {
  const peak = (depth: number) => {
    const seen: number[] = [];
    tf.tidy(() => {
      tf.grad(x => {
        let y = x;
        for (let i = 0; i < depth; i++) {
          y = square(y, seen);
        }
        return tf.sum(y);
      })(tf.ones([4]));
    });
    return seen;
  };
  const seen = peak(12);
  // Each operation gone through frees the gradient it was given and the input that was saved, and makes one gradient.
  expect(seen.at(-1)!).toBeLessThan(seen[1]!);
});

test('gradients are those of tfjs', () => {
  const x = tf.tensor1d([0.5, -1, 2]);
  const mixed = (f: (z: tf.Tensor) => tf.Tensor) => (z: tf.Tensor) => {
    const y = f(same(f(z)));
    return tf.add(tf.mul(same(y), f(z)), same(same(y)));
  };
  const [actual, expected] = [square, tf.square].map(f =>
    tf
      .grad(mixed(z => f(z)))(x)
      .dataSync(),
  );
  expect(actual).toBeAllClose(expected!, {rtol: 1e-6, atol: 1e-6});
});

test('a gradient that the caller brings stays the caller’s', () => {
  const [x, dy] = [tf.tensor1d([1, 2]), tf.tensor1d([3, 4])];
  const gradient = tf.grad(z => same(same(square(square(z)))))(x, dy);
  expect(dy.isDisposed).toBe(false);
  expect([...dy.dataSync()]).toEqual([3, 4]);
  expect([...gradient.dataSync()]).toEqual([12, 128]);
});

test('a gradient of a gradient has what it needs', () => {
  const cube = (z: tf.Tensor) => tf.mul(square(z), z);
  const second = tf.grad(z => tf.sum(tf.grad(cube)(z)))(tf.tensor1d([2, 3]));
  expect(second.dataSync()).toBeAllClose([12, 18], {rtol: 1e-5, atol: 1e-5});
});

test('what tfjs saves for shapes is freed at the first operation, and gradients stay the same', () => {
  const x = tf.tensor2d([[0.5, -1, 2]]);
  const saved: boolean[] = [];
  const looking = (z: tf.Tensor) =>
    runLazyOp({
      inputs: {z},
      save: {z: true},
      forward: () => tf.square(z),
      gradient: (dy, {z: own}) => {
        const tape = tf.engine().state.activeTape as unknown as {kernelName: string; saved?: tf.Tensor[]}[];
        const shaping = tape.filter(({kernelName}) => !/^(TfjsLoRA|Sum|Multiply)/.test(kernelName));
        saved.push(...shaping.flatMap(node => (node.saved ?? []).map(({isDisposed}) => isDisposed)));
        return {z: () => tf.mul(dy, tf.mul(own, 2))};
      },
    });
  const shaped = (f: (z: tf.Tensor) => tf.Tensor) => (z: tf.Tensor) => {
    const y = tf.sub(tf.add(tf.reshape(z, [3, 1]), z), tf.expandDims(tf.reshape(z, [3]), 0));
    return f(tf.concat([y, tf.mul(y, 3)], 0));
  };
  const [actual, expected] = [looking, tf.square].map(f =>
    tf
      .grad(shaped(z => f(z)))(x)
      .dataSync(),
  );
  expect(actual).toBeAllClose(expected!, {rtol: 1e-6, atol: 1e-6});
  expect(saved).toEqual(Array.from({length: 9}, () => true));
});

test('after a step nothing is left', async () => {
  const x = tf.tensor1d([1, 2]);
  await withoutLeaks(() => {
    tf.dispose(tf.grad(z => tf.sum(square(same(square(z)))))(x));
  });
});

describe('prepared tensors', () => {
  beforeAll(() => useBackend('cpu'));
  test('are made once, and again when a source has other data', async () => {
    await withoutLeaks(() => {
      const [one, other] = [1, 2].map(value => tf.tidy(() => tf.variable(tf.scalar(value))));
      const prepared = new Prepared();
      let made = 0;
      const sum = () => {
        const [tensor]: tf.Tensor[] = prepared.get([one!, other!], () => {
          made++;
          return [tf.add(one!, other!)];
        });
        return numbers(tensor!)[0];
      };
      expect([sum(), sum(), made]).toEqual([3, 3, 1]);
      tf.tidy(() => other!.assign(tf.scalar(5)));
      expect([sum(), sum(), made]).toEqual([6, 6, 2]);
      tf.tidy(() => one!.assign(tf.scalar(7)));
      expect([sum(), made]).toEqual([12, 3]);
      prepared.dispose();
      expect([sum(), made]).toEqual([12, 4]);
      prepared.dispose();
      prepared.dispose();
      tf.dispose([one!, other!]);
    });
  });

  test('outlive the tidy in which they are made, and what they are made of does not', async () => {
    const source = tf.variable(tf.scalar(3));
    const prepared = new Prepared();
    const square = (): tf.Tensor[] => prepared.get([source], () => [tf.square(tf.mul(source, 2))]);
    await withoutLeaks(() => {
      const [kept] = tf.tidy(square);
      expect(numbers(kept!)).toEqual([36]);
      expect(square()[0]).toBe(kept);
      prepared.dispose();
    });
  });
});

test('a tensor is made of bytes that begin anywhere, and keeps its values when they change', () => {
  const bytes = new Uint8Array(13);
  bytes.set(new Uint8Array(Float32Array.of(1.5, -2, 3).buffer), 1);
  const tensor = tensorOfBytes(bytes.subarray(1), [3, 1]);
  bytes.fill(0);
  expect([tensor.shape, tensor.dtype, numbers(tensor)]).toEqual([[3, 1], 'float32', [1.5, -2, 3]]);
});

test('weights of a new layer are the tensors that it starts with, and others are zeros', async () => {
  await withoutLeaks(() => {
    const layer = tf.layers.dense({units: 2});
    layer.setFastWeightInitDuringBuild(true);
    const kernel = tf.tensor2d([1, 2, 3, 4, 5, 6], [3, 2]);
    const {numDataBuffers} = tf.memory();
    buildWithValues(layer, new Map([['kernel', kernel]]), () => layer.apply(tf.input({shape: [3]})));
    expect(tf.memory().numDataBuffers).toBe(numDataBuffers + 1);
    expect(layer.getWeights().map(numbers)).toEqual([
      [1, 2, 3, 4, 5, 6],
      [0, 0],
    ]);
    expect(Object.hasOwn(layer, 'addWeight')).toBe(false);
    kernel.dispose();
    layer.dispose();
  });
});
