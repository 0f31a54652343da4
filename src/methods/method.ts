import type * as tf from '@tensorflow/tfjs';
import {LoRAError, show} from '../errors';
import type {Factors} from '../ops/factors';
import type {Update} from '../ops/linear';
import type {Initializer, InitializerObject} from './initializer';

/** How strong and how wide a low-rank update is. */
export interface LoRAStrength {
  /** Rank `r` of the update, a positive integer. Default: 8. */
  rank?: number;
  /** Strength of the update, which is scaled by `alpha / rank`. Finite, not negative; 0 turns it off. Default: `rank`. */
  alpha?: number;
  /** Scale by `alpha / √rank` instead (rank stabilisation, arXiv 2312.03732). Default: false. */
  rankStabilized?: boolean;
}

/**
 * Fills in the defaults of a strength and rejects what cannot be trained.
 *
 * @throws LoRAError if `rank` is not a positive integer or `alpha` is negative or not finite.
 */
export function resolveStrength({
  rank = 8,
  alpha = rank,
  rankStabilized = false,
}: LoRAStrength): Required<LoRAStrength> {
  if (!Number.isInteger(rank) || rank <= 0) {
    throw new LoRAError(`rank must be a positive integer, got ${show(rank)}.`);
  }
  if (!Number.isFinite(alpha) || alpha < 0) {
    throw new LoRAError(`alpha must be a finite number that is not negative, got ${show(alpha)}.`);
  }
  if (typeof rankStabilized !== 'boolean') {
    throw new LoRAError(`rankStabilized must be true or false, got ${show(rankStabilized)}.`);
  }
  return {rank, alpha, rankStabilized};
}

/** The factor `s` of a strength: `alpha / rank`, or `alpha / √rank` with rank stabilisation. */
export function scalingOf({rank, alpha, rankStabilized}: Required<LoRAStrength>): number {
  return alpha / (rankStabilized ? Math.sqrt(rank) : rank);
}

/** A strength with another rank and the same scaling. */
export function withRank(strength: Required<LoRAStrength>, rank: number): Required<LoRAStrength> {
  const ratio = rank / strength.rank;
  return {...strength, rank, alpha: strength.alpha * (strength.rankStabilized ? Math.sqrt(ratio) : ratio)};
}

/** A weight of a layer that can have an update. */
export interface AdaptableWeight {
  /** The name that its layer gives it. */
  name: string;
  variable: tf.LayerVariable;
  /** How many of its last axes are outputs; those before them are the fan-in. Default: 1. */
  outAxes?: number;
}

/** What decides where the parameters of a new update start. */
export interface Start {
  /** The factor that starts at zero, while the other starts random. Default: `B`. */
  zeroFactor?: 'A' | 'B' | undefined;
  /** That of the factor that starts random. */
  initializer?: Initializer | undefined;
  seed?: number | undefined;
}

/** One parameter of the update of a weight. */
export interface ParameterSpec {
  /** Its name in files, such as `lora_A`. */
  name: string;
  shape: number[];
  /** Whether it trains. One that does not is part of the adapter too. */
  trains: boolean;
  /** What it starts from. */
  initializer: InitializerObject;
  /** Whether the update changes nothing while the parameter has its start value. Taking the update away brings it back. */
  neutralAtStart: boolean;
}

/** The parameters of the update of one weight, by the names that the method gives them. */
export type Parameters = Readonly<Record<string, tf.Tensor>>;

/** A way to update a weight. All that is known of it stands in one file; the rest of the library asks here. */
export interface Method {
  /** Its name in options and files: lower case and hyphens, since tfjs changes other spellings in the files of a model. */
  readonly name: string;
  /** The names of its parameters. */
  readonly parameterNames: readonly string[];
  /** The parameters of an update of a weight. One that cannot use the whole rank has an update of the rank that it can use. */
  parameters(weight: AdaptableWeight, rank: number, start: Start): ParameterSpec[];
  /** The greatest rank that a weight can use. */
  rankLimit(weight: AdaptableWeight): number;
  /** What an operation computes with. */
  update(parameters: Parameters, strength: Required<LoRAStrength>): Update & {factors: Factors};
  /** What the update adds to the weight, in the shape of the weight. */
  delta(parameters: Parameters, strength: Required<LoRAStrength>): tf.Tensor;
  /** The weight with the update in it. */
  merge(kernel: tf.Tensor, parameters: Parameters, strength: Required<LoRAStrength>): tf.Tensor;
  /** The strength of `k` times the update. */
  scale(strength: Required<LoRAStrength>, k: number): Required<LoRAStrength>;
  /** The low-rank product in the update, `[...fan-in axes, rank]` and `[rank, ...out axes]`. */
  factorsOf<T>(parameters: Readonly<Record<string, T>>): {a: T; b: T};
  /** The parameters of an update that is this product. The inverse of `factorsOf`. */
  parametersOf<T>(factors: {a: T; b: T}): Record<string, T>;
}
