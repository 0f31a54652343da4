import type * as tf from '@tensorflow/tfjs';
import type {Prepared} from '../../platform/tfjs/prepared';
import type {Update} from '../ops/update';
import type {Initializer, InitializerObject, PrincipalInit} from './initializer';

/** How an update of a weight is computed from its parameters. */
export type MethodName = 'lora' | 'dora' | 'lora-fa' | 'ia3' | 'ia3-feedforward' | 'vera' | 'loha' | 'lokr';

export interface MethodOptions {
  /** How the weights are updated: `'lora'`, `W + s·A·B`, or another method. Default: `'lora'`. */
  method?: MethodName;
  /**
   * The initialization of the update. An initializer of `tf.layers` applies to `A`; the default is U(−1/√fan-in,
   * 1/√fan-in). `'pissa'` starts LoRA from the principal part of the weight, and `'olora'` from an orthonormal basis of
   * some of its rows. The layer subtracts the same part, so the base does not change.
   */
  init?: PrincipalInit | Initializer;
}

/** How strong and how wide a low-rank update is. */
export interface LoRAStrength {
  /** Rank `r` of the update, a positive integer. Default: 8. */
  rank?: number;
  /** Strength of the update, scaled by `alpha / rank`. Finite, not negative; 0 turns it off. Default: `rank`. */
  alpha?: number;
  /** Scale by `alpha / √rank` instead (rank stabilisation, arXiv 2312.03732). Default: false. */
  rankStabilized?: boolean;
}

/**
 * A method with the options that it has. `'dora'` and `'lora-fa'` have no principal initialization, other methods none
 * at all, and the scales of (IA)³ no rank.
 *
 * @typeParam A the initializers of the factor `A`.
 */
export type MethodChoice<A = Initializer> =
  | (LoRAStrength & {method?: 'lora'; init?: PrincipalInit | A})
  | (LoRAStrength & {method: 'dora' | 'lora-fa'; init?: A})
  | (LoRAStrength & {method: 'vera' | 'loha' | 'lokr'})
  | {method: 'ia3' | 'ia3-feedforward'};

export interface Strength extends Required<LoRAStrength> {
  /** How much of the update counts, `W + share·(W' − W)`, for methods that `alpha` does not scale. Default: 1. */
  share?: number;
  /** The tokens whose embeddings train, for the method that trains these alone. */
  tokens?: number[];
}

/** How the layers of a kind compute, which decides what an update of them may consist of. */
export type UpdateForm =
  /** By `linear`: low-rank factors, a gain for each output. */
  | 'linear'
  /** By an operation that updates its kernel: depthwise and transposed convolutions. */
  | 'kernel'
  /** By looking up rows. */
  | 'lookUp'
  /** By cells, with two kernels each. */
  | 'recurrent'
  /** By the layer's own `call`, with other values for its weights. */
  | 'weights';

export interface AdaptableWeight {
  /** The name that its layer gives it. */
  name: string;
  variable: tf.LayerVariable;
  /** How many of its last axes are outputs; those before them are the fan-in. Default: 1. */
  outAxes?: number;
  /** Whether the axis before the last has the outputs, as in transposed convolutions. Default: false. */
  transposed?: boolean;
}

/** What determines the initial parameters of a new update. */
export interface Start {
  /** The factor that starts at zero, while the other starts random. Default: `B`. */
  zeroFactor?: 'A' | 'B' | undefined;
  /** The initializer of the factor that starts random. */
  initializer?: Initializer | undefined;
  seed?: number | undefined;
}

/** One parameter of the update of a weight. */
export interface ParameterSpec {
  /** Its name in files, such as `lora_A`. */
  name: string;
  shape: number[];
  /** Whether it trains. If not, it is still part of the adapter. */
  trains: boolean;
  /** Its initial value. */
  initializer: InitializerObject;
  /** Whether the update changes nothing at the parameter's initial value. */
  neutralAtStart: boolean;
}

/** Whether a part is the first rows of a shared tensor, `[...fan-in axes, rank]`, or columns, `[rank, ...out axes]`. */
export type SharedSide = 'rows' | 'columns';

/** The parameters of the update of one weight, by the method's names for them. */
export type Parameters = Readonly<Record<string, tf.Tensor>>;

/** The position of an update: the weight, and what is known about its layer. */
export interface UpdateSite {
  weight: AdaptableWeight;
  /** Whether a gain for each output can be part of the update. */
  takesGain: boolean;
  /** A cache for values computed only from the frozen weight. */
  prepared: Prepared;
}

/** A way to update a weight. One file holds everything about it; the rest of the library asks here. */
export interface Method {
  /** Its name in options and files: lower case and hyphens, since tfjs changes other spellings in files. */
  readonly name: string;
  readonly parameterNames: readonly string[];
  /** The parameters of an update of a weight, of the rank that the weight can use. */
  parameters(weight: AdaptableWeight, rank: number, start: Start): ParameterSpec[];
  /** The greatest rank that a weight can use. */
  rankLimit(weight: AdaptableWeight): number;
  /** The parameters that are parts of one tensor shared by all layers. Default: none. */
  readonly shared?: Readonly<Record<string, SharedSide>>;
  /** Whether layers that borrow the weight, such as a tied head, compute with the update too. Default: false. */
  readonly reachesBorrowers?: boolean;
  /** Whether it trains the rows of single tokens, the `tokens` of the strength. Default: false. */
  readonly takesTokens?: boolean;
  /** Whether it has a configurable rank and `alpha`. Default: true. */
  readonly hasRank?: boolean;
  /** Why layers that compute in a form cannot have the update, in whole sentences; `undefined` if they can. */
  refusal?(form: UpdateForm): string | undefined;
  /** Why a weight cannot have an update, in whole sentences; `undefined` if it can. */
  misfit?(strength: Strength, weight: AdaptableWeight): string | undefined;
  /** Initial values that follow from the weight. Default: none, each parameter uses its initializer. */
  start?(site: UpdateSite, strength: Strength, start: Start): Record<string, tf.Tensor>;
  /** Values at which the update changes nothing. Default: the initial ones, if the parameters are neutral then. */
  neutral?(site: UpdateSite, parameters: Parameters): Record<string, tf.Tensor>;
  /** What an operation computes with. Default: the merged weight. */
  update?(parameters: Parameters, strength: Strength, site: UpdateSite): Update;
  /** The weight with the update in it, differentiable in the parameters. */
  merge(parameters: Parameters, strength: Strength, site: UpdateSite): tf.Tensor;
  /** The bias with the update in it, of a layer with one kernel. Default: the bias. */
  mergeBias?(bias: tf.Tensor, parameters: Parameters, strength: Strength): tf.Tensor;
  /** What the update adds to the weight. Default: the result of `merge` minus the weight. */
  delta?(parameters: Parameters, strength: Strength): tf.Tensor;
  /** The strength of `k` times the update. */
  scale(strength: Strength, k: number): Strength;
  /** The low-rank factors among the parameters, `[...fan-in axes, rank]` and `[rank, ...out axes]`, if any. */
  factorsOf?<T>(parameters: Readonly<Record<string, T>>): {a: T; b: T};
  /** The update as a low-rank product `A·B` without its scaling, if it is one, as new tensors. */
  product?(parameters: Parameters): {a: tf.Tensor; b: tf.Tensor};
  /** The inverse of `factorsOf`, for methods whose update is a product and nothing else. */
  parametersOf?<T>(factors: {a: T; b: T}): Record<string, T>;
}
