import * as tf from '@tensorflow/tfjs';
import {
  faultsOf,
  kindOf,
  type KnownOptions,
  LoRAError,
  misfitError,
  show,
  throwFaults,
  unknownOptions,
  unsupportedError,
} from '../../platform/errors';
import {initializerEntry, isPrincipal} from '../methods/initializer';
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
  /** How much of a scaled update counts, `W + share·(W' − W)`. Default: 1. @internal */
  share?: number;
  /** The tokens whose embeddings train, for the method that trains these alone. @internal */
  tokens?: number[];
  /** Makes the start of `A` reproducible. */
  seed?: number;
}

export const WRAPPER_OPTIONS: KnownOptions<WrapperArgs> = {
  layer: true,
  name: true,
  trainable: true,
  baseTrainable: true,
  keepOriginal: true,
  record: true,
};

const LORA_LAYER_OPTIONS: KnownOptions<LoRALayerArgs> = {
  ...WRAPPER_OPTIONS,
  rank: true,
  alpha: true,
  rankStabilized: true,
  method: true,
  init: true,
  freezeBaseLayer: true,
  trainBias: true,
  dropout: true,
  share: true,
  tokens: true,
  seed: true,
};

const FLAGS = ['trainable', 'baseTrainable', 'keepOriginal', 'freezeBaseLayer', 'trainBias'] as const;

/** Names by which users look for options of a layer. */
const OTHER_NAMES = {
  baseLayer: 'The wrapped layer is passed as "layer".',
  base: 'The wrapped layer is passed as "layer".',
  frozen: 'Whether the base is frozen is set by "freezeBaseLayer".',
  bias: 'In a layer, the bias trains with "trainBias: true".',
  inputShape: 'Give inputShape to the wrapped layer.',
  batchInputShape: 'Give batchInputShape to the wrapped layer.',
} as const;

/** A line for each option of a wrapper that does not exist, has another name, or must be true or false and is not. */
export function wrapperFaults<T extends WrapperArgs>(args: T, allowed: KnownOptions<T>): string[] {
  return [
    ...unknownOptions(args, allowed),
    ...Object.entries(OTHER_NAMES).flatMap(([name, advice]) => (Object.hasOwn(args, name) ? [advice] : [])),
    ...FLAGS.flatMap(flag => {
      const value = (args as Record<string, unknown>)[flag];
      return value === undefined || typeof value === 'boolean'
        ? []
        : [`${flag} must be true or false, got ${show(value)}.`];
    }),
  ];
}

/** PEFT's names for options of an update. */
const PEFT_NAMES = {r: 'rank', lora_alpha: 'alpha', lora_dropout: 'dropout', use_rslora: 'rankStabilized'} as const;

/**
 * A line for each option that has its name in PEFT.
 *
 * @param names PEFT's names for further options, with those here.
 */
export function renamedOptions(options: object, names: Readonly<Record<string, string>> = {}): string[] {
  return Object.entries({...PEFT_NAMES, ...names})
    .filter(([name]) => Object.hasOwn(options, name))
    .map(([name, here]) => `PEFT's "${name}" is called ${here} here.`);
}

/** A line for each option of an update, of a layer or a whole model, that is out of range. */
export function updateFaults(options: LoRAStrength & MethodOptions & {dropout?: number; seed?: number}): string[] {
  const {init, dropout, seed} = options;
  return [
    ...faultsOf(() => resolveStrength(options)),
    ...faultsOf(() => chosenMethod(options)),
    ...(init === undefined || isPrincipal(init) ? [] : faultsOf(() => initializerEntry(init))),
    ...faultsOf(() => resolveDropout(dropout)),
    ...(seed === undefined || Number.isInteger(seed) ? [] : [`seed must be an integer, got ${show(seed)}.`]),
  ];
}

interface ResolvedArgs {
  method: Method;
  strength: Strength;
  /** Whether the rank is the default, which layers that are too small for it lower. */
  isDefaultRank: boolean;
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
  const {layer, rank, init, seed, freezeBaseLayer = true} = checkedArgs(args);
  throwFaults([...wrapperFaults(args, LORA_LAYER_OPTIONS), ...renamedOptions(args), ...updateFaults(args)]);
  const {baseClassName, zeroFactor} = adaptation;
  if (plainClass(layer.getClassName()) !== baseClassName) {
    throw misfitError(
      `Layer "${layer.name}" is a ${layer.getClassName()}; LoRA${shortName(baseClassName)} adapts ` +
        `layers of class ${baseClassName}.`,
    );
  }
  refuse(layer, adaptation.refusal?.(layer));
  const [method, dropout] = [chosenMethod(args), resolveDropout(args.dropout)];
  const isDefaultRank = rank === undefined;
  const strength = resolveStrength(isDefaultRank && method.hasRank === false ? {...args, rank: 1} : args);
  refuse(layer, refusedUpdate(adaptation, method, dropout));
  const initializer = isPrincipal(init) ? undefined : init;
  return {method, strength, isDefaultRank, dropout, start: {zeroFactor, initializer, seed}, freezeBaseLayer};
}

function refuse(layer: tf.layers.Layer, reason: string | undefined): void {
  if (reason !== undefined) {
    throw unsupportedError(`Layer "${layer.name}": ${reason}`);
  }
}
