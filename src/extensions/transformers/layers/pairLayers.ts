import * as tf from '@tensorflow/tfjs';
import {LoRAError, misfitError, show, showShape} from '../../../platform/errors';
import {asFloat, onlyTensor} from '../../../core/layers/forward';
import type {TorchAttention} from '../../../core/peft/torchLayers';
import {shapesOf} from '../../../platform/tfjs/inputs';
import {similarities} from '../ops/similarities';
import {registerOwn} from '../../../platform/tfjs/configs';
import {PlainLayer} from './plainLayer';

/**
 * A learned query, the same for all inputs: `[batch, positions, width]` → `[batch, 1, width]`.
 *
 * @experimental
 */
export class LearnedQuery extends PlainLayer implements TorchAttention {
  static readonly className = 'tfjs-lora/transformers>LearnedQuery';
  readonly torchClass = 'MultiheadAttention';
  private query!: tf.LayerVariable;

  override build(inputShape: tf.Shape | tf.Shape[]): void {
    const width = (inputShape as tf.Shape).at(-1) as number;
    this.query = this.addWeight('query', [1, 1, width], 'float32', tf.initializers.glorotUniform({}));
    this.built = true;
  }

  override computeOutputShape(inputShape: tf.Shape | tf.Shape[]): tf.Shape {
    const [batch = null, , width = null] = inputShape as tf.Shape;
    return [batch, 1, width];
  }

  protected override compute(inputs: tf.Tensor[]): tf.Tensor {
    return tf.tile(this.query.read(), [onlyTensor(inputs).shape[0], 1, 1]);
  }
}
registerOwn(LearnedQuery);

/** Arguments of {@link TokenState}. */
export interface TokenStateArgs {
  /** The id of the token; `null` for the largest id in the text. Default: null. */
  token?: number | null;
  name?: string;
}

/**
 * The state at the first position of a token: states `[batch, positions, width]` and tokens `[batch, positions]` →
 * `[batch, width]`. If a text does not have the token, the state at its first position.
 *
 * @experimental
 */
export class TokenState extends PlainLayer {
  static readonly className = 'tfjs-lora/transformers>TokenState';
  private readonly token: number | null;

  constructor({token = null, ...rest}: TokenStateArgs = {}) {
    if (token !== null && !Number.isSafeInteger(token)) {
      throw new LoRAError(`token must be an integer, a token id, got ${show(token)}.`);
    }
    super(rest);
    this.token = token;
  }

  override computeOutputShape(inputShape: tf.Shape | tf.Shape[]): tf.Shape {
    const [[batch = null, , width = null]] = shapesOf(inputShape);
    return [batch, width];
  }

  protected override compute(inputs: tf.Tensor[]): tf.Tensor {
    const [states, ids] = inputs.map(asFloat);
    if (states?.rank !== 3 || !tf.util.arraysEqual(ids?.shape ?? [], states.shape.slice(0, 2))) {
      const shapes = inputs.map(({shape}) => showShape(shape));
      throw misfitError(
        `"${this.name}" takes states, [batch, positions, width], and tokens, [batch, positions]; got ${shapes.join(', ')}.`,
      );
    }
    const [batch, positions, width] = (states as tf.Tensor3D).shape;
    const found = this.token === null ? (ids as tf.Tensor) : tf.cast(tf.equal(ids as tf.Tensor, this.token), 'float32');
    const position = tf.reshape(tf.argMax(found, 1), [batch, 1]);
    const chosen = tf.cast(tf.equal(position, tf.range(0, positions, 1, 'int32')), 'float32');
    const weights = tf.reshape<tf.Rank.R3>(chosen, [batch, 1, positions]);
    return tf.reshape(tf.matMul(weights, states as tf.Tensor3D), [batch, width]);
  }

  override getConfig(): tf.serialization.ConfigDict {
    return {...super.getConfig(), token: this.token};
  }
}
registerOwn(TokenState);

/** Arguments of {@link ScaledCosines}. */
export interface ScaledCosinesArgs {
  /** Whether to add a learned bias. Default: false. */
  bias?: boolean;
  name?: string;
}

/**
 * Scaled cosine similarities of all pairs: `exp(s)·cos(aᵢ, bⱼ) + b`, `[n, width]` and `[m, width]` → `[n, m]`. `s` is
 * learned, and with `bias` also `b`. (Radford et al., arXiv 2103.00020; with a bias: Zhai et al., arXiv 2303.15343.)
 *
 * @experimental
 */
export class ScaledCosines extends PlainLayer {
  static readonly className = 'tfjs-lora/transformers>ScaledCosines';
  private readonly useBias: boolean;
  private scale!: tf.LayerVariable;
  private bias: tf.LayerVariable | null = null;

  constructor({bias = false, ...rest}: ScaledCosinesArgs = {}) {
    super(rest);
    this.useBias = bias;
  }

  override build(): void {
    const of = (value: number) => tf.initializers.constant({value});
    // The initial values of the original training.
    this.scale = this.addWeight('scale', [], 'float32', of(Math.log(this.useBias ? 10 : 1 / 0.07)));
    this.bias = this.useBias ? this.addWeight('bias', [], 'float32', of(-10)) : null;
    this.built = true;
  }

  override computeOutputShape(inputShape: tf.Shape | tf.Shape[]): tf.Shape {
    const [[one = null], [other = null] = []] = shapesOf(inputShape);
    return [one, other];
  }

  protected override compute(inputs: tf.Tensor[]): tf.Tensor {
    const [one, other] = inputs.map(asFloat) as [tf.Tensor, tf.Tensor];
    const scaled = tf.mul(similarities(one, other), tf.exp(this.scale.read()));
    return this.bias === null ? scaled : tf.add(scaled, this.bias.read());
  }

  override getConfig(): tf.serialization.ConfigDict {
    return {...super.getConfig(), ...(this.useBias && {bias: true})};
  }
}
registerOwn(ScaledCosines);
