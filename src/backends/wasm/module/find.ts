import * as tf from '@tensorflow/tfjs';
import type {WasmBackend} from '../../shared/kernel';
import {stockKernel} from '../../shared/registration';
import {mayUseOwnCode} from '../../shared/tryOut';
import {Native} from './native';
import {agrees} from './agrees';

/** Backend → our module in its memory; `null` while it is tried out, or if it cannot run. */
const nativeByBackend = new WeakMap<WasmBackend, Native | null>();

/** Our module in a backend's memory, or `undefined` where it cannot run. The first call loads it and tries it out. */
export function nativeOf(backend: WasmBackend): Native | undefined {
  if (!mayUseOwnCode()) {
    return undefined;
  }
  let native = nativeByBackend.get(backend);
  if (native === undefined) {
    // While it is tried out, nothing uses it.
    nativeByBackend.set(backend, null);
    native = Native.load(backend) ?? null;
    if (native !== null && !agrees(native, backend, name => stockKernel(name, 'wasm')?.kernelFunc)) {
      native = null;
    }
    nativeByBackend.set(backend, native);
  }
  return native ?? undefined;
}

/** Our module in the memory of the current backend. */
export function currentNative(): Native | undefined {
  return tf.getBackend() === 'wasm' ? nativeOf(tf.backend() as unknown as WasmBackend) : undefined;
}
