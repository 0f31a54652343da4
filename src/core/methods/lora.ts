import * as tf from '@tensorflow/tfjs';
import {delta, type Factors, fans, updatedKernel} from '../ops/factors';
import {initializerOfRandom} from './initializer';
import {type AdaptableWeight, type Method, type Parameters, scalingOf, type Strength, timesAlpha} from './method';

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
