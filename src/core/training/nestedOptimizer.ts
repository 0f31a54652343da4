import * as tf from '@tensorflow/tfjs';
import {kindOf, LoRAError, show} from '../../platform/errors';
import {type ChangeableOptimizer, type Gradients, type StepChanges} from './stepChanges';
import {watchCompile} from '../../platform/tfjs/compiled';
import {isRegistered} from '../../platform/tfjs/configs';
import {freeOptimizer} from '../../platform/tfjs/slots';
import {learningRateOf, setLearningRate} from './learningRate';

watchCompile();

/**
 * An optimizer around another one, whose step it changes. The inner one has the learning rate, the slots and the saved
 * state; `compile`, `model.save({includeOptimizer: true})`, schedules and `resetOptimizer` use it directly.
 */
export abstract class NestedOptimizer extends tf.Optimizer implements ChangeableOptimizer {
  /** @throws LoRAError if the inner one is no optimizer. */
  constructor(readonly inner: tf.Optimizer) {
    super();
    checkOptimizer(inner);
  }

  /** A step that outer optimizers have already changed. */
  abstract applyChanged(gradients: Gradients, changes: StepChanges): void;

  /** The fields of the config besides the inner optimizer, in the order of the constructor's arguments. */
  protected abstract options(): tf.serialization.ConfigDict;

  override applyGradients(gradients: Gradients): void {
    this.applyChanged(gradients, {});
  }

  get learningRate(): number {
    return learningRateOf(this.inner);
  }

  set learningRate(rate: number) {
    setLearningRate(this.inner, rate);
  }

  override get iterations(): number {
    return this.inner.iterations;
  }

  /** Frees what the optimizer and those inside it keep. The next step begins anew. */
  override dispose(): void {
    freeOptimizer(this);
    this.inner.dispose();
  }

  override getWeights(): ReturnType<tf.Optimizer['getWeights']> {
    return this.inner.getWeights();
  }

  override setWeights(weights: Parameters<tf.Optimizer['setWeights']>[0]): Promise<void> {
    return this.inner.setWeights(weights);
  }

  override getConfig(): tf.serialization.ConfigDict {
    const {inner} = this;
    return {...this.options(), optimizer: {className: inner.getClassName(), config: inner.getConfig()}};
  }

  static override fromConfig<T extends tf.serialization.Serializable>(
    cls: tf.serialization.SerializableConstructor<T>,
    {optimizer, ...options}: tf.serialization.ConfigDict,
  ): T {
    return new cls(optimizerFrom(optimizer), ...Object.values(options));
  }
}

/** @throws LoRAError if it is no optimizer. */
export function checkOptimizer(optimizer: unknown): asserts optimizer is tf.Optimizer {
  // tfjs's own `instanceof` looks for the methods, and fails on null.
  if (typeof optimizer !== 'object' || optimizer === null || !(optimizer instanceof tf.Optimizer)) {
    const got = typeof optimizer === 'string' ? show(optimizer) : kindOf(optimizer);
    throw new LoRAError(`The optimizer must be a tf.Optimizer, such as adam() or tf.train.sgd(0.1), got ${got}.`);
  }
}

/**
 * The optimizer of a config, which may come from a file.
 *
 * @throws LoRAError if no class of that name is registered, or it is no class of optimizers.
 */
export function optimizerFrom(entry: unknown): tf.Optimizer {
  const {className, config} = (entry ?? {}) as Partial<Record<string, unknown>>;
  const registered =
    typeof className === 'string' && isRegistered(className)
      ? tf.serialization.SerializationMap.getMap().classNameMap[className]
      : undefined;
  const [optimizerClass, fromConfig] = registered ?? [];
  if (
    typeof config !== 'object' ||
    config === null ||
    optimizerClass === undefined ||
    fromConfig === undefined ||
    typeof (optimizerClass as {prototype?: Partial<tf.Optimizer>}).prototype?.applyGradients !== 'function'
  ) {
    throw new LoRAError(
      `Expected the config of an optimizer, {className, config} of a registered class, got ${show(entry)}.`,
    );
  }
  return fromConfig(optimizerClass, config as tf.serialization.ConfigDict) as unknown as tf.Optimizer;
}
