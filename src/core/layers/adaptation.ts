import type * as tf from '@tensorflow/tfjs';
import {misfitError, showShape} from '../../platform/errors';
import type {AdaptableWeight, Method, ParameterSpec, Start, UpdateForm} from '../methods/method';
import type {Forward} from './forward';
import {fieldsOf} from '../../platform/tfjs/fields';
import type {KernelLayer} from '../../platform/tfjs/layerFields';
import {registeredClass, shortName} from '../../platform/tfjs/configs';

/** A kind of layer: how the layers of one class are adapted. */
export interface Adaptation {
  baseClassName: string;
  /** The weights of a built layer that are updated, always in the same order. Throws the faults of `weightFaults`. */
  weights(layer: tf.layers.Layer): AdaptableWeight[];
  /** A line for each weight that a built layer lacks, or that cannot have an update. Default: none. */
  readonly weightFaults?: (layer: tf.layers.Layer) => string[];
  /** How the layers compute. Default: by their own `call`, with other values for their weights. */
  form?: UpdateForm;
  /** How a layer with one kernel computes, with or without an update of it. */
  forward?: Forward;
  /** Why a layer of the class still cannot be adapted, and the way out; `undefined` if it can. */
  refusal?(layer: tf.layers.Layer): string | undefined;
  /** Why layers of the class cannot have updates by a method, or with dropout, in whole sentences. */
  readonly refusedMethod?: (method: Method, dropout: number) => string | undefined;
  /** Why `'all'` leaves the layers of the class out, so that they have to be named; `undefined` if it does not. */
  unlessNamed?: string;
  /** The factor that starts at zero, while the other starts random. Default: `B`. */
  zeroFactor?: 'A' | 'B';
}

/** The update of one weight: a prefix for the names of its parameters in the layer, and the parameters. */
export interface UpdateSpec {
  weight: AdaptableWeight;
  prefix: string;
  parameters: ParameterSpec[];
}

/** The distance between the seeds of a layer's kernels. Seeds of layers are 1 apart. */
const SEEDS_APART = 1_000_003;

/**
 * The updates that a method gives the weights of a layer. The method names the parameters; in a layer with several
 * weights, the name of the weight comes first: `recurrent_kernel/lora_A`.
 */
export function updateSpecs(
  method: Method,
  weights: readonly AdaptableWeight[],
  rank: number,
  start: Start = {},
): UpdateSpec[] {
  return weights.map((weight, i) => ({
    weight,
    prefix: weights.length === 1 ? '' : `${weight.name}/`,
    parameters: method.parameters(weight, rank, {
      ...start,
      seed: start.seed === undefined ? undefined : start.seed + i * SEEDS_APART,
    }),
  }));
}

/** The greatest rank that one of the weights can use. */
export function rankLimit(method: Method, weights: readonly AdaptableWeight[]): number {
  return Math.max(...weights.map(weight => method.rankLimit(weight)));
}

/** Static fields that classes of layers of this library may have. */
interface StandIn {
  /** The stock class that its layers are adapted like: they compute the same faster, or more than it does. */
  readonly adaptedLike?: string;
  /** Its name in adapters, if that is another one, so that an adapter fits both. */
  readonly nameInAdapters?: string;
}

/** The stock class that a class replaces; any other class itself. */
export function plainClass(className: string): string {
  return (registeredClass(className) as StandIn | undefined)?.adaptedLike ?? className;
}

/** The name of a class in adapters. A quantized layer keeps its former name. */
export function classInAdapters(className: string): string {
  return (registeredClass(className) as StandIn | undefined)?.nameInAdapters ?? shortName(className);
}

/**
 * Refuses a rank that no weight of a layer can use.
 *
 * @throws LoRAError if it is above the limit.
 */
export function checkRank(layerName: string, method: Method, weights: readonly AdaptableWeight[], rank: number): void {
  const limit = rankLimit(method, weights);
  if (rank > limit) {
    const shapes = weights.map(({variable}) => showShape(variable.shape)).join(', ');
    throw misfitError(
      `Layer "${layerName}" has a kernel of shape ${shapes}: a rank above ${limit} would add nothing, got ${rank}.`,
    );
  }
}

/** Why a kind cannot have updates by a method, or with dropout, in whole sentences; `undefined` if it can. */
export function refusedUpdate(
  {form = 'weights', refusedMethod}: Adaptation,
  method: Method,
  dropout: number,
): string | undefined {
  const refusal = method.refusal?.(form) ?? refusedMethod?.(method, dropout);
  return (
    refusal ??
    (dropout > 0 && form === 'weights'
      ? 'The layer runs its own call with updated weights, so dropout cannot be applied to the input of the update. ' +
        'Exclude it, or override its dropout with 0.'
      : undefined)
  );
}

/** The kind of a class whose layers have one kernel, `[...fan-in axes, out]`. */
export function kernelAdaptation(baseClassName: string, forward: Forward): Adaptation {
  return {
    baseClassName,
    form: 'linear',
    forward,
    weights: layer => [{name: 'kernel', variable: fieldsOf<KernelLayer>(layer).kernel}],
  };
}
