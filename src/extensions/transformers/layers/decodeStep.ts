import type * as tf from '@tensorflow/tfjs';
import type {RowKernels} from '../kernels/transformer';

/** The state of text generation, at addresses in the memory of a backend. */
export interface DecodeState {
  /** The position of the token that this pass computes. */
  readonly position: number;
  /** The position of each text's first token; greater for shorter texts. */
  readonly begins: readonly number[];
  /**
   * The addresses of the first text's cached keys and values of a layer, and how many bytes later those of the next
   * are. They have room for this position.
   */
  cacheOf(layer: tf.layers.Layer, width: number): {keys: number; values: number; step: number};
}

/** Computes what a layer computes for one position of each text, given the addresses of its inputs and its output. */
export type DecodeStep = (inputAddresses: readonly number[], to: number, state: DecodeState) => void;

/** A layer that can compute one position of each text without tensors. */
export interface DecodeLayer extends tf.layers.Layer {
  /**
   * @param widths the widths of the layer's inputs, of those that are `[batch, positions, width]`.
   * @param count the number of texts.
   * @returns `undefined` if only `call` computes what the layer is set to.
   */
  decodeStep(kernels: RowKernels, widths: readonly number[], count: number): DecodeStep | undefined;
}

export function isDecodeLayer(layer: tf.layers.Layer): layer is DecodeLayer {
  return 'decodeStep' in layer;
}
