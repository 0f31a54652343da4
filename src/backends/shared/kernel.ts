import * as tf from '@tensorflow/tfjs';
import type {OwnKernel} from './registration';

/** The parts of tfjs's `BackendWasm` that the kernels here use. */
export interface WasmBackend {
  makeOutput(shape: number[], dtype: tf.DataType): tf.TensorInfo;
  /** A view of a tensor's memory. */
  typedArrayFromHeap(tensor: tf.TensorInfo): Float32Array | Int32Array | Uint8Array;
  /** Counts one more tensor that has these data. */
  incRef(dataId: tf.DataId): void;
  /** Releases what `makeOutput` made and the engine has not seen. */
  disposeData(dataId: tf.DataId): boolean;
}

/** The arguments of a kernel function. */
export interface KernelCall<Inputs, Attributes> {
  readonly inputs: Inputs;
  readonly attrs: Attributes;
  readonly backend: WasmBackend;
}

type KernelFunction<Inputs, Attributes, Output> = (call: KernelCall<Inputs, Attributes>) => Output;

/** A kernel that needs nothing of the backend's own, which mostly does not exist. */
export function newKernel<Inputs, Attributes, Output = tf.TensorInfo>(
  name: string,
  body: KernelFunction<Inputs, Attributes, Output>,
): OwnKernel {
  const kernelFunc = body as unknown as tf.KernelFunc;
  return {name, configure: () => ({kernelName: name, backendName: 'wasm', kernelFunc})};
}

/** A kernel that calls the backend's own, `stock`, and keeps its set-up, without which that one does not work. */
export function wrappedKernel<Inputs, Attributes, Output = tf.TensorInfo>(
  name: string,
  wrap: (stock: KernelFunction<Inputs, Attributes, Output>) => KernelFunction<Inputs, Attributes, Output>,
): OwnKernel {
  return {
    name,
    configure: stock =>
      stock && {
        ...stock,
        kernelFunc: wrap(
          stock.kernelFunc as unknown as KernelFunction<Inputs, Attributes, Output>,
        ) as unknown as tf.KernelFunc,
      },
  };
}
