import * as tf from '@tensorflow/tfjs';
import type {WasmBackend} from '../../shared/kernel';
import {stockKernel} from '../../shared/registration';
import {mayUseOwnCode} from '../../shared/tryOut';
import {Native} from './native';
import {agrees} from './agrees';

/** By backend: tfjs makes a new one when it is initialized again. */
const found = new WeakMap<WasmBackend, Native | null>();

/** Our module in a backend's memory, or `undefined` where it cannot run. The first call loads it and tries it out. */
export function nativeOf(backend: WasmBackend): Native | undefined {
  if (!mayUseOwnCode()) {
    return undefined;
  }
  let native = found.get(backend);
  if (native === undefined) {
    // While it is tried out, nothing uses it.
    found.set(backend, null);
    native = Native.load(backend) ?? null;
    if (native !== null && !agrees(native, backend, name => stockKernel(name, 'wasm')?.kernelFunc)) {
      native = null;
    }
    found.set(backend, native);
  }
  return native ?? undefined;
}

/** Our module in the memory of the current backend. */
export function currentNative(): Native | undefined {
  return tf.getBackend() === 'wasm' ? nativeOf(tf.backend() as unknown as WasmBackend) : undefined;
}
