import * as tf from '@tensorflow/tfjs';
import {LoRAError, misfitError, show, showShape} from '../../../platform/errors';
import type {RowKernels} from '../kernels/transformer';
import {normalizeRows} from '../ops/normalizeRows';
import {asFloat} from '../../../core/layers/forward';
import {shapesOf} from '../../../platform/tfjs/inputs';
import type {RowStep} from './rowStep';
import {registerOwn} from '../../../platform/tfjs/configs';
import {PlainLayer} from './plainLayer';

/** Arguments of {@link RMSNormalization} and {@link FusedLayerNormalization}. */
export interface RowNormalizationArgs {
  /** Added to the mean square or the variance. Default: 1e-6 for RMS normalization, 1e-5 for layer normalization. */
  epsilon?: number;
  /** Normalizes each piece of the last axis of this size separately, such as each head. Default: the whole axis. */
  size?: number;
  /** Whether the weight is added to one, `γ = 1 + weight`, as in Gemma. Default: false. */
  addsOne?: boolean;
  /** Whether a layer normalization has a `β`. Default: true. */
  bias?: boolean;
  /** The name of the layer. Default: one that tfjs makes. */
  name?: string;
}

/** Normalizes one input, or the sum of two, along the last axis. */
abstract class RowNormalization extends PlainLayer {
  protected abstract readonly centered: boolean;
  private readonly epsilon: number;
  private readonly size: number | undefined;
  private readonly addsOne: boolean;
  private readonly bias: boolean;
  private gamma!: tf.LayerVariable;
  private beta: tf.LayerVariable | null = null;

  protected constructor({
    epsilon,
    size,
    addsOne = false,
    bias = true,
    ...rest
  }: RowNormalizationArgs & {epsilon: number}) {
    if (!(Number.isFinite(epsilon) && epsilon >= 0)) {
      throw new LoRAError(`epsilon must be a number of at least 0, got ${show(epsilon)}.`);
    }
    if (size !== undefined && !(Number.isInteger(size) && size > 0)) {
      throw new LoRAError(`size must be a positive integer, got ${show(size)}.`);
    }
    super(rest);
    this.epsilon = epsilon;
    this.size = size;
    this.addsOne = addsOne;
    this.bias = bias;
    this.supportsMasking = true;
  }

  override build(inputShape: tf.Shape | tf.Shape[]): void {
    const [shape, other, more] = shapesOf(inputShape);
    const width = shape.at(-1);
    if (width == null || more !== undefined || (other !== undefined && other.at(-1) !== width)) {
      const shapes = shapesOf(inputShape).map(showShape);
      throw misfitError(
        `"${this.name}" normalizes one input, or the sum of two of the same shape, with a known last axis; got ` +
          `${shapes.join(', ')}.`,
      );
    }
    const {size = width} = this;
    if (width % size !== 0) {
      throw misfitError(`"${this.name}" normalizes pieces of ${size} values, got an axis of ${width}.`);
    }
    const start = this.addsOne ? tf.initializers.zeros() : tf.initializers.ones();
    this.gamma = this.addWeight('gamma', [size], 'float32', start);
    this.beta = this.centered && this.bias ? this.addWeight('beta', [size], 'float32', tf.initializers.zeros()) : null;
    this.built = true;
  }

  override computeOutputShape(inputShape: tf.Shape | tf.Shape[]): tf.Shape {
    return shapesOf(inputShape)[0];
  }

  override computeMask(_: tf.Tensor | tf.Tensor[], mask?: tf.Tensor | tf.Tensor[]): tf.Tensor | tf.Tensor[] {
    return Array.isArray(mask) ? (mask[0] as tf.Tensor) : (mask as tf.Tensor);
  }

  protected override compute(inputs: tf.Tensor[]): tf.Tensor {
    const [x, residual = null] = inputs.map(asFloat) as [tf.Tensor, tf.Tensor?];
    if (residual !== null && !tf.util.arraysEqual(x.shape, residual.shape)) {
      throw misfitError(
        `"${this.name}" adds inputs of the same shape, got ${showShape(x.shape)} and ${showShape(residual.shape)}.`,
      );
    }
    const gamma = this.addsOne ? tf.add(this.gamma.read(), 1) : this.gamma.read();
    const weights = {gamma, beta: this.beta?.read() ?? null};
    const settings = {centered: this.centered, epsilon: this.epsilon};
    const {size} = this;
    if (size === undefined || size === x.shape.at(-1)) {
      return normalizeRows(x, residual, weights, settings);
    }
    const inPieces = (whole: tf.Tensor) => tf.reshape(whole, [-1, size]);
    const y = normalizeRows(inPieces(x), residual && inPieces(residual), weights, settings);
    return tf.reshape(y, x.shape);
  }

  /** @internal */
  rowStep(kernels: RowKernels, widths: readonly number[]): RowStep | undefined {
    const [whole = 0] = widths;
    const {centered, epsilon, size: width = whole, gamma, beta} = this;
    return this.addsOne || widths.length > 1
      ? undefined
      : ([x = 0], to) => {
          const weights = {gamma: kernels.at(gamma.read()), beta: kernels.at(beta?.read() ?? null)};
          kernels.normalize(x, weights, {rows: whole / width, width}, {centered, epsilon}, to);
        };
  }

  override getConfig(): tf.serialization.ConfigDict {
    const {epsilon, size, addsOne, bias} = this;
    return {
      ...super.getConfig(),
      epsilon,
      ...(size !== undefined && {size}),
      ...(addsOne && {addsOne}),
      ...(!bias && {bias}),
    };
  }
}

/**
 * RMS normalization, `γ·x/√(mean of x² + ε)` along the last axis, of one input or of the sum of two. (Zhang and
 * Sennrich, arXiv 1910.07467.)
 *
 * @experimental
 */
export class RMSNormalization extends RowNormalization {
  static readonly className = 'tfjs-lora/transformers>RMSNormalization';
  protected get centered(): boolean {
    return false;
  }

  constructor({epsilon = 1e-6, ...rest}: RowNormalizationArgs = {}) {
    super({epsilon, ...rest});
  }
}
registerOwn(RMSNormalization);

/**
 * Layer normalization, `γ·(x − μ)/√(σ² + ε) + β` along the last axis, of one input or of the sum of two. It computes
 * the same as a stock `LayerNormalization`, in one kernel launch where the backend supports it, and keeps only the rows
 * before the normalization. (Ba et al., arXiv 1607.06450.)
 *
 * @experimental
 */
export class FusedLayerNormalization extends RowNormalization {
  static readonly className = 'tfjs-lora/transformers>FusedLayerNormalization';
  protected get centered(): boolean {
    return true;
  }

  constructor({epsilon = 1e-5, ...rest}: RowNormalizationArgs = {}) {
    super({epsilon, ...rest});
  }
}
registerOwn(FusedLayerNormalization);
