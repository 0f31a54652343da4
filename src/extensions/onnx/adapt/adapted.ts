import type {FiniteOptions} from '../../../platform/formats/numbers';
import type {CallOptions} from '../../../platform/signals';
import type {LoadOptions} from '../../../core/storage/limits';

/** How an adapter is put beside the products of a file. */
export interface AdaptONNXOptions extends LoadOptions, CallOptions, FiniteOptions {
  /**
   * Where the values of the adapter are. With `'inputs'` they are inputs of the graph, so that one session serves many
   * adapters. With `'data'` they are in a second data file, which a runtime loads by itself. Default: `'inputs'`.
   */
  mode?: 'inputs' | 'data';
  /** With `'data'`: the name of the second data file in the graph. Default: `'adapter.onnx_data'`. */
  dataFile?: string;
  /**
   * For one of the files of a model: only modules under this path are adapted, and their names are compared without it.
   * For example `'model.encoder'`. Default: all modules.
   */
  prefix?: string;
}

/** The value of one input of an adapted file, from which `ort.Tensor` is made. */
export interface AdapterInput {
  /** In which the product computes. */
  type: 'float32' | 'float16';
  /** `[in, rank]`, or `[rank, out]`. */
  dims: readonly [number, number];
  /** Values, or for float16 their bits. */
  data: Float32Array<ArrayBuffer> | Uint16Array<ArrayBuffer>;
}

/** A file with an adapter beside its products. */
export interface AdaptedONNX {
  /** The ONNX file. Its external data are those of the file that was adapted. */
  file: Uint8Array<ArrayBuffer>;
  /** With `'inputs'`: the adapter, by the names of the inputs. With `'data'`: empty. */
  inputs: Record<string, AdapterInput>;
  /** With `'data'`: the second data file. With `'inputs'`: empty. */
  data: Uint8Array<ArrayBuffer>;
}
