import * as tf from '@tensorflow/tfjs';
import {checkCount, faultsOf, show, unsupportedError} from '../../../platform/errors';

/** Where the matrices of a model are. */
export interface StreamOptions {
  /**
   * Where matrices are: in memory, or in their file, from which each block of the model is read when it is computed.
   * Of a GGUF file these are the quantized and 16-bit matrices, and the results are the same to the last bit. Of
   * safetensors files they are all matrices of layers; the same bits are promised for training steps of at least 7
   * positions. Streamed weights need the wasm backend, and a source that can be read synchronously
   * ({@link RandomAccessSource}). Default: 'memory'.
   */
  weights?: 'memory' | 'streamed';
  /**
   * For streamed weights: up to how many bytes operations may read that need all of them, such as `mergeLoRA` and
   * `save`. Default: 268,435,456.
   */
  maxReadBytes?: number;
}

/** Operations that need all values read no more of a file than that, unless they are asked to. */
export const MAX_READ_BYTES = 2 ** 28;

/** The faults in these options, a line each. */
export function streamFaults({weights = 'memory', maxReadBytes = MAX_READ_BYTES}: StreamOptions): string[] {
  return [
    ...faultsOf(() => {
      checkCount('maxReadBytes', maxReadBytes, 0);
    }),
    ...(['memory', 'streamed'].includes(weights)
      ? []
      : [`weights must be 'memory' or 'streamed', got ${show(weights)}.`]),
  ];
}

/** @throws LoRAError if the current backend would hold streamed weights. */
export function checkStreams({weights}: StreamOptions): void {
  if (weights === 'streamed' && tf.getBackend() !== 'wasm') {
    throw unsupportedError(
      `Streamed weights need the wasm backend, whose kernels read what they compute with; the current one is ` +
        `${tf.getBackend()}, which would hold all of them. Set wasm before you load the model.`,
    );
  }
}
