import * as tf from '@tensorflow/tfjs';
import {checkCount, LoRAError} from '../../platform/errors';
import {slotOf} from './optimizers';
import {type Gradients, mapGradients, namedGradients, type StepChanges, takeStep, variableOf} from './stepChanges';
import type {Slot} from '../../platform/tfjs/slots';
import {NestedOptimizer} from './nestedOptimizer';
import {registerOwn} from '../../platform/tfjs/configs';

/** Prefix of the tensors that an `Accumulate` saves besides the state of its inner optimizer. */
const OWN = 'accumulate/';

/** An optimizer that takes a step every few batches. Made by `accumulate`. */
export class Accumulate extends NestedOptimizer {
  static className = 'tfjs-lora>Accumulate';

  /** The sums of the gradients since the last step, by the index of the variable. */
  private accumulatedGradients: Slot[] = [];

  constructor(
    inner: tf.Optimizer,
    readonly batches: number,
  ) {
    super(inner);
    checkCount('batches', batches);
    if (inner.getClassName() === Accumulate.className) {
      throw new LoRAError('The optimizer accumulates already. Multiply the numbers of batches instead.');
    }
    this.iterations_ = 0;
  }

  applyChanged(gradients: Gradients, changes: StepChanges): void {
    const {gradientScale = 1} = changes;
    const isFirst = this.iterations_ % this.batches === 0;
    const isLast = (this.iterations_ + 1) % this.batches === 0;
    namedGradients(gradients).forEach(([name, gradient], i) => {
      const sum = slotOf(this.accumulatedGradients, i, variableOf(name), 'sum');
      if (gradient !== null) {
        tf.tidy(() => {
          // A factor from outside applies only to this batch.
          const scaled = gradientScale === 1 ? gradient : tf.mul(gradient, gradientScale);
          sum.assign(isFirst ? tf.clone(scaled) : tf.add(sum, scaled));
        });
      }
    });
    this.iterations_++;
    if (isLast) {
      const sums = mapGradients(gradients, (_, i) => (this.accumulatedGradients[i] as Slot).variable);
      takeStep(this.inner, sums, {...changes, gradientScale: 1 / this.batches});
    }
  }

  override async getWeights(): ReturnType<tf.Optimizer['getWeights']> {
    return [
      ...(await this.inner.getWeights()),
      {name: `${OWN}iter`, tensor: tf.scalar(this.iterations_, 'int32')},
      ...this.accumulatedGradients.map(({originalName, variable}) => ({name: OWN + originalName, tensor: variable})),
    ];
  }

  override async setWeights(weights: Parameters<tf.Optimizer['setWeights']>[0]): Promise<void> {
    await this.inner.setWeights(weights.filter(({name}) => !name.startsWith(OWN)));
    const [count, ...sums] = weights.filter(({name}) => name.startsWith(OWN));
    this.iterations_ = count === undefined ? 0 : ((await count.tensor.data())[0] ?? 0);
    tf.dispose(this.accumulatedGradients.map(({variable}) => variable));
    this.accumulatedGradients = sums.map(({name, tensor}) => ({
      originalName: name.slice(OWN.length),
      variable: tf.variable(tensor, false),
    }));
  }

  protected options(): tf.serialization.ConfigDict {
    return {batches: this.batches};
  }
}
registerOwn(Accumulate);

/**
 * Takes a step every `batches` batches, with the mean of their gradients: to rounding, the step of one batch as large
 * as all of them, in the memory of one. All batches must have the same size.
 *
 * `loraPlus` and `clipByGlobalNorm` may be inside or outside: `accumulate(clipByGlobalNorm(adam(), 1), 4)` clips the
 * mean, `clipByGlobalNorm(accumulate(adam(), 4), 1)` each batch.
 *
 * @param optimizer takes a step for each `batches` batches.
 * @param batches a whole number from 1 on.
 * @returns an optimizer for `model.compile`.
 * @throws LoRAError `ERR_OPTION` if it is no optimizer, or `batches` is no whole number from 1 on.
 * @example
 *     model.compile({optimizer: accumulate(adam({learningRate: 1e-3}), 4), loss});
 */
export function accumulate(optimizer: tf.Optimizer, batches: number): tf.Optimizer {
  return new Accumulate(optimizer, batches);
}
