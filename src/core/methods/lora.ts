import * as tf from '@tensorflow/tfjs';
import {LoRAError, show} from '../../platform/errors';
import {delta, type Factors, fans, updatedKernel} from '../ops/factors';
import {initializerOfRandom} from './initializer';
import type {AdaptableWeight, LoRAStrength, Method, Parameters, Strength} from './method';

/**
 * LoRA: `W + s·A·B`, `s = alpha / rank`. `A`, `[...fan-in axes, rank]`, starts random and `B`, `[rank, ...out axes]`,
 * at zero, or the other way round. (Hu et al., "LoRA", arXiv 2106.09685, §4; initialisation as in PEFT.)
 */
export const lora: Method = {
  name: 'lora',
  parameterNames: ['lora_A', 'lora_B'],
  parameters: (weight, rank, {zeroFactor = 'B', initializer, seed}) => {
    const {variable, outAxes = 1} = weight;
    const shape = variable.shape as number[];
    const r = Math.min(rank, limitOf(weight));
    const random = initializerOfRandom(zeroFactor, initializer, fans(shape, outAxes).fanIn, seed);
    const spec = (which: 'A' | 'B', ofFactor: number[]) => ({
      name: `lora_${which}`,
      shape: ofFactor,
      trains: true,
      initializer: which === zeroFactor ? tf.initializers.zeros() : random,
      neutralAtStart: which === zeroFactor,
    });
    return [spec('A', [...shape.slice(0, -outAxes), r]), spec('B', [r, ...shape.slice(-outAxes)])];
  },
  rankLimit: limitOf,
  update: (parameters, strength) => ({factors: factors(parameters, strength)}),
  delta: (parameters, strength) => delta(factors(parameters, strength)),
  merge: (parameters, strength, {weight}) => updatedKernel(weight.variable.read(), factors(parameters, strength)),
  scale: timesAlpha,
  factorsOf: pair,
  product: pair,
  parametersOf: ({a, b}) => ({lora_A: a, lora_B: b}),
};

/** The greatest rank of a product that a weight can use. */
export function limitOf({variable, outAxes}: AdaptableWeight): number {
  const {fanIn, fanOut} = fans(variable.shape as number[], outAxes);
  return Math.min(fanIn, fanOut);
}

/** The factors of an update whose parameters have LoRA's names. */
export function pair<T>({lora_A: a, lora_B: b}: Readonly<Record<string, T>>): {a: T; b: T} {
  return {a: a as T, b: b as T};
}

/** The low-rank product of an update whose parameters have LoRA's names. */
export function factors(parameters: Parameters, strength: Strength): Factors {
  return {...pair(parameters), scaling: scalingOf(strength)};
}

/**
 * Fills in the defaults of a strength and rejects what cannot be trained.
 *
 * @throws LoRAError if `rank` is not a positive integer, or `alpha` or `share` is negative or not finite, or
 *     `tokens` are not as many ids as the rank says.
 */
export function resolveStrength({
  rank = 8,
  alpha = rank,
  rankStabilized = false,
  share,
  tokens,
}: Partial<Strength>): Strength {
  if (!Number.isInteger(rank) || rank <= 0) {
    throw new LoRAError(`rank must be a positive integer, got ${show(rank)}.`);
  }
  if (!isFloat32(alpha) || alpha < 0) {
    throw new LoRAError(`alpha must be a finite number that is not negative, got ${shown(alpha)}.`);
  }
  if (typeof rankStabilized !== 'boolean') {
    throw new LoRAError(`rankStabilized must be true or false, got ${show(rankStabilized)}.`);
  }
  if (share !== undefined && (!isFloat32(share) || share < 0)) {
    throw new LoRAError(`share must be a finite number that is not negative, got ${shown(share)}.`);
  }
  if (tokens !== undefined && (new Set(tokens).size !== rank || !tokens.every(id => Number.isInteger(id) && id >= 0))) {
    throw new LoRAError(`tokens must be ${rank} different token ids, got ${show(tokens)}.`);
  }
  return {rank, alpha, rankStabilized, ...(share !== undefined && {share}), ...(tokens && {tokens})};
}

/** Whether a number is also finite as float32. */
export function isFloat32(value: unknown): value is number {
  return Number.isFinite(value) && Number.isFinite(Math.fround(value as number));
}

/** A number that `isFloat32` refuses, in a message. */
export function shown(value: unknown): string {
  return show(value) + (Number.isFinite(value) && !isFloat32(value) ? ', which is infinite in float32' : '');
}

/** The factor `s` of a strength: `alpha / rank`, or `alpha / √rank` with rank stabilisation. */
export function scalingOf({rank, alpha, rankStabilized}: Required<LoRAStrength>): number {
  return alpha / (rankStabilized ? Math.sqrt(rank) : rank);
}

/** The strength of `k` times an update that is scaled by `alpha`. */
export function timesAlpha(strength: Strength, k: number): Strength {
  return {...strength, alpha: strength.alpha * k};
}

/** A strength with another rank and the same scaling. */
export function withRank(strength: Strength, rank: number): Strength {
  const ratio = rank / strength.rank;
  return {...strength, rank, alpha: strength.alpha * (strength.rankStabilized ? Math.sqrt(ratio) : ratio)};
}
