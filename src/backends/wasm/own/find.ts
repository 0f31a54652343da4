import * as tf from '@tensorflow/tfjs';
import type {WasmBackend} from '../kernel';
import {stockKernel} from '../../registration';
import {Native} from './native';
import {agrees} from './trial';

/** By backend: tfjs makes a new one when it is initialized again. */
const found = new WeakMap<WasmBackend, Native | null>();

let disabled = false;

/** Our module in a backend's memory, or `undefined` where the kernels of before have to do. Loaded and tried out when first asked for. */
export function nativeOf(backend: WasmBackend): Native | undefined {
  if (disabled) {
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

/** Runs `f` as where our module cannot be loaded. */
export async function withoutNative<T>(f: () => T | Promise<T>): Promise<T> {
  disabled = true;
  try {
    return await f();
  } finally {
    disabled = false;
  }
}
