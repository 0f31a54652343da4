import * as tf from '@tensorflow/tfjs';
import {pendingKernels} from '../../backends/shared/capabilities';
import {Prepared} from '../../platform/tfjs/prepared';
import {
  differingFields,
  cloneConfig,
  entryOf,
  innerEntry,
  isRegistered,
  type LayerEntry,
  layerFromEntry,
  standInArgs,
} from '../../platform/tfjs/configs';
import {fieldsOf} from '../../platform/tfjs/fields';
import type {LayerInternals} from '../../platform/tfjs/layerFields';
import {disposeStates, type Inputs, takesStates, withStatesAsInputs} from '../../platform/tfjs/inputs';
import {
  biasesOf,
  liftConstraints,
  namedWeights,
  replaceValue,
  shareWeights,
  withoutWrites,
} from '../../platform/tfjs/weights';
import type {BorrowingLayer} from './borrowingLayer';
import {type CallArgs, checkedArgs, type WrapperArgs} from './layerArgs';
import {checkStep, WRAPPER_KIND, type WrapperKind, wrapperKind} from './layerMarks';

export type {CallArgs, WrapperArgs};

/** Which of its base's weights a wrapper trains. */
export type BaseTraining = 'nothing' | 'biases' | 'everything';

/** Prefix of the weights that keep the original values of trainable ones. */
export const ORIGINAL = 'original_';

/** Layers that wrappers have as their bases, without a copy. */
const adopted = new WeakSet<tf.layers.Layer>();

/** Layers that were made for the wrapper that is constructed next. */
const handedOver = new WeakSet<tf.layers.Layer>();

/**
 * A layer around another, its base, with the base's name, shapes and weight names, so that summaries and checkpoints
 * read as before. Subclasses say whether the base trains and what is computed.
 */
export abstract class WrapperLayer extends tf.layers.Layer {
  /** The layer that is wrapped. */
  readonly baseLayer: tf.layers.Layer;
  /** What the wrapper does with its base. @internal */
  abstract readonly [WRAPPER_KIND]: WrapperKind;

  /** The record of an adapted model's original, if this layer carries it. @internal */
  readonly record: string | undefined;
  /** Values kept from one call to the next. */
  protected readonly prepared = new Prepared();
  private readonly baseTrainable: boolean;
  private readonly keepOriginal: boolean;
  private readonly originals: [original: tf.LayerVariable, weight: tf.LayerVariable][] = [];
  private readonly sharesWith: tf.layers.Layer | null;

  protected constructor(
    args: WrapperArgs,
    /** Which of the base's weights train. */
    protected readonly baseTraining: BaseTraining,
  ) {
    const {layer, name, trainable, baseTrainable, keepOriginal, record} = checkedArgs(args);
    super(standInArgs(layer, name, trainable));
    this.baseLayer = handedOver.delete(layer) ? layer : cloned(layer);
    adopted.add(this.baseLayer);
    this.sharesWith = layer.built && this.baseLayer !== layer ? layer : null;
    this.baseTrainable = baseTrainable ?? layer.trainable;
    this.keepOriginal = keepOriginal ?? false;
    this.record = record === undefined ? undefined : String((record as Partial<typeof record> | null)?.name);
    this.baseLayer.trainable = baseTraining !== 'nothing';
    this.supportsMasking = this.baseLayer.supportsMasking;
    this.inputSpec = layer.inputSpec; // tfjs refuses inputs by it before it builds
  }

  override build(inputShape: tf.Shape | tf.Shape[]): void {
    this.baseLayer.build(inputShape);
    this.baseLayer.built = true;
    if (this.sharesWith !== null) {
      shareWeights(this.sharesWith, this.baseLayer);
    }
    const {initialWeights} = fieldsOf<LayerInternals>(this.baseLayer);
    if (initialWeights !== null) {
      this.baseLayer.setWeights(initialWeights);
    }
    liftConstraints(this.baseLayer);
    const trained = this.trainedWeights();
    if (this.baseTraining !== 'everything') {
      const fixed = new Set(this.baseLayer.weights);
      trained.forEach(weight => fixed.delete(weight));
      // Layers made with `trainable: false` do not say so to their variables, and a custom training loop reads those.
      fixed.forEach(weight => (weight.trainable = false));
    }
    this._trainableWeights.push(...this.baseLayer.trainableWeights);
    for (const [local, weight] of this.keepOriginal ? trained : []) {
      const zeros = tf.initializers.zeros();
      const original = this.addWeight(ORIGINAL + local, weight.shape, weight.dtype, zeros, undefined, false);
      this.originals.push([original.write(weight.read()), weight]);
    }
    this.inputSpec = this.baseLayer.inputSpec;
    this.built = true;
  }

  override apply(inputs: Inputs, kwargs?: CallArgs | null): Inputs {
    (this.baseLayer as Partial<BorrowingLayer>).borrow?.(inputs);
    return super.apply(...withStatesAsInputs(inputs, kwargs ?? {}));
  }

  /** Initial states are left to the base, as in stock recurrent layers. */
  protected override assertInputCompatibility(inputs: Inputs): void {
    const [first] = [inputs].flat() as [tf.Tensor];
    super.assertInputCompatibility(takesStates(this.baseLayer) ? first : inputs);
  }

  override call(inputs: tf.Tensor | tf.Tensor[], callArgs?: CallArgs | null): tf.Tensor | tf.Tensor[] {
    const kwargs = callArgs ?? {};
    return tf.tidy(() => {
      this.invokeCallHook(inputs, kwargs);
      checkStep(this, kwargs.training);
      pendingKernels.current()?.refuseStep();
      return this.compute(inputs, kwargs);
    });
  }

  protected abstract compute(inputs: tf.Tensor | tf.Tensor[], kwargs: CallArgs): tf.Tensor | tf.Tensor[];

  /**
   * What the base itself computes. What it writes to its weights in training, such as statistics, counts only if it
   * trains in full; what a stateful layer writes is its state.
   */
  protected computeBase(inputs: tf.Tensor | tf.Tensor[], kwargs: CallArgs): tf.Tensor | tf.Tensor[] {
    // A stock recurrent layer writes its initial state into the arguments, which tfjs hands on in training.
    const base = () => this.baseLayer.apply(inputs, {...kwargs}) as tf.Tensor | tf.Tensor[];
    const learns = this.baseTraining === 'everything' || this.stateful;
    return kwargs.training === true && !learns ? withoutWrites(this.baseLayer.weights, base) : base();
  }

  override computeOutputShape(inputShape: tf.Shape | tf.Shape[]): tf.Shape | tf.Shape[] {
    return this.baseLayer.computeOutputShape(inputShape);
  }

  override computeMask(inputs: tf.Tensor | tf.Tensor[], mask?: tf.Tensor | tf.Tensor[]): tf.Tensor | tf.Tensor[] {
    return this.baseLayer.computeMask(inputs, mask);
  }

  /** Some layers take inputs with more axes than they were made for. */
  protected override warnOnIncompatibleInputShape(inputShape: tf.Shape): void {
    fieldsOf<LayerInternals>(this.baseLayer).warnOnIncompatibleInputShape(inputShape);
  }

  // This layer's own list holds the base's trainable weights: there `layer.trainable` and `model.trainable` reach them,
  // even during training, and none of the frozen ones.

  override get trainableWeights(): tf.LayerVariable[] {
    return this.trainable ? [...this.withoutBase(super.trainableWeights), ...this.baseLayer.trainableWeights] : [];
  }

  override set trainableWeights(weights: tf.LayerVariable[]) {
    super.trainableWeights = weights;
  }

  override get nonTrainableWeights(): tf.LayerVariable[] {
    const ofBase = this.trainable ? this.baseLayer.nonTrainableWeights : this.baseLayer.weights;
    return [...this.withoutBase(super.nonTrainableWeights), ...ofBase];
  }

  override set nonTrainableWeights(weights: tf.LayerVariable[]) {
    super.nonTrainableWeights = weights;
  }

  private withoutBase(weights: readonly tf.LayerVariable[]): tf.LayerVariable[] {
    const ofBase = new Set(this.baseLayer.weights);
    return weights.filter(weight => !ofBase.has(weight));
  }

  /** The base's regularization, where the base trains in full. */
  override get losses(): tf.layers.Layer['losses'] {
    return this.baseTraining === 'everything' ? this.baseLayer.losses : [];
  }

  override get stateful(): boolean {
    return this.baseLayer.stateful;
  }

  /** Resets to zeros or, like stock recurrent layers, to the given states. */
  override resetStates(states?: tf.Tensor | tf.Tensor[]): void {
    fieldsOf<LayerInternals>(this.baseLayer).resetStates(states);
  }

  /** Frees what the layer keeps besides its weights. It can still be used. @internal */
  disposePrepared(): void {
    this.prepared.dispose();
  }

  protected override disposeWeights(): number {
    this.disposePrepared();
    disposeStates(this.baseLayer);
    return super.disposeWeights();
  }

  /**
   * Zeros would do for the base, whose weights are loaded next, but factors that are all zero would never train.
   *
   * @internal
   */
  override setFastWeightInitDuringBuild(value: boolean): void {
    this.baseLayer.setFastWeightInitDuringBuild(value);
  }

  /** The base's weights that may change from their original values, by name. @internal */
  trainedWeights(): Map<string, tf.LayerVariable> {
    const weightsOf = {nothing: () => new Map<string, never>(), biases: biasesOf, everything: namedWeights};
    return weightsOf[this.baseTraining](this.baseLayer);
  }

  /** The weights that belong to an adapter, by their names in it. @internal */
  abstract adapterWeights(): Map<string, tf.LayerVariable>;

  /** The base as it was before it was wrapped: class, config and `trainable` flag. @internal */
  baseEntry(): LayerEntry {
    const {className, config} = entryOf(this.baseLayer);
    return {className, config: {...config, trainable: this.baseTrainable}};
  }

  /** Gives `layer`, a layer like the base, the base's values from before training. @internal */
  shareOriginal(layer: tf.layers.Layer): void {
    shareWeights(this.baseLayer, layer);
    const targets = [...namedWeights(layer).values()];
    [...this.originalWeights().values()].forEach((original, i) => {
      replaceValue(targets[i] as tf.LayerVariable, original.read());
    });
  }

  /** The variables that hold the base's values from before training, under the names of its weights. @internal */
  originalWeights(): Map<string, tf.LayerVariable> {
    const originals = new Map(this.originals.map(([original, weight]) => [weight, original]));
    return new Map([...namedWeights(this.baseLayer)].map(([name, weight]) => [name, originals.get(weight) ?? weight]));
  }

  /** Gives the base its values from before training. @internal */
  restoreOriginal(): void {
    this.originals.forEach(([original, weight]) => replaceValue(weight, original.read()));
  }

  /** Makes the base's current values its original ones. @internal */
  markOriginal(): void {
    this.originals.forEach(([original, weight]) => original.write(weight.read()));
  }

  override getConfig(): tf.serialization.ConfigDict {
    return {
      ...super.getConfig(),
      layer: {...this.baseEntry()},
      ...(this.keepOriginal && {keepOriginal: true}),
      ...(this.record !== undefined && {record: {name: this.record}}),
    };
  }

  /** Makes a layer from what `getConfig` gave. */
  static override fromConfig<T extends tf.serialization.Serializable>(
    cls: tf.serialization.SerializableConstructor<T>,
    config: tf.serialization.ConfigDict,
  ): T {
    // tfjs writes the first two, of which the base has its own, and adds the last when it reads a file.
    const {layer, dtype: _dtype, batchInputShape: _shape, customObjects: _objects, ...baseConfig} = cloneConfig(config);
    const base = layerFromEntry(innerEntry(layer, baseConfig.name));
    handedOver.add(base);
    return new cls({...baseConfig, layer: base});
  }
}

/**
 * A copy of a layer for a wrapper to own, so that the caller's layer stays as it is. A layer that is not built and that
 * its class cannot copy, because the class is not registered or its config leaves out settings, is taken over instead.
 *
 * @throws LoRAError if the layer cannot be copied, and is built, in use, or taken over already.
 */
function cloned(layer: tf.layers.Layer): tf.layers.Layer {
  const isInUse = layer.built || layer.inboundNodes.length > 0 || adopted.has(layer);
  if (!isInUse && !isRegistered(layer.getClassName())) {
    return layer;
  }
  const copy = layerFromEntry(entryOf(layer));
  if (!isInUse && differingFields(layer, copy).length > 0) {
    return layer;
  }
  fieldsOf<LayerInternals>(copy).initialWeights = fieldsOf<LayerInternals>(layer).initialWeights;
  return copy;
}

/** Whether `layer` is one of this library's. */
export function isWrapper(layer: tf.layers.Layer): layer is WrapperLayer {
  return wrapperKind(layer) !== undefined;
}
