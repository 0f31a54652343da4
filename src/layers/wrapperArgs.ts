import * as tf from '@tensorflow/tfjs';
import {kindOf, LoRAError} from '../errors';
import {isForeignLayer, OTHER_COPY} from '../tfjs/copies';

/** Keyword arguments of `call`, such as `training` and `mask`. */
export type CallArgs = Record<string, unknown>;

/** Arguments of every layer of this library. */
export interface WrapperArgs {
  /** The layer to wrap. One that is built or in use is re-created from its config and shares its weights' buffers. */
  layer: tf.layers.Layer;
  /** Default: the name of the layer. */
  name?: string;
  /** As in `tf.layers.Layer`. Default: true. */
  trainable?: boolean;
  /** The `trainable` flag that the wrapped layer gets back when it is unwrapped. Default: the flag that it has. */
  baseTrainable?: boolean;
  /** Keep the wrapped layer's original weights beside those that train, so that they can be restored. Default: false. */
  keepOriginal?: boolean;
  /** What an adapted model remembers of its original, as text. Under `name`, the only key whose values tfjs keeps as they are in files. */
  record?: {name: string};
}

/** @throws LoRAError if there are no arguments. */
export function checkArgs(args: unknown): void {
  if (typeof args !== 'object' || args === null) {
    throw new LoRAError(
      `The arguments must be such as {layer: tf.layers.dense({units: 8}), rank: 8}, got ${kindOf(args)}.`,
    );
  }
}

/** @throws LoRAError if it is no layer. */
export function checkLayer(layer: unknown): void {
  if (isForeignLayer(layer)) {
    throw new LoRAError(`The layer is ${OTHER_COPY}`);
  }
  if (!(layer instanceof tf.layers.Layer)) {
    throw new LoRAError(`layer must be a layer, such as tf.layers.dense({units: 8}), got ${kindOf(layer)}.`);
  }
}

/**
 * The arguments of a wrapper, found to hold a layer.
 *
 * @throws LoRAError if they do not.
 */
export function checkedArgs(args: WrapperArgs): WrapperArgs {
  checkArgs(args);
  checkLayer(args.layer);
  return args;
}
