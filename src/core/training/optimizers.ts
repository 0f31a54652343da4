import * as tf from '@tensorflow/tfjs';
import {checkNumber, checkOptions, type KnownOptions, LoRAError, misfitError} from '../../platform/errors';
import {fieldsOf} from '../../platform/tfjs/fields';
import {watchCompile} from '../../platform/tfjs/compiled';
import {
  type AdamFields,
  freeOptimizer,
  type MomentumFields,
  ownSlot,
  reviveOptimizer,
  type Slot,
} from '../../platform/tfjs/slots';
import {
  changedFromOutside,
  type Gradients,
  namedGradients,
  presentGradients,
  type StepChanges,
  stepsFor,
  variableOf,
} from './stepChanges';
import {registerOwn} from '../../platform/tfjs/configs';

watchCompile();

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

/** Options of `adamW`. */
export interface AdamWOptions extends AdamOptions {
  /** The share of a weight that a step removes, times the learning rate. Default: 0.01. */
  weightDecay?: number;
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

/** The arguments of the stock classes, by the types of tfjs. */
type StockGradients = Parameters<tf.AdamOptimizer['applyGradients']>[0];

/**
 * `tf.AdamOptimizer` that updates a variable in few kernel launches, or in one loop if the values are in the memory of
 * this process (cpu, tensorflow). It has the same slots and saved state, and the same config except for the decay.
 */
export class LoRAAdam extends tf.AdamOptimizer {
  static override get className(): string {
    return 'tfjs-lora>LoRAAdam';
  }

  constructor(
    learningRate: number,
    beta1: number,
    beta2: number,
    epsilon?: number,
    /** Decay of the weights, separate from the gradients. */
    readonly weightDecay = 0,
  ) {
    super(learningRate, beta1, beta2, epsilon);
  }

  override applyGradients(gradients: Gradients): void {
    this.applyChanged(gradients, {});
  }

  applyChanged(gradients: Gradients, changes: StepChanges): void {
    reviveOptimizer(this);
    const steps = stepsFor(presentGradients(gradients));
    const decayFactorOf = (variable: tf.Variable, factor: number) =>
      decays(variable) ? 1 - factor * this.learningRate * this.weightDecay : 1;
    const fields = fieldsOf<AdamFields>(this);
    const {accBeta1, accBeta2, beta1, beta2, epsilon} = fields;
    const powers = [accBeta1, accBeta2].map(power => power.dataSync()[0] ?? 0) as [number, number];
    // By index, which is available in the next step, on a graphics card too.
    const advance = () =>
      tf.tidy(() => {
        accBeta1.assign(tf.scalar(powers[0] * Math.fround(beta1)));
        accBeta2.assign(tf.scalar(powers[1] * Math.fround(beta2)));
      });
    const momentsOf = (value: tf.Variable, i: number) =>
      [
        slotOf(fields.accumulatedFirstMoment, i, value, 'm'),
        slotOf(fields.accumulatedSecondMoment, i, value, 'v'),
      ] as const;
    if (steps === undefined) {
      forEachVariable(gradients, momentsOf);
      changedFromOutside(gradients, changes, scaled => super.applyGradients(scaled as StockGradients), decayFactorOf);
      advance();
      return;
    }
    const {gradientScale = 1, rateOf = () => 1} = changes;
    const corrections = powers.map(power => 1 - power) as [number, number];
    const settings = {gradientScale, beta1, beta2, epsilon, corrections};
    const updates = updatesOf(gradients, (value, i) => {
      const factor = rateOf(value.name);
      const adamSettings = {
        ...settings,
        learningRate: factor * this.learningRate,
        decayFactor: decayFactorOf(value, factor),
      };
      return [momentsOf(value, i), adamSettings] as const;
    });
    steps.adam(updates);
    advance();
    this.incrementIterations();
  }

  /** Frees what the optimizer keeps. Its next step begins anew. */
  override dispose(): void {
    freeOptimizer(this);
  }

  override getConfig(): tf.serialization.ConfigDict {
    const {weightDecay} = this;
    return {...super.getConfig(), ...(weightDecay > 0 && {weightDecay})};
  }

  static override fromConfig<T extends tf.serialization.Serializable>(
    cls: tf.serialization.SerializableConstructor<T>,
    {learningRate, beta1, beta2, epsilon, weightDecay}: tf.serialization.ConfigDict,
  ): T {
    return new cls(learningRate, beta1, beta2, epsilon, weightDecay);
  }
}
registerOwn(LoRAAdam);

/** Biases, gains and magnitudes, one value per channel, do not decay: decay is for matrices. */
function decays({name, rank}: tf.Variable): boolean {
  return rank > 1 && !/(?:^|[/_])(?:bias|beta|gamma|magnitude)/.test(name);
}

/** `tf.MomentumOptimizer` that updates a variable in few kernel launches, or in one loop. */
export class LoRAMomentum extends tf.MomentumOptimizer {
  static override get className(): string {
    return 'tfjs-lora>LoRAMomentum';
  }

  override applyGradients(gradients: Gradients): void {
    this.applyChanged(gradients, {});
  }

  applyChanged(gradients: Gradients, changes: StepChanges): void {
    reviveOptimizer(this);
    const {accumulations, momentum, useNesterov: nesterov} = fieldsOf<MomentumFields>(this);
    const velocityOf = (value: tf.Variable, i: number) => slotOf(accumulations, i, value, 'momentum');
    const steps = stepsFor(presentGradients(gradients));
    if (steps === undefined) {
      forEachVariable(gradients, velocityOf);
      changedFromOutside(gradients, changes, scaled => super.applyGradients(scaled as StockGradients));
      return;
    }
    const {gradientScale = 1, rateOf = () => 1} = changes;
    const updates = updatesOf(gradients, (value, i) => {
      const settings = {learningRate: rateOf(value.name) * this.learningRate, gradientScale, momentum, nesterov};
      return [[velocityOf(value, i)], settings] as const;
    });
    steps.momentum(updates);
    this.incrementIterations();
  }

  /** Frees what the optimizer keeps. Its next step begins anew. */
  override dispose(): void {
    freeOptimizer(this);
  }
}
registerOwn(LoRAMomentum);

/** `tf.SGDOptimizer` that updates a variable in few kernel launches, or in one loop. */
export class LoRASGD extends tf.SGDOptimizer {
  static override get className(): string {
    return 'tfjs-lora>LoRASGD';
  }

  override applyGradients(gradients: Gradients): void {
    this.applyChanged(gradients, {});
  }

  applyChanged(gradients: Gradients, changes: StepChanges): void {
    reviveOptimizer(this);
    const steps = stepsFor(presentGradients(gradients));
    if (steps === undefined) {
      changedFromOutside(gradients, changes, scaled => super.applyGradients(scaled));
      return;
    }
    const {gradientScale = 1, rateOf = () => 1} = changes;
    const updates = updatesOf(gradients, ({name}) => {
      const settings = {learningRate: rateOf(name) * this.learningRate, gradientScale};
      return [[], settings] as const;
    });
    steps.descend(updates);
    this.incrementIterations();
  }

  /** Frees what the optimizer keeps. Its next step begins anew. */
  override dispose(): void {
    freeOptimizer(this);
  }
}
registerOwn(LoRASGD);

/**
 * Makes an Adam optimizer (arXiv 1412.6980) that computes what `tf.train.adam` computes, with the same slots and saved
 * state, for `model.compile` and custom loops. It updates a variable in one launch on wasm instead of fourteen, in
 * three on webgl, all small ones together on webgpu, and in one loop on cpu and, if small, on tensorflow.
 *
 * @param options the learning rate and other settings.
 * @returns an optimizer for `model.compile` and training loops.
 * @throws LoRAError `ERR_OPTION` if an option is no number in its range.
 * @example
 *     model.compile({optimizer: adam({learningRate: 1e-3}), loss: 'meanSquaredError'});
 */
export function adam(options: AdamOptions = {}): tf.Optimizer {
  checkOptions(options, ADAM, exampleOf('adam', options));
  return makeAdam(options, 0);
}

/**
 * Makes an Adam optimizer with decoupled weight decay (arXiv 1711.05101): before its step a weight `w` becomes
 * `(1 − learningRate · weightDecay) · w`. Biases, gains and magnitudes are left alone.
 *
 * In an update `A·B` the factors decay, and with them the update; the base never decays.
 *
 * @param options the learning rate and other settings.
 * @returns an optimizer for `model.compile` and training loops.
 * @throws LoRAError `ERR_OPTION` if an option is no number in its range.
 * @example
 *     model.compile({optimizer: adamW({learningRate: 1e-3}), loss: 'meanSquaredError'});
 */
export function adamW(options: AdamWOptions = {}): tf.Optimizer {
  checkOptions(options, {...ADAM, weightDecay: true}, exampleOf('adamW', options));
  const {weightDecay = 0.01, ...adamOptions} = options;
  checkNumber('weightDecay', weightDecay, weightDecay >= 0, 'a number that is not negative');
  return makeAdam(adamOptions, weightDecay);
}

const ADAM: KnownOptions<AdamOptions> = {learningRate: true, beta1: true, beta2: true, epsilon: true};

function makeAdam(
  {learningRate = 0.001, beta1 = 0.9, beta2 = 0.999, epsilon}: AdamOptions,
  weightDecay: number,
): LoRAAdam {
  checkNumber('learningRate', learningRate, learningRate >= 0, 'a number that is not negative');
  checkNumber('beta1', beta1, beta1 >= 0 && beta1 < 1, 'at least 0 and below 1');
  checkNumber('beta2', beta2, beta2 >= 0 && beta2 < 1, 'at least 0 and below 1');
  checkNumber('epsilon', epsilon ?? 0, (epsilon ?? 0) >= 0, 'a number that is not negative');
  return new LoRAAdam(learningRate, beta1, beta2, epsilon, weightDecay);
}

/**
 * Makes an optimizer for gradient descent, with or without momentum, that computes what `tf.train.sgd` and
 * `tf.train.momentum` compute, with the same slots and saved state. It updates a variable in one launch on wasm, all
 * small ones together on webgpu, and in one loop on cpu and, if small, on tensorflow.
 *
 * @param options the learning rate and other settings.
 * @returns an optimizer for `model.compile` and training loops.
 * @throws LoRAError `ERR_OPTION` if an option is no number in its range.
 * @example
 *     model.compile({optimizer: sgd({learningRate: 0.1}), loss: 'meanSquaredError'});
 */
export function sgd(options: SGDOptions = {}): tf.Optimizer {
  checkOptions(options, {learningRate: true, momentum: true, nesterov: true}, exampleOf('sgd', options));
  const {learningRate = 0.01, momentum = 0, nesterov = false} = options;
  checkNumber('learningRate', learningRate, learningRate >= 0, 'a number that is not negative');
  checkNumber('momentum', momentum, momentum >= 0 && momentum < 1, 'at least 0 and below 1');
  if (nesterov && momentum === 0) {
    throw new LoRAError(
      'nesterov: true needs a momentum above 0. Set momentum, for example to 0.9, or leave nesterov out.',
    );
  }
  return momentum === 0 ? new LoRASGD(learningRate) : new LoRAMomentum(learningRate, momentum, nesterov);
}

/** The variables that have a gradient, in tfjs's order, with the result of `detailsOf` for each. */
function updatesOf<Rest extends readonly [readonly tf.Variable[], object]>(
  gradients: Gradients,
  detailsOf: (value: tf.Variable, i: number) => Rest,
): (readonly [tf.Variable, tf.Tensor, ...Rest])[] {
  return namedGradients(gradients).flatMap(([name, gradient], i) => {
    const value = variableOf(name);
    const details = detailsOf(value, i);
    return gradient === null ? [] : [[value, gradient, ...details] as const];
  });
}

/** Calls `f` with each variable, in tfjs's order. */
function forEachVariable(gradients: Gradients, f: (value: tf.Variable, i: number) => unknown): void {
  namedGradients(gradients).forEach(([name], i) => f(variableOf(name), i));
}

/** The slot of variable number `i`, created with zeros if it is missing. */
export function slotOf(slots: Slot[], i: number, value: tf.Variable, name: string): tf.Variable {
  const slot = slots[i] ?? {
    originalName: `${value.name}/${name}`,
    variable: tf.tidy(() => tf.variable(tf.zerosLike(value), false)),
  };
  if (!tf.util.arraysEqual(slot.variable.shape, value.shape)) {
    throw misfitError(
      `The optimizer was used with a variable of shape [${slot.variable.shape.join(', ')}] where ${value.name} has ` +
        `[${value.shape.join(', ')}]. Call resetOptimizer(model), or make a new optimizer.`,
    );
  }
  slots[i] = slot;
  ownSlot(slot, value.name);
  return slot.variable;
}

function exampleOf(name: string, options: unknown): string {
  return `${name}({learningRate: ${typeof options === 'number' ? options : 1e-3}})`;
}
