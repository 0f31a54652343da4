import * as tf from '@tensorflow/tfjs';
import {kindOf, LoRAError, misfitError, unsupportedError} from '../../platform/errors';
import {isPrincipal} from '../methods/initializer';
import type {LoRAStrength, Method, MethodOptions, Start, Strength} from '../methods/method';
import {resolveStrength} from '../methods/lora';
import {resolveDropout} from '../ops/update';
import {chosenMethod} from '../methods/registry';
import {isLayerOfOtherCopy, OTHER_COPY} from '../../platform/tfjs/copies';
import {shortName} from '../../platform/tfjs/configs';
import {type Adaptation, plainClass, refusedUpdate} from './adaptation';

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
  /** Keep the wrapped layer's original weights, so that those that train can be restored. Default: false. */
  keepOriginal?: boolean;
  /** What an adapted model records about its original. In files, tfjs keeps strings unchanged only under `name`. */
  record?: {name: string};
}

/** @throws LoRAError if it is no layer. */
export function checkLayer(layer: unknown): void {
  if (isLayerOfOtherCopy(layer)) {
    throw misfitError(`The layer is ${OTHER_COPY}`);
  }
  if (!(layer instanceof tf.layers.Layer)) {
    throw new LoRAError(`layer must be a layer, such as tf.layers.dense({units: 8}), got ${kindOf(layer)}.`);
  }
}

/**
 * Returns the arguments of a wrapper after checking that they hold a layer.
 *
 * @throws LoRAError if they do not.
 */
export function checkedArgs<T extends WrapperArgs>(args: T): T {
  if (typeof args !== 'object' || (args as unknown) === null) {
    throw new LoRAError(
      `The arguments must be an object such as {layer: tf.layers.dense({units: 8}), rank: 8}, got ${kindOf(args)}.`,
    );
  }
  if ((args as unknown) instanceof tf.layers.Layer) {
    throw new LoRAError('Pass the layer by name: {layer, rank: 8}.');
  }
  checkLayer(args.layer);
  return args;
}

/** Arguments of every LoRA layer. */
export interface LoRALayerArgs extends WrapperArgs, LoRAStrength, MethodOptions {
  /** Keep the layer's own weights fixed. If false, they train along with the factors. Default: true. */
  freezeBaseLayer?: boolean;
  /** Train the layer's bias along with the factors, though its kernel stays fixed. Default: false. */
  trainBias?: boolean;
  /** Drops elements of the update's input with this probability in training, 0 ≤ p < 1. Default: 0. */
  dropout?: number;
  /** How much of a scaled update counts, `W + share·(W' − W)`. Default: 1. */
  share?: number;
  /** The tokens whose embeddings train, for the method that trains these alone. */
  tokens?: number[];
  /** Makes the start of `A` reproducible. */
  seed?: number;
}

/** The resolved arguments of a LoRA layer. */
interface ResolvedArgs {
  method: Method;
  strength: Strength;
  dropout: number;
  start: Start;
  freezeBaseLayer: boolean;
}

/**
 * Checks the arguments of a LoRA layer.
 *
 * @throws LoRAError if the layer cannot be adapted, or not by the method, or a number is out of range.
 */
export function resolveArgs(args: LoRALayerArgs, adaptation: Adaptation): ResolvedArgs {
  const {layer, init, seed, freezeBaseLayer = true} = checkedArgs(args);
  const {baseClassName, zeroFactor} = adaptation;
  if (plainClass(layer.getClassName()) !== baseClassName) {
    throw misfitError(
      `Layer "${layer.name}" is a ${layer.getClassName()}; LoRA${shortName(baseClassName)} adapts ` +
        `layers of class ${baseClassName}.`,
    );
  }
  refuse(layer, adaptation.refusal?.(layer));
  const [method, dropout] = [chosenMethod(args), resolveDropout(args.dropout)];
  const strength = resolveStrength(method.hasRank === false ? {rank: 1, ...args} : args);
  refuse(layer, refusedUpdate(adaptation, method, dropout));
  const initializer = isPrincipal(init) ? undefined : init;
  return {method, strength, dropout, start: {zeroFactor, initializer, seed}, freezeBaseLayer};
}

function refuse(layer: tf.layers.Layer, reason: string | undefined): void {
  if (reason !== undefined) {
    throw unsupportedError(`Layer "${layer.name}" ${reason}`);
  }
}
