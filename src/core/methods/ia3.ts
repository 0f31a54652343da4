import * as tf from '@tensorflow/tfjs';
import {gained} from '../ops/factors';
import {outputShape, overOutputs, overRows} from './channels';
import type {AdaptableWeight, Method, Parameters, Strength, UpdateForm} from './method';
import {scalingOf, timesAlpha} from './lora';

const GAIN = 'ia3_l';

/** The common part of both forms: one factor for each channel, which starts at 1. */
function ia3Of(
  name: Method['name'],
  channels: (weight: AdaptableWeight) => number[],
): Pick<Method, 'name' | 'parameterNames' | 'parameters' | 'rankLimit' | 'hasRank' | 'refusal' | 'scale'> {
  return {
    name,
    parameterNames: [GAIN],
    parameters: weight => [
      {name: GAIN, shape: channels(weight), trains: true, initializer: tf.initializers.ones(), neutralAtStart: true},
    ],
    rankLimit: () => 1,
    hasRank: false,
    refusal,
    scale: timesAlpha,
  };
}

/**
 * IA³: multiplies each output of a layer, before its activation, by a trained factor, `y = f(l ⊙ (x ∗ W + b))`. A merge
 * multiplies the weights and the bias. At `k` times its strength the factor is `1 + k·(l − 1)`. (Liu et al., "Few-shot
 * parameter-efficient fine-tuning is better and cheaper than in-context learning", arXiv 2205.05638, §3.3; PEFT's
 * modules that are not in `feedforward_modules`.)
 */
export const ia3: Method = {
  ...ia3Of('ia3', outputShape),
  update: (parameters, strength, {weight, takesGain}) => {
    const gain = gainOf(parameters, strength);
    const biasGain = tf.reshape(gain, [-1]);
    return takesGain ? {gain, biasGain} : {kernel: overOutputs(weight, weight.variable.read(), gain), biasGain};
  },
  merge: (parameters, strength, {weight}) => overOutputs(weight, weight.variable.read(), gainOf(parameters, strength)),
  mergeBias: (bias, parameters, strength) => tf.mul(bias, tf.reshape(gainOf(parameters, strength), [-1])),
};

/**
 * IA³ for the second layer of a feed-forward block: multiplies each input channel of a layer by a trained factor, `y =
 * f((l ⊙ x) ∗ W + b)`. (As `ia3`; PEFT's `feedforward_modules`.)
 */
export const ia3FeedForward: Method = {
  ...ia3Of('ia3-feedforward', ({variable, transposed}) => {
    const shape = variable.shape as number[];
    return transposed ? shape.slice(-1) : shape.slice(-2, -1);
  }),
  update: (parameters, strength) => ({inputGain: gainOf(parameters, strength)}),
  merge: (parameters, strength, {weight: {variable, transposed = false}}) => {
    const gain = gainOf(parameters, strength);
    const kernel = variable.read();
    return transposed ? gained(kernel, gain) : overRows(kernel, gain);
  },
};

function gainOf(parameters: Parameters, strength: Strength): tf.Tensor {
  const l = parameters[GAIN] as tf.Tensor;
  const scaling = scalingOf(strength);
  return scaling === 1 ? l : tf.add(tf.mul(tf.sub(l, 1), scaling), 1);
}

function refusal(form: UpdateForm): string | undefined {
  switch (form) {
    case 'linear':
    case 'kernel':
      return undefined;
    case 'lookUp':
      return `The layer looks rows up. ${CARRIED}`;
    default:
      return `The layer has several products, or products that IA³ does not support. ${CARRIED}`;
  }
}

const CARRIED = 'IA³ scales what a Dense layer or a convolution computes. Exclude it, or override its method.';
