import * as tf from '@tensorflow/tfjs';
import {optimizerSteps} from '../backends/current';
import {checkOptions, LoRAError} from '../errors';

/** Options of `adam`. */
export interface AdamOptions {
  /** Default: 0.001. */
  learningRate?: number;
  /** Decay of the mean of the gradients. Default: 0.9. */
  beta1?: number;
  /** Decay of the mean of their squares. Default: 0.999. */
  beta2?: number;
  /** Added to the root in the denominator. Default: the backend's epsilon, as in `tf.train.adam`. */
  epsilon?: number;
}

/** Options of `sgd`. */
export interface SGDOptions {
  /** Default: 0.01. */
  learningRate?: number;
  /** Default: 0, plain gradient descent. */
  momentum?: number;
  /** Default: false. */
  nesterov?: boolean;
}

type Gradients = Parameters<tf.AdamOptimizer['applyGradients']>[0];

/** A slot as tfjs's optimizers keep them, one for each variable, by its place in the list. */
interface Slot {
  originalName: string;
  variable: tf.Variable;
}

// tfjs declares these fields of its optimizers private.

interface AdamFields {
  readonly accBeta1: tf.Variable;
  readonly accBeta2: tf.Variable;
  readonly accumulatedFirstMoment: Slot[];
  readonly accumulatedSecondMoment: Slot[];
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
}

interface MomentumFields {
  readonly accumulations: Slot[];
  readonly momentum: number;
  readonly useNesterov: boolean;
}

/**
 * `tf.AdamOptimizer` with its step of a variable in one launch, where the backend has that (wasm). Elsewhere it is the class it extends. It
 * has the same slots, saved state and config.
 */
export class LoRAAdam extends tf.AdamOptimizer {
  static override get className(): string {
    return 'LoRAAdam';
  }

  override applyGradients(gradients: Gradients): void {
    const steps = optimizerSteps();
    if (steps === undefined) {
      super.applyGradients(gradients);
      return;
    }
    const fields = this as unknown as AdamFields;
    const {accBeta1, accBeta2, beta1, beta2, epsilon} = fields;
    const corrections = [accBeta1, accBeta2].map(power => 1 - (power.dataSync()[0] ?? 0)) as [number, number];
    const settings = {learningRate: this.learningRate, beta1, beta2, epsilon, corrections};
    updateEach(gradients, (value, gradient, i) => {
      const first = slotOf(fields.accumulatedFirstMoment, i, value, 'm');
      const second = slotOf(fields.accumulatedSecondMoment, i, value, 'v');
      return gradient && steps.adam(value, gradient, [first, second], settings);
    });
    tf.tidy(() => {
      accBeta1.assign(tf.mul(accBeta1, beta1));
      accBeta2.assign(tf.mul(accBeta2, beta2));
    });
    this.incrementIterations();
  }
}
tf.serialization.registerClass(LoRAAdam);

/** `tf.MomentumOptimizer` with its step of a variable in one launch, where the backend has that (wasm). */
export class LoRAMomentum extends tf.MomentumOptimizer {
  static override get className(): string {
    return 'LoRAMomentum';
  }

  override applyGradients(gradients: Gradients): void {
    const steps = optimizerSteps();
    if (steps === undefined) {
      super.applyGradients(gradients);
      return;
    }
    const {accumulations, momentum, useNesterov: nesterov} = this as unknown as MomentumFields;
    const settings = {learningRate: this.learningRate, momentum, nesterov};
    updateEach(gradients, (value, gradient, i) => {
      const velocity = slotOf(accumulations, i, value, 'momentum');
      return gradient && steps.momentum(value, gradient, [velocity], settings);
    });
    this.incrementIterations();
  }
}
tf.serialization.registerClass(LoRAMomentum);

/** `tf.SGDOptimizer` with its step of a variable in one launch, where the backend has that (wasm). */
export class LoRASGD extends tf.SGDOptimizer {
  static override get className(): string {
    return 'LoRASGD';
  }

  override applyGradients(gradients: Gradients): void {
    const steps = optimizerSteps();
    if (steps === undefined) {
      super.applyGradients(gradients);
      return;
    }
    updateEach(gradients, (value, gradient) => gradient && steps.descend(value, gradient, this.learningRate));
    this.incrementIterations();
  }
}
tf.serialization.registerClass(LoRASGD);

/**
 * Adam (arXiv 1412.6980), as `tf.train.adam` computes it, with the same slots and saved state: for `model.compile` and for loops of one's own.
 * On wasm it updates a variable in one launch instead of fourteen.
 *
 * @throws LoRAError if an option is no number in its range.
 */
export function adam(options: AdamOptions = {}): LoRAAdam {
  checkOptions(options, {learningRate: true, beta1: true, beta2: true, epsilon: true});
  const {learningRate = 0.001, beta1 = 0.9, beta2 = 0.999, epsilon} = options;
  check('learningRate', learningRate, learningRate >= 0, 'a number that is not negative');
  check('beta1', beta1, beta1 >= 0 && beta1 < 1, 'at least 0 and below 1');
  check('beta2', beta2, beta2 >= 0 && beta2 < 1, 'at least 0 and below 1');
  check('epsilon', epsilon ?? 0, (epsilon ?? 0) >= 0, 'a number that is not negative');
  return new LoRAAdam(learningRate, beta1, beta2, epsilon);
}

/**
 * Gradient descent, with momentum or without, as `tf.train.sgd` and `tf.train.momentum` compute it, with the same slots and saved state. On
 * wasm it updates a variable in one launch.
 *
 * @throws LoRAError if an option is no number in its range.
 */
export function sgd(options: SGDOptions = {}): LoRASGD | LoRAMomentum {
  checkOptions(options, {learningRate: true, momentum: true, nesterov: true});
  const {learningRate = 0.01, momentum = 0, nesterov = false} = options;
  check('learningRate', learningRate, learningRate >= 0, 'a number that is not negative');
  check('momentum', momentum, momentum >= 0 && momentum < 1, 'at least 0 and below 1');
  if (nesterov && momentum === 0) {
    throw new LoRAError(
      'nesterov: true takes a momentum above 0. Set momentum, 0.9 for instance, or leave nesterov out.',
    );
  }
  return momentum === 0 ? new LoRASGD(learningRate) : new LoRAMomentum(learningRate, momentum, nesterov);
}

function check(name: string, value: number, fits: boolean, expected: string): void {
  if (!Number.isFinite(value) || !fits) {
    throw new LoRAError(`${name} must be ${expected}, got ${value}.`);
  }
}

/** Gives each variable the value that `step` returns for it, if it does; in the order in which tfjs goes through them. */
function updateEach(
  gradients: Gradients,
  step: (value: tf.Variable, gradient: tf.Tensor | null, i: number) => tf.Tensor | null,
): void {
  const named = Array.isArray(gradients)
    ? gradients.map(({name, tensor}) => [name, tensor] as const)
    : Object.entries(gradients);
  named.forEach(([name, gradient], i) => {
    const value = tf.engine().registeredVariables[name] as tf.Variable;
    const updated = step(value, gradient, i);
    if (updated !== null) {
      value.assign(updated);
      updated.dispose();
    }
  });
}

/** The slot of the variable number `i`, made of zeros if it is missing. */
function slotOf(slots: Slot[], i: number, value: tf.Variable, name: string): tf.Variable {
  const slot = slots[i] ?? {
    originalName: `${value.name}/${name}`,
    variable: tf.tidy(() => tf.variable(tf.zerosLike(value), false)),
  };
  if (!tf.util.arraysEqual(slot.variable.shape, value.shape)) {
    throw new LoRAError(
      `The optimizer was used with a variable of shape [${slot.variable.shape.join(', ')}] where ${value.name} has [${value.shape.join(', ')}]. ` +
        'Call resetOptimizer(model), or make a new optimizer.',
    );
  }
  slots[i] = slot;
  return slot.variable;
}
