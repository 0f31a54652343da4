import {LoRAError} from '../errors';
import type {Initializer} from '../methods/initializer';
import {
  type LoRAStrength,
  type Method,
  resolveDropout,
  resolveStrength,
  type Start,
  type Strength,
} from '../methods/method';
import {methodOf} from '../methods/registry';
import {type Adaptation, checkBase, refusedUpdate} from './adaptation';
import {checkArgs, type WrapperArgs} from './wrapperArgs';

/** Arguments of every LoRA layer. */
export interface LoRALayerArgs extends WrapperArgs, LoRAStrength {
  /** Keep the layer's own weights fixed. If false, they train along with the factors. Default: true. */
  freezeBaseLayer?: boolean;
  /** Train the layer's bias along with the factors, though its kernel stays fixed. Default: false. */
  trainBias?: boolean;
  /** How the kernel is updated: `'lora'`, or another method by its name, such as `'dora'` or `'pissa'`. Default: `'lora'`. */
  method?: string;
  /** The probability with which each number of the update's input is dropped in training, from 0 to below 1. Default: 0. */
  dropout?: number;
  /** Of an update that was scaled: how much of it counts, `W + share·(W' − W)`. Default: 1. */
  share?: number;
  /** What `A` starts from, as for `tf.layers`. Default: U(−1/√fan-in, 1/√fan-in), as in PEFT. */
  initializer?: Initializer;
  /** Makes the start of `A` reproducible. */
  seed?: number;
}

/** What the arguments of a LoRA layer come to. */
export interface ResolvedArgs {
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
  checkArgs(args);
  checkBase(args.layer, adaptation);
  const {initializer, seed, freezeBaseLayer = true} = args;
  const [method, dropout] = [methodOf(args.method), resolveDropout(args.dropout)];
  const strength = resolveStrength(method.hasRank === false ? {rank: 1, ...args} : args);
  const refusal = refusedUpdate(adaptation, method, dropout);
  if (refusal !== undefined) {
    throw new LoRAError(`Layer "${args.layer.name}" ${refusal}`);
  }
  const start = {zeroFactor: adaptation.zeroFactor, initializer, seed};
  return {method, strength, dropout, start, freezeBaseLayer};
}
