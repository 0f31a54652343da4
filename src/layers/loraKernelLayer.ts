import type * as tf from '@tensorflow/tfjs';
import {fieldsOf, type KernelLayer} from '../tfjs/fields';
import type {Adaptation} from './adaptation';
import type {Forward} from './forward';
import {onlyTensor} from './inputs';
import {LoRALayer, type LoRALayerArgs} from './loraLayer';
import type {CallArgs} from './wrapperLayer';

/** A LoRA layer whose base is linear in one kernel up to its activation: `y = f(op(x, W + s·A·B) + b)`. */
export abstract class LoRAKernelLayer extends LoRALayer {
  protected constructor(
    args: LoRALayerArgs,
    adaptation: Adaptation,
    private readonly forward: Forward,
  ) {
    super(args, adaptation);
  }

  protected override compute(inputs: tf.Tensor | tf.Tensor[], kwargs: CallArgs): tf.Tensor {
    const [factors = null] = this.factors();
    return this.forward(this.baseLayer, onlyTensor(inputs), {factors, prepared: this.prepared, kwargs});
  }
}

/** The adaptation of a class whose layers have one kernel, `[...fan-in axes, out]`. */
export function kernelAdaptation(baseClassName: string): Adaptation {
  return {
    baseClassName,
    weights: layer => [{name: 'kernel', variable: fieldsOf<KernelLayer>(layer).kernel}],
  };
}
