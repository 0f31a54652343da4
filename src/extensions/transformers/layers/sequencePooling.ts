import * as tf from '@tensorflow/tfjs';
import {checkCount, LoRAError, misfitError, show, showShape} from '../../../platform/errors';
import {asFloat} from '../../../core/layers/forward';
import {shapesOf} from '../../../platform/tfjs/inputs';
import {registerOwn} from '../../../platform/tfjs/configs';
import {poolingWeights} from '../ops/poolStates';
import {PlainLayer} from './plainLayer';

/** How a sequence becomes one vector: the mean of its positions, the first, or the last. */
export type PoolingMode = 'mean' | 'first' | 'last';

/** Arguments of {@link SequencePooling}. */
export interface SequencePoolingArgs {
  /** How the states of a sequence become one vector. */
  mode: PoolingMode;
  /**
   * A padding token, whose positions do not count even if the mask shows them. The tokens, `[batch, positions]`, are
   * then a third input. A sequence of padding only gives its first position. Default: none.
   */
  padding?: number | null;
  /** How many positions at the start do not count, such as those of a class token. Default: 0. */
  skip?: number;
  /** The name of the layer. Default: one that tfjs makes. */
  name?: string;
}

/**
 * Pools each sequence to one vector: `[batch, positions, width]` and a mask `[batch, positions]` → `[batch, width]`.
 * Positions whose mask is 0 do not count. A sequence without any other gives zeros.
 *
 * @experimental
 */
export class SequencePooling extends PlainLayer {
  static readonly className = 'tfjs-lora/transformers>SequencePooling';
  private readonly mode: PoolingMode;
  private readonly padding: number | null;
  private readonly skip: number;

  constructor({mode, padding = null, skip = 0, ...rest}: SequencePoolingArgs) {
    if (!['mean', 'first', 'last'].includes(mode)) {
      throw new LoRAError(`mode must be 'mean', 'first' or 'last', got ${show(mode)}.`);
    }
    if (padding !== null && !Number.isSafeInteger(padding)) {
      throw new LoRAError(`padding must be an integer, a token id, got ${show(padding)}.`);
    }
    checkCount('skip', skip, 0);
    super(rest);
    this.mode = mode;
    this.padding = padding;
    this.skip = skip;
  }

  override computeOutputShape(inputShape: tf.Shape | tf.Shape[]): tf.Shape {
    const [[batch = null, , width = null]] = shapesOf(inputShape);
    return [batch, width];
  }

  protected override compute(inputs: tf.Tensor[]): tf.Tensor {
    const [x, ...others] = inputs.map(asFloat);
    const fit = others.every(({shape}) => tf.util.arraysEqual(shape, x?.shape.slice(0, 2) ?? []));
    if (x?.rank !== 3 || !fit || (this.padding === null ? others.length > 1 : others.length !== 2)) {
      const shapes = inputs.map(({shape}) => showShape(shape));
      throw misfitError(
        `"${this.name}" takes sequences, [batch, positions, width], and a ` +
          `mask${this.padding === null ? '' : ' and tokens'}, [batch, positions]; got ${shapes.join(', ')}.`,
      );
    }
    const [batch, positions, width] = (x as tf.Tensor3D).shape;
    const [mask = tf.ones([batch, positions]), tokens] = others;
    const counts = this.countsOf(mask, tokens);
    const weights = tf.reshape<tf.Rank.R3>(poolingWeights(this.mode, counts), [batch, 1, positions]);
    return tf.reshape(tf.matMul(weights, x as tf.Tensor3D), [batch, width]);
  }

  /** 1 for the positions that count, `[batch, positions]`. */
  private countsOf(mask: tf.Tensor, tokens: tf.Tensor | undefined): tf.Tensor {
    const shown = tf.cast(tf.notEqual(mask, 0), 'float32');
    const {skip} = this;
    const seen =
      skip === 0
        ? shown
        : tf.mul(shown, tf.cast(tf.greaterEqual(tf.range(0, mask.shape[1] as number), skip), 'float32'));
    if (this.padding === null || tokens === undefined) {
      return seen;
    }
    const counts = tf.mul(seen, tf.cast(tf.notEqual(tokens, this.padding), 'float32'));
    const isFirst = tf.cast(tf.equal(tf.range(0, mask.shape[1] as number), 0), 'float32');
    return tf.maximum(counts, tf.mul(isFirst, tf.sub(1, tf.max(counts, 1, true))));
  }

  override getConfig(): tf.serialization.ConfigDict {
    return {...super.getConfig(), mode: this.mode, padding: this.padding, skip: this.skip};
  }
}
registerOwn(SequencePooling);
