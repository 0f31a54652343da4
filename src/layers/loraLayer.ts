import * as tf from '@tensorflow/tfjs';
import {type Initializer, type LayerConfig, type LoRAStrength, resolveStrength, scalingOf} from '../config';
import {LoRAError} from '../errors';
import {delta, factorShapes, type Factors, fans, updatedKernel} from '../ops/factors';
import {diagnose} from './diagnostics';
import type {ForwardCall} from './forward';
import {initializerEntry, initializerOfA} from './initializer';
import {type LoadReport, loadNamedWeights, matchNames, type NameMapping, type WeightsReport} from './namedWeights';
import {
  fieldsOf,
  type KernelLayer,
  layerFromEntry,
  type LayerInternals,
  namedWeights,
  replaceValue,
  shareWeights,
  showShape,
} from './stock';
import {type CallArgs, onlyShape, onlyTensor, type WrapperArgs, WRAPPER_KIND, WrapperLayer} from './wrapperLayer';

/** Arguments of every LoRA layer. */
export interface LoRALayerArgs extends WrapperArgs, LoRAStrength {
  /** Keep the layer's own weights fixed. If false, they train along with the factors. Default: true. */
  freezeBaseLayer?: boolean;
  /** What `A` starts from, as for `tf.layers`. Default: U(−1/√fan-in, 1/√fan-in), as in PEFT. */
  initializer?: Initializer;
  /** Makes the start of `A` reproducible. */
  seed?: number;
}

/** The low-rank part of a LoRA layer. Its tensors belong to the layer: do not dispose them. */
export interface LowRankPart {
  /** `[...fan-in axes, rank]`. */
  readonly A: tf.Tensor;
  /** `[rank, out]`. */
  readonly B: tf.Tensor;
  /** The update `s·A·B`, a new tensor in the shape of the kernel. */
  readonly delta: () => tf.Tensor;
}

/**
 * A frozen layer and a trainable low-rank update of its kernel:
 *
 *     y = f(op(x, W + s·A·B) + b),    s = alpha / rank
 *
 * `A`, `[...fan-in axes, rank]`, starts random and `B`, `[rank, out]`, at zero, so that a new layer computes exactly what its base
 * computes. The update stands before the activation, which is what makes a merge exact. (Hu et al., "LoRA", arXiv 2106.09685, §4;
 * initialisation as in PEFT.)
 */
export abstract class LoRALayer extends WrapperLayer {
  override readonly [WRAPPER_KIND] = 'lora' as const;
  /** Whether the base's own weights stay fixed. */
  readonly isBaseLayerFrozen: boolean;

  private strength: Required<LoRAStrength>;
  private readonly initializer: Initializer | undefined;
  private readonly seed: number | undefined;
  private loraA!: tf.LayerVariable;
  private loraB!: tf.LayerVariable;
  private batchShape!: tf.Shape;

  /**
   * @throws LoRAError if the layer is of another class than this one adapts, or a number is out of range.
   */
  protected constructor(args: LoRALayerArgs, baseClassName: string) {
    checkBase(args.layer, baseClassName);
    const strength = resolveStrength(args);
    const freezeBaseLayer = args.freezeBaseLayer ?? true;
    super(args, !freezeBaseLayer);
    this.strength = strength;
    this.isBaseLayerFrozen = freezeBaseLayer;
    this.initializer = args.initializer;
    this.seed = args.seed;
    if (args.layer.built) {
      this.checkRank(fieldsOf<KernelLayer>(args.layer).kernel.shape as number[]);
    }
  }

  /** The shape that the base's kernel has for an input, `[...fan-in axes, out]`. */
  protected abstract kernelShape(inputShape: tf.Shape): number[];

  /** What the base computes with the update of its kernel. */
  protected abstract forward(x: tf.Tensor, call: ForwardCall): tf.Tensor;

  /** Width of the update. */
  get rank(): number {
    return this.strength.rank;
  }

  /** Strength of the update. */
  get alpha(): number {
    return this.strength.alpha;
  }

  /** Whether the update is scaled by `alpha / √rank`. */
  get rankStabilized(): boolean {
    return this.strength.rankStabilized;
  }

  /** The factor `s` of the update: `alpha / rank`, or `alpha / √rank` with rank stabilisation. */
  get scaling(): number {
    return scalingOf(this.strength);
  }

  /** The low-rank part: the factors, and their product in the kernel's shape. */
  get loraLayer(): LowRankPart {
    const factors = this.factors();
    return {A: factors.a, B: factors.b, delta: () => delta(factors)};
  }

  /** How this layer updates its base, as an adapter records it. */
  get layerConfig(): LayerConfig {
    return {
      className: this.baseLayer.getClassName(),
      ...this.strength,
      freezeBaseLayer: this.isBaseLayerFrozen,
    };
  }

  /** @throws LoRAError if the rank exceeds what the kernel can hold. */
  override build(inputShape: tf.Shape | tf.Shape[]): void {
    this.batchShape = onlyShape(inputShape);
    const kernelShape = this.kernelShape(this.batchShape);
    this.checkRank(kernelShape);
    super.build(inputShape);
    const shapes = factorShapes(kernelShape, this.rank);
    const start = initializerOfA(this.initializer, fans(kernelShape).fanIn, this.seed);
    this.loraA = this.addWeight('lora_A', shapes.a, 'float32', start, undefined, true);
    this.loraB = this.addWeight('lora_B', shapes.b, 'float32', tf.initializers.zeros(), undefined, true);
  }

  protected override compute(inputs: tf.Tensor | tf.Tensor[], kwargs: CallArgs): tf.Tensor {
    return this.forward(onlyTensor(inputs), {factors: this.factors(), prepared: this.prepared, kwargs});
  }

  /**
   * Replaces the update by another, of another rank too. The layer's variables stay, since a compiled model holds them, and share the
   * buffers of the given factors.
   */
  setUpdate(strength: Required<LoRAStrength>, a: tf.Tensor, b: tf.Tensor): void {
    replaceValue(this.loraA, a);
    replaceValue(this.loraB, b);
    this.strength = strength;
  }

  /** Takes the update out of force: `B` becomes zero, and the layer computes what its base computes. */
  clearUpdate(): void {
    tf.tidy(() => {
      this.loraB.write(tf.zerosLike(this.loraB.read()));
    });
  }

  override adapterWeights(): Map<string, tf.LayerVariable> {
    const factors = new Map([
      ['lora_A', this.loraA],
      ['lora_B', this.loraB],
    ]);
    return this.isBaseLayerFrozen ? factors : new Map([...factors, ...namedWeights(this.baseLayer)]);
  }

  /**
   * A new stock layer with the update baked in, `W' = W + s·A·B`: as fast as the original, and in need of nothing of this library. This
   * layer is not changed.
   */
  mergeToOriginalLayer(): tf.layers.Layer {
    const {className, config} = this.baseEntry();
    const merged = layerFromEntry({className, config});
    // Applying it to a symbolic input builds it under its own name; the node that this leaves would make `merged.output` ambiguous.
    merged.apply(tf.input({batchShape: this.batchShape}));
    merged.inboundNodes.length = 0;
    fieldsOf<LayerInternals>(merged)._refCount = null;
    this.mergeInto(merged);
    return merged;
  }

  /** Gives `layer`, a built layer like the base, the base's weights with the update baked in. */
  mergeInto(layer: tf.layers.Layer): void {
    shareWeights(this.baseLayer, layer);
    const {kernel} = fieldsOf<KernelLayer>(layer);
    tf.tidy(() => {
      kernel.write(updatedKernel(kernel.read(), this.factors()));
    });
  }

  /**
   * What there is to know about the update, as text: `rank`, `alpha`, `scaling`, `frozen`, `trainableParameters`, `totalParameters`,
   * `trainableRatio`, `deltaNorm` (Frobenius) and `deltaToKernelRatio`, its ratio to the norm of the kernel.
   */
  getDiagnostics(): Promise<Record<string, string>> {
    return diagnose(this);
  }

  // Weights by name: `lora_A`, `lora_B`, and the base's own, `kernel` and `bias`.

  /** The names of all weights. */
  getParameterNames(): string[] {
    return [...this.parameters().keys()];
  }

  /** How many weights have a name. */
  get namedParameterCount(): number {
    return this.parameters().size;
  }

  /** A weight by its name, or `undefined` if there is none. The tensor belongs to the layer: do not dispose it. */
  tryGetParameter(name: string): tf.Tensor | undefined {
    return this.parameters().get(name)?.read();
  }

  /** The shape of a weight, or `undefined` if there is none of that name. */
  getParameterShape(name: string): number[] | undefined {
    return this.tryGetParameter(name)?.shape.slice();
  }

  /**
   * Sets a weight.
   *
   * @throws LoRAError if there is none of that name, or its shape is another.
   */
  setParameter(name: string, value: tf.Tensor): void {
    const {unmatched, mismatched} = this.loadWeights({[name]: value}, undefined, false);
    if (unmatched.length > 0) {
      throw new LoRAError(
        `Layer "${this.name}" has no weight "${name}". It has ${this.getParameterNames().join(', ')}.`,
      );
    }
    if (mismatched.length > 0) {
      throw new LoRAError(`Layer "${this.name}": ${mismatched.join('')}.`);
    }
  }

  /** Compares names, each first passed through `mapping`, with those of the weights. One that it maps to `null` is skipped. */
  validateWeights(names: readonly string[], mapping?: NameMapping): WeightsReport {
    const {matched, unmatched, missing} = matchNames(names, this.parameters(), mapping);
    return {matched, unmatched, missing};
  }

  /**
   * Sets weights by name. Names first pass through `mapping`; one that it maps to `null` is skipped.
   *
   * @param strict Throw, and change nothing, unless the weights are exactly those of the layer. Without it, what fits is set.
   * @returns what matched, what is no weight of the layer, what is missing, and what has another shape.
   * @throws LoRAError if strict, with a line for each misfit.
   */
  loadWeights(weights: Readonly<Record<string, tf.Tensor>>, mapping?: NameMapping, strict = true): LoadReport {
    return loadNamedWeights(`layer "${this.name}"`, this.parameters(), weights, {mapping, strict});
  }

  override getConfig(): tf.serialization.ConfigDict {
    return {
      ...super.getConfig(),
      ...this.strength,
      freezeBaseLayer: this.isBaseLayerFrozen,
      ...(this.initializer !== undefined && {initializer: initializerEntry(this.initializer)}),
      ...(this.seed !== undefined && {seed: this.seed}),
    };
  }

  private factors(): Factors {
    return {a: this.loraA.read(), b: this.loraB.read(), scaling: this.scaling};
  }

  private parameters(): Map<string, tf.LayerVariable> {
    return new Map([...namedWeights(this.baseLayer), ['lora_A', this.loraA], ['lora_B', this.loraB]]);
  }

  private checkRank(kernelShape: readonly number[]): void {
    const {fanIn, fanOut} = fans(kernelShape);
    if (this.rank > Math.min(fanIn, fanOut)) {
      throw new LoRAError(
        `Layer "${this.name}" has a kernel of shape ${showShape(kernelShape as number[])}: a rank above ` +
          `${Math.min(fanIn, fanOut)} would add nothing, got ${this.rank}.`,
      );
    }
  }
}

function checkBase(layer: tf.layers.Layer, className: string): void {
  if (!((layer as unknown) instanceof tf.layers.Layer)) {
    throw new LoRAError(`layer must be a layer, such as tf.layers.dense({units: 8}), got ${typeof layer}.`);
  }
  if (layer.getClassName() !== className) {
    throw new LoRAError(
      `Layer "${layer.name}" is a ${layer.getClassName()}; LoRA${className} adapts layers of class ${className}.`,
    );
  }
}
