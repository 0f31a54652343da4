import * as tf from '@tensorflow/tfjs';
import {checkNumber, checkOptions} from '../../platform/errors';
import {type Gradients, type StepChanges, takeStep} from './stepChanges';
import {NestedOptimizer} from './nestedOptimizer';
import {registerOwn} from '../../platform/tfjs/configs';

/** Options of `loraPlus`. */
export interface LoRAPlusOptions {
  /** The learning rate of B divided by that of A. Default: 16. */
  ratio?: number;
}

/** tfjs numbers variables with the same name. */
const B = /lora_B(?:_\d+)?$/;

/** An optimizer in which the factor B has a higher learning rate than everything else. Made by `loraPlus`. */
export class LoRAPlus extends NestedOptimizer {
  static className = 'tfjs-lora>LoRAPlus';

  constructor(
    inner: tf.Optimizer,
    readonly ratio: number,
  ) {
    super(inner);
    checkNumber('ratio', ratio, ratio > 0, 'a number above 0');
  }

  applyChanged(gradients: Gradients, changes: StepChanges): void {
    const {rateOf = () => 1} = changes;
    takeStep(this.inner, gradients, {...changes, rateOf: name => rateOf(name) * (B.test(name) ? this.ratio : 1)});
  }

  protected options(): tf.serialization.ConfigDict {
    return {ratio: this.ratio};
  }
}
registerOwn(LoRAPlus);

/**
 * Trains the factor `B` at `ratio` times the learning rate of everything else, which is the optimizer's own (LoRA+,
 * Hayou et al., arXiv 2402.12354).
 *
 *     model.compile({optimizer: loraPlus(adam({learningRate: 2e-4}), {ratio: 16}), loss});
 *
 * A ratio that is a power of two is exact with every optimizer; with those of this library, any ratio is.
 *
 * @param optimizer applies the scaled gradients.
 * @param options the learning rate of `B` relative to the others.
 * @returns an optimizer for `model.compile`.
 * @throws LoRAError `ERR_OPTION` if it is no optimizer, or `ratio` is no number above 0.
 */
export function loraPlus(optimizer: tf.Optimizer, options: LoRAPlusOptions = {}): tf.Optimizer {
  checkOptions(options, {ratio: true}, 'loraPlus(adam(), {ratio: 16})');
  return new LoRAPlus(optimizer, options.ratio ?? 16);
}
