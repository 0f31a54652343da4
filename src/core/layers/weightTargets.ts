import type * as tf from '@tensorflow/tfjs';
import {listed, LoRAError, show, showShape, throwFaults} from '../../platform/errors';
import {fieldsOf} from '../../platform/tfjs/fields';
import type {ConvLayer, InnerLayers} from '../../platform/tfjs/layerFields';

/** Names a weight of a layer that can have an update, such as `attn_kernel`. */
export interface WeightTarget {
  /** The name that the layer gives the weight in `addWeight`. */
  name: string;
  /** How many of its last axes are outputs; those before them are the fan-in. Default: 1. */
  outAxes?: number;
}

/**
 * Fills in the defaults of the weights that are named.
 *
 * @throws LoRAError with a line for each fault.
 */
export function resolveWeights(weights: unknown): Required<WeightTarget>[] {
  if (!Array.isArray(weights) || weights.length === 0) {
    throw new LoRAError(`weights must be a list such as ['attn_kernel'], and not empty, got ${show(weights)}.`);
  }
  const faults: string[] = [];
  const names = new Set<string>();
  const resolved = weights.map((weight: unknown) => {
    const {name, outAxes = 1} = (typeof weight === 'string' ? {name: weight} : (weight ?? {})) as Partial<WeightTarget>;
    if (typeof name !== 'string' || name === '') {
      faults.push(`weights holds ${show(weight)}, which is neither a name nor such as {name: 'kernel', outAxes: 2}.`);
      return {name: '', outAxes};
    }
    if (names.has(name)) {
      faults.push(`weights names "${name}" twice.`);
    }
    names.add(name);
    if (!Number.isInteger(outAxes) || outAxes <= 0) {
      faults.push(`outAxes of weight "${name}" must be a positive integer, got ${show(outAxes)}.`);
    }
    return {name, outAxes};
  });
  throwFaults(faults);
  return resolved;
}

/** Weights as messages list them, in a fixed order. */
export function describeWeights(weights: readonly WeightTarget[]): string {
  const named = weights.map(({name, outAxes = 1}) => (outAxes === 1 ? name : `${name} (${outAxes} out axes)`));
  return listed(named.sort());
}

/** How a stock class without its own LoRA layer is adapted. */
interface StockByWeights {
  /** The names of the weights that are updated. Their last axis is the output. */
  readonly weights: readonly string[];
  /** Why a layer of the class cannot be adapted, and the way out; `undefined` if it can. */
  refusal?(layer: tf.layers.Layer): string | undefined;
}

/** A row for each stock class that is adapted by the names of its weights. */
export const STOCK_BY_WEIGHTS: Readonly<Record<string, StockByWeights>> = {
  Conv3DTranspose: {weights: ['kernel']},
  'tfjs-lora>SeparableConv1D': {weights: ['depthwise_kernel', 'pointwise_kernel']},
  'tfjs-lora>Convolution': {weights: ['kernel']},
  // As Keras's own LoRA takes it: the last axis is the output.
  'tfjs-lora>EinsumDense': {weights: ['kernel']},
  ConvLSTM2D: {weights: ['kernel', 'recurrent_kernel'], refusal: refuseDilation},
};

function refuseDilation(layer: tf.layers.Layer): string | undefined {
  const {dilationRate} = fieldsOf<ConvLayer>(fieldsOf<Required<InnerLayers>>(layer).cell);
  return dilationRate.some(rate => rate > 1)
    ? `tfjs has no gradient for dilationRate ${showShape(dilationRate)} in a ConvLSTM2D. Exclude the layer.`
    : undefined;
}
