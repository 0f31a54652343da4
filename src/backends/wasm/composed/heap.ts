import type * as tf from '@tensorflow/tfjs';
import type {WasmBackend} from '../../shared/kernel';

/** Views of the memory of `tensors`. All are fetched first: fetching one may grow the heap, which detaches views. */
export function heapViews(
  backend: WasmBackend,
  ...tensors: tf.TensorInfo[]
): (Float32Array | Int32Array | Uint8Array)[] {
  for (const tensor of tensors) {
    backend.typedArrayFromHeap(tensor);
  }
  return tensors.map(tensor => backend.typedArrayFromHeap(tensor));
}

/** The heap as an array of the dtype that all `tensors` have, and the index in it where each of them begins. */
export function wholeHeap(
  backend: WasmBackend,
  ...tensors: tf.TensorInfo[]
): {heap: Float32Array | Uint8Array; offsets: number[]} {
  const views = heapViews(backend, ...tensors);
  const {buffer, BYTES_PER_ELEMENT: bytes} = views[0] as Float32Array;
  return {
    heap: bytes === 1 ? new Uint8Array(buffer) : new Float32Array(buffer),
    offsets: views.map(view => view.byteOffset / bytes),
  };
}
