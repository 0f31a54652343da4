import * as tf from '@tensorflow/tfjs';
import {LoRAError} from '../errors';
import {type Initializer, initializerEntry, type InitializerObject, initializerOfRandom} from '../methods/initializer';
import {type LoRAStrength, resolveStrength, scalingOf} from '../methods/strength';
import {delta, type Factors, fans, updatedKernel} from '../ops/factors';
import {layerFromEntry} from '../tfjs/configs';
import {withoutConstraints} from '../tfjs/constraints';
import {fieldsOf, type LayerInternals} from '../tfjs/fields';
import {namedWeights, replaceValue, shareWeights} from '../tfjs/weights';
import {type Adaptation, checkBase, checkRank, type FactorSpec, type UpdateSpec, updateSpecs} from './adaptation';
import {diagnose} from './diagnostics';
import type {LayerConfig} from './layerConfig';
import {ParameterLayer} from './parameterLayer';
import {checkArgs, type WrapperArgs} from './wrapperArgs';
import {WRAPPER_KIND} from './wrapperLayer';

/** Arguments of every LoRA layer. */
export interface LoRALayerArgs extends WrapperArgs, LoRAStrength {
  /** Keep the layer's own weights fixed. If false, they train along with the factors. Default: true. */
  freezeBaseLayer?: boolean;
  /** Train the layer's bias along with the factors, though its kernel stays fixed. Default: false. */
  trainBias?: boolean;
  /** What `A` starts from, as for `tf.layers`. Default: U(−1/√fan-in, 1/√fan-in), as in PEFT. */
  initializer?: Initializer;
  /** Makes the start of `A` reproducible. */
  seed?: number;
}

/** The low-rank update of one weight of a layer. Its tensors belong to the layer: do not dispose them. */
export interface LowRankPart {
  /** Name of the weight that is updated. */
  readonly weight: string;
  /** `[...fan-in axes, rank]`. */
  readonly A: tf.Tensor;
  /** `[rank, ...out axes]`. */
  readonly B: tf.Tensor;
  /** The update `s·A·B`, a new tensor in the shape of the kernel. */
  readonly delta: () => tf.Tensor;
}

/** The variables of one update, by the names that they have among the layer's weights. */
interface Update {
  spec: UpdateSpec;
  a: tf.LayerVariable;
  b: tf.LayerVariable;
}

/**
 * A frozen layer and a trainable low-rank update of its kernel, or of each of its kernels:
 *
 *     y = f(op(x, W + s·A·B) + b),    s = alpha / rank
 *
 * `A`, `[...fan-in axes, rank]`, starts random and `B`, `[rank, out]`, at zero, so that a new layer computes exactly what its base
 * computes. The update stands before the activation, which is what makes a merge exact. (Hu et al., "LoRA", arXiv 2106.09685, §4;
 * initialisation as in PEFT.)
 *
 * A layer with several kernels has one rank and one strength; a kernel that is too small for the rank has an update of the rank that it
 * can hold.
 */
export abstract class LoRALayer extends ParameterLayer {
  override readonly [WRAPPER_KIND] = 'lora' as const;
  /** Whether the base's own weights stay fixed. */
  readonly isBaseLayerFrozen: boolean;

  private strength: Required<LoRAStrength>;
  private readonly initializer: Initializer | undefined;
  private readonly seed: number | undefined;
  private readonly lowRank: Update[] = [];
  private batchShape!: tf.Shape | tf.Shape[];
  /** Why the layer could not be built. */
  private refusal: Error | undefined;

  /**
   * @throws LoRAError if the layer is of another class than this one adapts or one that it cannot adapt, or a number is out of range.
   */
  protected constructor(
    args: LoRALayerArgs,
    /** What is adapted, and how. */
    readonly adaptation: Adaptation,
  ) {
    checkArgs(args);
    checkBase(args.layer, adaptation);
    const strength = resolveStrength(args);
    const freezeBaseLayer = args.freezeBaseLayer ?? true;
    super(args, !freezeBaseLayer ? 'everything' : args.trainBias === true ? 'biases' : 'nothing');
    this.strength = strength;
    this.isBaseLayerFrozen = freezeBaseLayer;
    this.initializer = args.initializer;
    this.seed = args.seed;
    if (args.layer.built) {
      this.checkRank(args.layer);
    }
  }

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

  /**
   * The low-rank part: the factors, and their product in the kernel's shape. Of a layer with several kernels, that of the first.
   *
   * @throws LoRAError if the layer is not built.
   */
  get loraLayer(): LowRankPart {
    this.checkBuilt();
    return this.lowRankParts[0] as LowRankPart;
  }

  /** The low-rank parts, one for each weight that is updated. */
  get lowRankParts(): LowRankPart[] {
    return this.lowRank.map(update => {
      const factors = this.factorsOf(update);
      return {weight: update.spec.weight.name, A: factors.a, B: factors.b, delta: () => delta(factors)};
    });
  }

  /** How this layer updates its base, as an adapter records it. */
  get layerConfig(): LayerConfig {
    return {
      className: this.baseLayer.getClassName(),
      ...this.strength,
      freezeBaseLayer: this.isBaseLayerFrozen,
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
      this.checkRank(this.baseLayer);
      this.makeFactors();
    } catch (error) {
      this.weights.forEach(weight => weight.dispose());
      this.built = false;
      this.refusal = error as Error;
      throw error;
    }
  }

  /**
   * Replaces the update by another, of another rank too. The layer's variables stay, since a compiled model holds them, and share the
   * buffers of the given factors.
   *
   * @param factorOf gives the factors, by the names that they have among the layer's weights.
   */
  setUpdate(strength: Required<LoRAStrength>, factorOf: (name: string) => tf.Tensor | undefined): void {
    for (const [name, variable] of this.factorVariables()) {
      const factor = factorOf(name);
      if (factor === undefined) {
        throw new LoRAError(`Layer "${this.name}": there is no ${name}.`);
      }
      replaceValue(variable, factor);
    }
    this.strength = strength;
  }

  /** Takes the update out of force: the factor that starts at zero becomes zero again, and the layer computes what its base computes. */
  clearUpdate(): void {
    tf.tidy(() => {
      for (const {a, b} of this.lowRank) {
        const factor = this.adaptation.zeroFactor === 'A' ? a : b;
        factor.write(tf.zerosLike(factor.read()));
      }
    });
  }

  override adapterWeights(): Map<string, tf.LayerVariable> {
    return new Map([...this.factorVariables(), ...this.trainedWeights()]);
  }

  /**
   * A new stock layer with the update baked in, `W' = W + s·A·B`: as fast as the original, and in need of nothing of this library. It has
   * no constraints, which the sum need not fulfil. This layer is not changed.
   *
   * @throws LoRAError if the layer is not built.
   */
  mergeToOriginalLayer(): tf.layers.Layer {
    this.checkBuilt();
    const merged = layerFromEntry(withoutConstraints(this.baseEntry()));
    // Applying it to a symbolic input builds it under its own name; the node that this leaves would make `merged.output` ambiguous.
    merged.apply(symbolicInputs(this.batchShape));
    merged.inboundNodes.length = 0;
    fieldsOf<LayerInternals>(merged)._refCount = null;
    this.mergeInto(merged);
    return merged;
  }

  /** Gives `layer`, a built layer like the base, the base's weights with the update baked in. */
  mergeInto(layer: tf.layers.Layer): void {
    shareWeights(this.baseLayer, layer);
    const factors = this.factors();
    tf.tidy(() => {
      this.adaptation.weights(layer).forEach(({variable}, i) => {
        replaceValue(variable, updatedKernel(variable.read(), factors[i] as Factors));
      });
    });
  }

  /**
   * What there is to know about the update, as text: `rank`, `alpha`, `scaling`, `frozen`, `trainableParameters`, `totalParameters`,
   * `trainableRatio`, `deltaNorm` (Frobenius) and `deltaToKernelRatio`, its ratio to the norm of the kernel.
   *
   * @throws LoRAError if the layer is not built.
   */
  async getDiagnostics(): Promise<Record<string, string>> {
    this.checkBuilt();
    return diagnose(this);
  }

  override getConfig(): tf.serialization.ConfigDict {
    return {
      ...super.getConfig(),
      ...this.strength,
      freezeBaseLayer: this.isBaseLayerFrozen,
      ...(this.baseTraining === 'biases' && {trainBias: true}),
      ...(this.initializer !== undefined && {initializer: initializerEntry(this.initializer)}),
      ...(this.seed !== undefined && {seed: this.seed}),
    };
  }

  /** The factors of each weight that is updated, in the order of the adaptation. */
  protected factors(): Factors[] {
    return this.lowRank.map(update => this.factorsOf(update));
  }

  private makeFactors(): void {
    updateSpecs(this.adaptation.weights(this.baseLayer), this.rank).forEach((spec, i) => {
      const {weight, a, b} = spec;
      const {fanIn} = fans(weight.variable.shape as number[], weight.outAxes);
      const seed = this.seed === undefined ? undefined : this.seed + i * SEEDS_APART;
      const zeroFactor = this.adaptation.zeroFactor ?? 'B';
      const random = initializerOfRandom(zeroFactor, this.initializer, fanIn, seed);
      const make = ({name, shape}: FactorSpec, start: InitializerObject) =>
        this.addWeight(name, shape, 'float32', start, undefined, true);
      this.lowRank.push({
        spec,
        a: make(a, zeroFactor === 'A' ? tf.initializers.zeros() : random),
        b: make(b, zeroFactor === 'B' ? tf.initializers.zeros() : random),
      });
    });
  }

  private factorsOf({a, b}: Update): Factors {
    return {a: a.read(), b: b.read(), scaling: this.scaling};
  }

  private factorVariables(): Map<string, tf.LayerVariable> {
    return new Map(this.lowRank.flatMap(({spec, a, b}) => [[spec.a.name, a] as const, [spec.b.name, b] as const]));
  }

  protected override parameters(): Map<string, tf.LayerVariable> {
    return new Map([...namedWeights(this.baseLayer), ...this.factorVariables()]);
  }

  private checkBuilt(): void {
    if (!this.built) {
      throw new LoRAError(`Layer "${this.name}" is not built. Call it on an input, or make a model with it, first.`);
    }
  }

  private checkRank(layer: tf.layers.Layer): void {
    checkRank(this.name, this.adaptation.weights(layer), this.rank);
  }
}

/** Between the seeds of the kernels of one layer; those of layers are 1 apart. */
const SEEDS_APART = 1_000_003;

function symbolicInputs(shape: tf.Shape | tf.Shape[]): tf.SymbolicTensor | tf.SymbolicTensor[] {
  return Array.isArray(shape[0])
    ? (shape as tf.Shape[]).map(batchShape => tf.input({batchShape}))
    : tf.input({batchShape: shape as tf.Shape});
}
