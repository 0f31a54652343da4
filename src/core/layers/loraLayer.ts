import * as tf from '@tensorflow/tfjs';
import {notReadyError, unsupportedError} from '../../platform/errors';
import {initializerEntry, isPrincipal} from '../methods/initializer';
import type {Method} from '../methods/method';
import {scalingOf, withRank} from '../methods/lora';
import {namedIn} from '../methods/registry';
import {builtLayer, type LayerEntry, withoutConstraints} from '../../platform/tfjs/configs';
import {biasesOf, namedWeights, replaceValue, shareWeights} from '../../platform/tfjs/weights';
import {type Adaptation, checkRank, classInAdapters, rankLimit} from './adaptation';
import type {LayerConfig} from './layerConfig';
import {diagnose} from './diagnostics';
import {type Forward, onlyTensor} from './forward';
import {LayerUpdate, type LowRankPart, type UpdatePart} from './layerUpdate';
import {
  type LoadReport,
  loadNamedWeights,
  matchNames,
  type NameMapping,
  setNamedWeight,
  type WeightsReport,
} from './namedWeights';
import {type LoRALayerArgs, resolveArgs} from './layerArgs';
import {WRAPPER_KIND, wrapperKind} from './layerMarks';
import {type CallArgs, WrapperLayer} from './wrapperLayer';

/**
 * A frozen layer and a trainable low-rank update of its kernel, or of each of its kernels:
 *
 *     y = f(op(x, W + s·A·B) + b),    s = alpha / rank
 *
 * `A`, `[...fan-in axes, rank]`, starts random and `B`, `[rank, out]`, at zero, so that a new layer computes exactly
 * what its base computes. The update comes before the activation, so a merge is exact. (Hu et al., "LoRA", arXiv
 * 2106.09685, §4; initialisation as in PEFT.)
 *
 * A layer with several kernels has one rank and one strength; a kernel that is too small for the rank has an update of
 * the highest rank that it can hold.
 */
export abstract class LoRALayer extends WrapperLayer {
  override readonly [WRAPPER_KIND] = 'lora' as const;

  /** The update and its variables. @internal */
  readonly update: LayerUpdate;
  /** What is adapted, and how. @internal */
  readonly adaptation: Adaptation;
  private readonly isDefaultRank: boolean;
  private batchShape!: tf.Shape | tf.Shape[];
  /** Why the layer could not be built. */
  private refusal: Error | undefined;

  /**
   * @throws LoRAError `ERR_OPTION` with a line for each option that does not exist or is out of range, `ERR_MISFIT` if
   *     the layer is of another class than this one adapts, `ERR_UNSUPPORTED` if it is one that cannot be adapted.
   */
  constructor(
    args: LoRALayerArgs,
    /** What is adapted, and how. Default: as the class says. @internal */
    adaptation: Adaptation = (new.target as unknown as {adaptation: Adaptation}).adaptation,
  ) {
    const {method, strength, isDefaultRank, dropout, start, freezeBaseLayer} = resolveArgs(args, adaptation);
    super(args, !freezeBaseLayer ? 'everything' : args.trainBias === true ? 'biases' : 'nothing');
    this.update = new LayerUpdate(this, method, strength, start, dropout, (name, {shape, initializer, trains}) =>
      this.addWeight(name, shape, 'float32', initializer, undefined, trains),
    );
    this.adaptation = adaptation;
    this.isDefaultRank = isDefaultRank;
    if (args.layer.built) {
      this.resolveRank(args.layer);
    }
  }

  /**
   * Whether no weight of the base trains, other than a bias by `trainBias`. It says what is: also after
   * `layer.baseLayer.trainable = true`. Before the layer is built, it says what `freezeBaseLayer` chose.
   */
  get isBaseLayerFrozen(): boolean {
    const biases = this.baseTraining === 'biases' ? new Set(this.trainedWeights().values()) : undefined;
    return this.built
      ? this.baseLayer.weights.every(weight => !weight.trainable || biases?.has(weight))
      : this.freezesBase;
  }

  /** Whether the options keep the base frozen. */
  private get freezesBase(): boolean {
    return this.baseTraining !== 'everything';
  }

  /** Lowers the default rank to what the weights of a built layer can use, at the same scaling; checks any other. */
  private resolveRank(layer: tf.layers.Layer): void {
    const {update, adaptation} = this;
    const weights = adaptation.weights(layer);
    if (this.isDefaultRank) {
      const limit = rankLimit(update.method, weights);
      update.strength = limit < this.rank ? withRank(update.strength, limit) : update.strength;
    } else {
      checkRank(this.name, update.method, weights, this.rank);
    }
  }

  /** Width of the update. A default rank is known when the layer is built; before, it is 8. */
  get rank(): number {
    return this.update.strength.rank;
  }

  /** The greatest rank that the layer can use. */
  get rankLimit(): number {
    return rankLimit(this.update.method, this.adaptation.weights(this.baseLayer));
  }

  /** The method of the update. `layerConfig` has its name. @internal */
  get method(): Method {
    return this.update.method;
  }

  /** Strength of the update. */
  get alpha(): number {
    return this.update.strength.alpha;
  }

  /** Whether the update is scaled by `alpha / √rank`. */
  get rankStabilized(): boolean {
    return this.update.strength.rankStabilized;
  }

  /** The factor `s` of the update: `alpha / rank`, or `alpha / √rank` with rank stabilisation. */
  get scaling(): number {
    return scalingOf(this.update.strength);
  }

  /**
   * The low-rank part: the factors, and their product in the kernel's shape. In a layer with several kernels, that of
   * the first.
   *
   * @throws LoRAError if the layer is not built, or its method has no low-rank factors.
   */
  get loraLayer(): LowRankPart {
    this.checkBuilt();
    const [first] = this.lowRankParts;
    if (first === undefined) {
      throw unsupportedError(
        `Layer "${this.name}" has an update of the method "${this.method.name}", which is not a product A·B. ` +
          'See its updateParts.',
      );
    }
    return first;
  }

  /** The low-rank parts, one for each weight that is updated; none if the method has no low-rank factors. */
  get lowRankParts(): LowRankPart[] {
    return this.updateParts.filter((update): update is LowRankPart => 'A' in update);
  }

  /** The updates of the layer, one for each weight that is updated. */
  get updateParts(): UpdatePart[] {
    return this.update.parts();
  }

  /** The dropout of the update. Its masks follow from `seed` and `step`: set both again to resume training. */
  get dropout(): {rate: number; seed: number; step: number} {
    return this.update.dropout;
  }

  /** How this layer updates its base, in an adapter's config. */
  get layerConfig(): LayerConfig {
    return {
      className: classInAdapters(this.baseLayer.getClassName()),
      ...namedIn(this.update.method),
      ...this.update.strength,
      ...this.update.dropout.config,
      freezeBaseLayer: this.freezesBase,
      ...(this.baseTraining === 'biases' && this.trainedWeights().size > 0 && {trainBias: true}),
    };
  }

  /** @throws LoRAError if the rank exceeds what the kernels can hold. */
  override build(inputShape: tf.Shape | tf.Shape[]): void {
    if (this.refusal !== undefined) {
      throw this.refusal; // the base has lost its weights, and tfjs builds no layer twice
    }
    this.batchShape = inputShape;
    super.build(inputShape);
    try {
      this.resolveRank(this.baseLayer);
      this.update.build();
    } catch (error) {
      this.weights.forEach(weight => weight.dispose());
      this.built = false;
      this.refusal = error as Error;
      throw error;
    }
  }

  /**
   * Replaces the update by another one, even of another rank or method. The layer's variables stay, because a compiled
   * model holds them, and share the buffers of the given values. Another method has separate variables: until the model
   * is compiled again, it refuses to train.
   *
   * @param valueOf gives the parameters, by their names among the layer's weights.
   * @internal
   */
  setUpdate(config: LayerConfig, valueOf: (name: string) => tf.Tensor | undefined): void {
    this.update.set(config, valueOf);
  }

  /** Disables the update: the layer computes what its base computes. @internal */
  clearUpdate(): void {
    this.update.clear();
  }

  /** @internal */
  override disposePrepared(): void {
    super.disposePrepared();
    this.update.disposePrepared();
  }

  /** @internal */
  override setFastWeightInitDuringBuild(value: boolean): void {
    super.setFastWeightInitDuringBuild(value);
    this.update.isAboutToBeLoaded = value;
  }

  /** @internal */
  override adapterWeights(): Map<string, tf.LayerVariable> {
    return new Map([...this.update.variables(), ...this.trainedWeights()]);
  }

  /**
   * A new stock layer with the update baked in, `W' = W + s·A·B`: as fast as the original, and independent of this
   * library. It has no constraints, which the sum may not fulfil. This layer is not changed.
   *
   * @throws LoRAError if the layer is not built.
   */
  mergeToOriginalLayer(): tf.layers.Layer {
    this.checkBuilt();
    const merged = builtLayer(this.mergedEntry(), this.batchShape);
    this.mergeInto(merged);
    return merged;
  }

  /** The class and config of the merged layer. @internal */
  mergedEntry(): LayerEntry {
    return withoutConstraints(this.baseEntry());
  }

  /** Gives `layer`, a built layer like the base, the base's weights with the update baked in. @internal */
  mergeInto(layer: tf.layers.Layer): void {
    shareWeights(this.baseLayer, layer);
    tf.tidy(() => {
      const merged = this.update.mergedKernels();
      this.adaptation.weights(layer).forEach(({variable}, i) => {
        replaceValue(variable, merged[i] as tf.Tensor);
      });
      biasesOf(layer).forEach(bias => replaceValue(bias, this.update.mergedBias(bias.read())));
    });
  }

  /**
   * A description of the update, as text: `method`, `rank`, `alpha`, `scaling`, `frozen`, `trainableParameters`,
   * `totalParameters`, `trainableRatio`, `deltaNorm` (Frobenius) and `deltaToKernelRatio`, its ratio to the norm of the
   * kernel.
   *
   * @throws LoRAError if the layer is not built.
   */
  async getDiagnostics(): Promise<Record<string, string>> {
    this.checkBuilt();
    return diagnose(this);
  }

  override getConfig(): tf.serialization.ConfigDict {
    const {initializer, seed} = this.update.start;
    const {rank, ...strength} = this.update.strength;
    const isOpen = this.isDefaultRank && !this.built;
    return {
      ...super.getConfig(),
      ...namedIn(this.update.method),
      ...(!isOpen && {rank}),
      ...strength,
      ...this.update.dropout.config,
      freezeBaseLayer: this.freezesBase,
      ...(this.baseTraining === 'biases' && {trainBias: true}),
      ...(initializer !== undefined && {initializer: initializerEntry(initializer)}),
      ...(seed !== undefined && {seed}),
    };
  }

  /** Makes a layer from what `getConfig` gave. Files name by `method` and `initializer` what options call `init`. */
  static override fromConfig<T extends tf.serialization.Serializable>(
    cls: tf.serialization.SerializableConstructor<T>,
    {initializer, ...config}: tf.serialization.ConfigDict,
  ): T {
    const {method, ...layerConfig} = config;
    const ofInitializer = () => ({...config, ...(initializer !== undefined && {init: initializer})});
    return super.fromConfig(cls, isPrincipal(method) ? {...layerConfig, init: method} : ofInitializer());
  }

  protected override compute(inputs: tf.Tensor | tf.Tensor[], kwargs: CallArgs): tf.Tensor | tf.Tensor[] {
    const [update = {}] = this.update.forOperations(kwargs.training === true);
    const forward = this.adaptation.forward as Forward;
    return forward(this.baseLayer, onlyTensor(inputs), {update, prepared: this.prepared, kwargs});
  }

  /** The names of all weights. */
  getParameterNames(): string[] {
    return [...this.parameters().keys()];
  }

  /** How many weights have a name. */
  get namedParameterCount(): number {
    return this.parameters().size;
  }

  /** A weight by its name, or `undefined`. The tensor belongs to the layer: do not dispose it. */
  tryGetParameter(name: string): tf.Tensor | undefined {
    return this.parameters().get(name)?.read();
  }

  /** The shape of a weight, or `undefined` if no weight has that name. */
  getParameterShape(name: string): number[] | undefined {
    return this.tryGetParameter(name)?.shape.slice();
  }

  /**
   * Sets a weight.
   *
   * @throws LoRAError if no weight has that name, or its shape or type differs.
   */
  setParameter(name: string, value: tf.Tensor): void {
    setNamedWeight(this.name, this.parameters(), name, value);
  }

  /** Compares names with those of the weights, each first passed through `mapping`, which gives `null` to skip one. */
  validateWeights(names: readonly string[], mapping?: NameMapping | null): WeightsReport {
    const {matched, unmatched, missing} = matchNames(names, this.parameters(), mapping);
    return {matched, unmatched, missing};
  }

  /**
   * Sets weights by name. Names first pass through `mapping`; one that it maps to `null` is skipped.
   *
   * @param strict Throw, and change nothing, unless the weights are exactly those of the layer. Without it, what fits
   * is set.
   * @returns what matched, what is no weight of the layer, what is missing, and what has another shape or type.
   * @throws LoRAError if strict, with a line for each misfit.
   */
  loadWeights(weights: Readonly<Record<string, tf.Tensor>>, mapping?: NameMapping | null, strict = true): LoadReport {
    return loadNamedWeights(`layer "${this.name}"`, this.parameters(), weights, {mapping, strict});
  }

  private parameters(): Map<string, tf.LayerVariable> {
    return new Map([...namedWeights(this.baseLayer), ...this.update.variables()]);
  }

  private checkBuilt(): void {
    if (!this.built) {
      throw notReadyError(`Layer "${this.name}" is not built. Call it on an input, or make a model with it, first.`);
    }
  }
}

/**
 * Tells whether a layer is a LoRA layer, also one of another copy of this library: `require` makes one beside `import`.
 *
 * @param layer any layer.
 * @returns whether it has an update. In TypeScript, the layer then has the type `LoRALayer`.
 * @example
 *     const [first] = model.layers;
 *     if (isLoRALayer(first)) console.log(first.rank);
 */
export function isLoRALayer(layer: tf.layers.Layer): layer is LoRALayer {
  return wrapperKind(layer) === 'lora';
}
