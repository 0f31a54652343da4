import * as tf from '@tensorflow/tfjs';
import {LoRAError} from '../errors';
import {factorShapes, fans} from '../ops/factors';
import {showShape} from './stock';

/** A weight of a layer that can have a low-rank update. */
export interface AdaptableWeight {
  /** The name that its layer gives it. */
  name: string;
  variable: tf.LayerVariable;
  /** How many of its last axes are outputs; those before them are the fan-in. Default: 1. */
  outAxes?: number;
}

/** How the layers of one class are adapted: what the class of a LoRA layer says of itself. */
export interface Adaptation {
  /** Class name of the layers that are adapted. */
  baseClassName: string;
  /** The weights of a built layer that are updated, always in the same order. */
  weights(layer: tf.layers.Layer): AdaptableWeight[];
  /** Why a layer of the class cannot be adapted all the same, and the way out; `undefined` if it can. */
  refusal?(layer: tf.layers.Layer): string | undefined;
  /** Why `'all'` leaves the layers of the class out, so that they have to be named; `undefined` if it does not. */
  unlessNamed?: string;
  /** The factor that starts at zero, while the other starts random. Default: `B`. */
  zeroFactor?: 'A' | 'B';
}

/** One factor: the name that it has among the weights of its layer, and its shape. */
export interface FactorSpec {
  name: string;
  shape: number[];
}

/** The update of one weight. */
export interface UpdateSpec {
  weight: AdaptableWeight;
  a: FactorSpec;
  b: FactorSpec;
}

/**
 * The updates that a rank gives the weights of a layer. A weight that is too small for the rank has one of the rank that it can hold.
 * Factors are called `lora_A` and `lora_B`, and after their weight too where the layer has several: `recurrent_kernel/lora_A`.
 */
export function updateSpecs(weights: readonly AdaptableWeight[], rank: number): UpdateSpec[] {
  return weights.map(weight => {
    const shapes = factorShapes(weight.variable.shape as number[], Math.min(rank, rankLimit([weight])), weight.outAxes);
    const prefix = weights.length === 1 ? '' : `${weight.name}/`;
    return {
      weight,
      a: {name: `${prefix}lora_A`, shape: shapes.a},
      b: {name: `${prefix}lora_B`, shape: shapes.b},
    };
  });
}

/** The greatest rank of which one of the weights makes use. */
export function rankLimit(weights: readonly AdaptableWeight[]): number {
  const limits = weights.map(({variable, outAxes}) => {
    const {fanIn, fanOut} = fans(variable.shape as number[], outAxes);
    return Math.min(fanIn, fanOut);
  });
  return Math.max(...limits);
}

/** Classes of ours that compute what a stock class computes, but faster. */
const FUSED: Readonly<Record<string, string>> = {
  FusedConv2D: 'Conv2D',
  FusedDepthwiseConv2D: 'DepthwiseConv2D',
};

/** The stock class that a class stands for; itself, for every other one. */
export function plainClass(className: string): string {
  return Object.hasOwn(FUSED, className) ? (FUSED[className] as string) : className;
}

/**
 * Refuses what an adaptation is not for.
 *
 * @throws LoRAError if it is no layer, one of another class, or one that cannot be adapted.
 */
export function checkBase(layer: tf.layers.Layer, adaptation: Adaptation): void {
  const {baseClassName} = adaptation;
  if (!((layer as unknown) instanceof tf.layers.Layer)) {
    throw new LoRAError(`layer must be a layer, such as tf.layers.dense({units: 8}), got ${typeof layer}.`);
  }
  if (plainClass(layer.getClassName()) !== baseClassName) {
    throw new LoRAError(
      `Layer "${layer.name}" is a ${layer.getClassName()}; LoRA${baseClassName} adapts layers of class ${baseClassName}.`,
    );
  }
  const reason = adaptation.refusal?.(layer);
  if (reason !== undefined) {
    throw new LoRAError(`Layer "${layer.name}" ${reason}`);
  }
}

/**
 * Refuses a rank of which no weight of a layer makes use.
 *
 * @throws LoRAError if it is above the limit.
 */
export function checkRank(layerName: string, weights: readonly AdaptableWeight[], rank: number): void {
  const limit = rankLimit(weights);
  if (rank > limit) {
    const shapes = weights.map(({variable}) => showShape(variable.shape)).join(', ');
    throw new LoRAError(
      `Layer "${layerName}" has a kernel of shape ${shapes}: a rank above ${limit} would add nothing, got ${rank}.`,
    );
  }
}
