import * as tf from '@tensorflow/tfjs';
import {withoutOwnCode} from '../../src/backends/shared/tryOut';
import {loraKernels} from '../../src/backends/loraKernels';
import {stockKernel} from '../../src/backends/shared/registration';
import type {WasmBackend} from '../../src/backends/shared/kernel';
import {BINARY} from '../../src/backends/wasm/module/binary';
import {currentNative, nativeOf} from '../../src/backends/wasm/module/find';
import {decodeBinary, withSharedMemory} from '../../src/backends/wasm/module/module';
import {Native} from '../../src/backends/wasm/module/native';
import {agrees} from '../../src/backends/wasm/module/agrees';
import {useBackend} from '../helpers';

const backend = () => tf.backend() as unknown as WasmBackend;

test('it works in the memory of the backend', async () => {
  expect(currentNative()).toBeInstanceOf(Native);
  expect(loraKernels()).toBe('module');
  expect(await withoutOwnCode(() => loraKernels())).toBe('composed');
});

test('other backends have no module of ours', async () => {
  await useBackend('cpu');
  expect(currentNative()).toBeUndefined();
  expect(loraKernels()).toBe('backend');
  await useBackend('wasm');
});

test.each<[name: string, fields: object]>([
  ['the backend says nothing of its memory', {wasm: undefined}],
  ['there is no allocator', {wasm: {HEAPU8: new Uint8Array(8), asm: {}}}],
  ['the memory is not found', {wasm: {HEAPU8: new Uint8Array(8), _malloc: () => 0, _free: () => 0, asm: {}}}],
  [
    'the memory is not that of the tensors',
    {
      wasm: {
        ...{HEAPU8: new Uint8Array(8), _malloc: () => 0, _free: () => 0},
        asm: {memory: new WebAssembly.Memory({initial: 1})},
      },
    },
  ],
])('it is not loaded where %s', (_, fields) => {
  const other = Object.assign(Object.create(backend() as object) as WasmBackend, fields);
  expect(nativeOf(other)).toBeUndefined();
});

test('it is not used where the backend’s own kernels give other bits', () => {
  const native = Native.load(backend())!;
  const stock = (name: string) => stockKernel(name, 'wasm')!.kernelFunc;
  expect(agrees(native, backend(), stock)).toBe(true);
  for (const name of [tf._FusedMatMul, tf.FusedConv2D, tf.FusedBatchNorm]) {
    const other = (asked: string): tf.KernelFunc => {
      if (asked !== name) {
        return stock(asked);
      }
      return call => {
        const info = stock(asked)(call) as tf.TensorInfo;
        const values = backend().typedArrayFromHeap(info) as Float32Array;
        values[3] = values[3]! * (1 + 2 ** -23) + 2 ** -140;
        return info;
      };
    };
    expect([name, agrees(native, backend(), other)]).toEqual([name, false]);
    expect(agrees(native, backend(), asked => (asked === name ? undefined : stock(asked)))).toBe(false);
  }
});

test('trying it out leaves nothing behind', () => {
  const native = Native.load(backend())!;
  const {numDataIds} = tf.backend() as unknown as {numDataIds: () => number};
  const count = () => numDataIds.call(tf.backend());
  const before = count();
  agrees(native, backend(), name => stockKernel(name, 'wasm')!.kernelFunc);
  expect(count()).toBe(before);
});

test('the kernels of before run where the module is missing', async () => {
  const x = tf.randomNormal<tf.Rank.R4>([2, 9, 8, 16], 0, 1, 'float32', 1);
  const filter = tf.randomNormal<tf.Rank.R4>([3, 3, 16, 16], 0, 1, 'float32', 2);
  const gradient = () =>
    tf.tidy(() =>
      tf
        .grad(z => tf.sum(tf.conv2d(z as tf.Tensor4D, filter, 1, 'same')))(x)
        .dataSync(),
    );
  const actual = gradient();
  const expected = await withoutOwnCode(() => {
    expect(currentNative()).toBeUndefined();
    return gradient();
  });
  expect(actual).toBeAllClose(expected, {rtol: 1e-4, atol: 1e-4});
  expect(currentNative()).toBeDefined();
});

test('the module for a memory that threads share is the same, with another import', () => {
  const bytes = decodeBinary(BINARY);
  const shared = withSharedMemory(bytes);
  const memory = new WebAssembly.Memory({initial: 1, maximum: 10, shared: true});
  const {exports} = new WebAssembly.Instance(new WebAssembly.Module(shared), {env: {memory}});
  const numbers = new Float32Array(memory.buffer);
  numbers.set([1, 2, 3, 4, 5, 6]);
  (exports as {transpose: (...args: number[]) => void}).transpose(0, 2, 3, 64);
  expect([...numbers.slice(16, 22)]).toEqual([1, 4, 2, 5, 3, 6]);
  expect(() => new WebAssembly.Instance(new WebAssembly.Module(bytes), {env: {memory}})).toThrow();
});

test('what is sent to a page is at most 8 kB', async () => {
  const {brotliCompressSync} = await import('node:zlib');
  expect(brotliCompressSync(Buffer.from(BINARY)).length).toBeLessThan(7000);
});

test('memory that grows in the middle of a step is followed', () => {
  const before = (tf.backend() as unknown as {wasm: {HEAPU8: Uint8Array}}).wasm.HEAPU8.length;
  const a = tf.ones<tf.Rank.R2>([3, 3]);
  tf.zeros([Math.ceil(before / 4 / 1024), 1024]); // does not fit into the memory that is there
  const product = tf.matMul(a, a);
  expect((tf.backend() as unknown as {wasm: {HEAPU8: Uint8Array}}).wasm.HEAPU8.length).toBeGreaterThan(before);
  expect([...product.dataSync()]).toEqual(new Array(9).fill(3));
});
