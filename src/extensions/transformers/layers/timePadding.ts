import * as tf from '@tensorflow/tfjs';
import {checkCount, misfitError, showShape} from '../../../platform/errors';
import {asFloat, onlyShape, onlyTensor} from '../../../core/layers/forward';
import {registerOwn} from '../../../platform/tfjs/configs';
import {PlainLayer} from './plainLayer';

/** Arguments of {@link TimePadding}. */
export interface TimePaddingArgs {
  /** How many zeros are added before the first position. */
  before: number;
  /** How many zeros are added after the last position. */
  after: number;
  name?: string;
}

/**
 * Adds zeros before and after a sequence: `[batch, positions, width]`. Convolutions that PyTorch pads equally on both
 * sides need it: the `same` padding of tfjs adds more at the end if the stride is above 1.
 *
 * @experimental
 */
export class TimePadding extends PlainLayer {
  static readonly className = 'tfjs-lora/transformers>TimePadding';
  private readonly before: number;
  private readonly after: number;

  constructor({before, after, ...rest}: TimePaddingArgs) {
    checkCount('before', before, 0);
    checkCount('after', after, 0);
    super(rest);
    this.before = before;
    this.after = after;
  }

  override computeOutputShape(inputShape: tf.Shape | tf.Shape[]): tf.Shape {
    const shape = onlyShape(inputShape);
    if (shape.length !== 3) {
      throw misfitError(`"${this.name}" takes [batch, positions, width], got ${showShape(shape)}.`);
    }
    const [batch = null, positions, width = null] = shape;
    return [batch, positions == null ? null : this.before + positions + this.after, width];
  }

  protected override compute(inputs: tf.Tensor[]): tf.Tensor {
    return tf.pad(asFloat(onlyTensor(inputs)), [
      [0, 0],
      [this.before, this.after],
      [0, 0],
    ]);
  }

  override getConfig(): tf.serialization.ConfigDict {
    const {before, after} = this;
    return {...super.getConfig(), before, after};
  }
}
registerOwn(TimePadding);
