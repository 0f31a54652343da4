import * as tf from '@tensorflow/tfjs';
import 'tfjs-lora';
import {guardHeap} from '../../../src/platform/tfjs/guardHeap';
import {numbers, useBackend} from '../../helpers';

/** What is used of tfjs's wasm backend: tensors that nothing is written to, which take no memory of the machine. */
interface WasmBackend {
  makeOutput(shape: number[], dtype: tf.DataType): tf.TensorInfo;
  disposeData(dataId: tf.DataId): boolean;
}

test('wasm refuses what its memory has no room for, and other tensors keep their numbers', async () => {
  await useBackend('wasm');
  const backend = tf.backend() as unknown as WasmBackend;
  const kept = tf.tensor1d([1, 2, 3]);
  kept.dataSync();
  const large: tf.TensorInfo[] = [];
  const fill = () => {
    for (let i = 0; i < 17; i++) {
      large.push(backend.makeOutput([2 ** 26], 'float32')); // 256 MiB
    }
  };
  expect(fill).toThrow(/4 GiB at most, has no room for 256 MiB more/);
  expect(large.length).toBeGreaterThan(8);
  expect(numbers(tf.add(kept, 1))).toEqual([2, 3, 4]);
  expect(() => tf.zeros([2 ** 27]).dataSync()).toThrow('no room for 512 MiB');
  large.forEach(({dataId}) => backend.disposeData(dataId));
  expect(numbers(tf.add(kept, 1))).toEqual([2, 3, 4]);
  const again = backend.makeOutput([2 ** 26], 'float32');
  expect(backend.disposeData(again.dataId)).toBe(true);
});

test('a place that ends beyond the memory is refused', () => {
  const places = [16, 65_520, 2 ** 32 - 16, -16];
  const allocate: (bytes: number) => number = () => places.shift() ?? 0;
  const wasm = {_malloc: allocate, HEAPU8: new Uint8Array(2 ** 16)};
  guardHeap({wasm});
  expect([wasm._malloc(32), wasm._malloc(16)]).toEqual([16, 65_520]);
  expect(() => wasm._malloc(2 ** 20)).toThrow('has no room for 1 MiB more');
  expect(() => wasm._malloc(2 ** 20)).toThrow('has no room for 1 MiB more');
});
