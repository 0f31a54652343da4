import * as tf from '@tensorflow/tfjs';
import {LoRAError, show, showShape} from '../../errors';
import {asFloat} from '../../layers/forward';
import type {CallArgs} from '../../layers/wrapperLayer';
import {shapesOf} from '../../tfjs/shapes';

/** What stands for a whole sequence: the mean of its places, its first or its last. */
export type PoolingMode = 'mean' | 'first' | 'last';

/** Arguments of {@link SequencePooling}. */
export interface SequencePoolingArgs {
  mode: PoolingMode;
  name?: string;
}

/**
 * One vector for each sequence: `[batch, places, width]` and a mask `[batch, places]` → `[batch, width]`. Places whose mask is 0 do not
 * count; a sequence without any other gives zeros.
 */
export class SequencePooling extends tf.layers.Layer {
  static readonly className = 'SequencePooling';
  private readonly mode: PoolingMode;

  constructor({mode, ...rest}: SequencePoolingArgs) {
    if (!['mean', 'first', 'last'].includes(mode)) {
      throw new LoRAError(`mode must be 'mean', 'first' or 'last', got ${show(mode)}.`);
    }
    super(rest);
    this.mode = mode;
  }

  override computeOutputShape(inputShape: tf.Shape | tf.Shape[]): tf.Shape {
    const [[batch = null, , width = null]] = shapesOf(inputShape);
    return [batch, width];
  }

  override call(inputs: tf.Tensor | tf.Tensor[], kwargs: CallArgs): tf.Tensor {
    return tf.tidy(() => {
      this.invokeCallHook(inputs, kwargs);
      const [x, mask, more] = [inputs].flat().map(asFloat);
      if (x?.rank !== 3 || more || (mask && !tf.util.arraysEqual(mask.shape, x.shape.slice(0, 2)))) {
        const shapes = [inputs].flat().map(({shape}) => showShape(shape));
        throw new LoRAError(
          `"${this.name}" takes sequences, [batch, places, width], and a mask, [batch, places]; got ${shapes.join(', ')}.`,
        );
      }
      const [batch, places, width] = (x as tf.Tensor3D).shape;
      const weights = tf.reshape<tf.Rank.R3>(this.weightsOf(batch, places, mask), [batch, 1, places]);
      return tf.reshape(tf.matMul(weights, x as tf.Tensor3D), [batch, width]);
    });
  }

  /** What each place counts, `[batch, places]`. */
  private weightsOf(batch: number, places: number, mask: tf.Tensor | undefined): tf.Tensor {
    const seen = mask === undefined ? tf.ones([batch, places]) : tf.cast(tf.notEqual(mask, 0), 'float32');
    if (this.mode === 'mean') {
      return tf.divNoNan(seen, tf.sum(seen, 1, true));
    }
    // The last place that counts is the one that as many count up to as count in all.
    const order = this.mode === 'last' ? tf.cumsum(seen, 1) : tf.cumsum(seen, 1, false, true);
    const reached = tf.equal(order, tf.sum(seen, 1, true));
    return tf.mul(seen, tf.cast(reached, 'float32'));
  }

  override getConfig(): tf.serialization.ConfigDict {
    return {...super.getConfig(), mode: this.mode};
  }
}
tf.serialization.registerClass(SequencePooling);
