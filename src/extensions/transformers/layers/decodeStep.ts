import type * as tf from '@tensorflow/tfjs';
import type {RowKernels} from '../kernels/transformer';

/** The state of text generation with one text, at addresses in the memory of a backend. */
export interface DecodeState {
  /** The position of the token that this pass computes. */
  readonly position: number;
  /** The addresses of the cached keys and values of a layer, which have room for this position. */
  cacheOf(layer: tf.layers.Layer, width: number): {keys: number; values: number};
}

/** Computes what a layer computes for one position, given the addresses of its inputs and of its output. */
export type DecodeStep = (inputAddresses: readonly number[], to: number, state: DecodeState) => void;

/** A layer that can compute one position of one text without tensors. */
export interface DecodeLayer extends tf.layers.Layer {
  /**
   * @param widths the widths of the layer's inputs, of those that are `[batch, positions, width]`.
   * @returns `undefined` if only `call` computes what the layer is set to.
   */
  decodeStep(kernels: RowKernels, widths: readonly number[]): DecodeStep | undefined;
}

export function isDecodeLayer(layer: tf.layers.Layer): layer is DecodeLayer {
  return 'decodeStep' in layer;
}
