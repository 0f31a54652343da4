import * as tf from '@tensorflow/tfjs';
import {checkCount, LoRAError, misfitError, show, showShape} from '../../../platform/errors';
import {asFloat, onlyShape, onlyTensor} from '../../../core/layers/forward';
import {shapesOf} from '../../../platform/tfjs/inputs';
import {registerOwn} from '../../../platform/tfjs/configs';
import {logOfZero} from '../../../core/ops/logOfZero';
import {ScaledAndShifted} from './scaledAndShifted';
import {PlainLayer} from './plainLayer';

/** Arguments of {@link FrameMask}. */
export interface FrameMaskArgs {
  /** The kernel sizes of the convolutions that made frames of samples. */
  sizes: readonly number[];
  /** Their strides. */
  strides: readonly number[];
  name?: string;
}

/**
 * The mask of frames for a mask of samples: `[batch, samples]` and the frames, `[batch, frames, width]` → `[batch,
 * frames]`. A frame counts if convolutions without padding make it from the samples of a clip alone.
 *
 * @experimental
 */
export class FrameMask extends PlainLayer {
  static readonly className = 'tfjs-lora/transformers>FrameMask';
  private readonly sizes: readonly number[];
  private readonly strides: readonly number[];

  constructor({sizes, strides, ...rest}: FrameMaskArgs) {
    const all = [sizes, strides].map(list => (Array.isArray(list) ? (list as unknown[]) : []));
    if (all[0]?.length !== all[1]?.length || !all.flat().every(each => Number.isInteger(each) && Number(each) > 0)) {
      throw new LoRAError(
        `sizes and strides must be lists of positive integers, equally long, got ${show(sizes)} and ${show(strides)}.`,
      );
    }
    super(rest);
    this.sizes = [...sizes];
    this.strides = [...strides];
  }

  override computeOutputShape(inputShape: tf.Shape | tf.Shape[]): tf.Shape {
    const [, frames = []] = shapesOf(inputShape);
    return frames.slice(0, 2);
  }

  protected override compute(inputs: tf.Tensor[]): tf.Tensor {
    const [mask, frames] = inputs as [tf.Tensor, tf.Tensor];
    const samples = tf.sum(tf.cast(tf.notEqual(mask, 0), 'float32'), 1, true);
    const counts = this.sizes.reduce<tf.Tensor>(
      (count, size, i) => tf.add(tf.floor(tf.div(tf.sub(count, size), this.strides[i] ?? 1)), 1),
      samples,
    );
    return tf.cast(tf.less(tf.range(0, frames.shape[1] as number), counts), 'int32');
  }

  override getConfig(): tf.serialization.ConfigDict {
    return {...super.getConfig(), sizes: [...this.sizes], strides: [...this.strides]};
  }
}
registerOwn(FrameMask);

/** Arguments of {@link BlankFrames}. */
export interface BlankFramesArgs {
  /** The class that stands for no character. */
  blank: number;
  name?: string;
}

/**
 * Makes frames after the end of a clip blank: logits `[batch, frames, classes]` and a mask, `[batch, frames]`. A blank
 * with a probability of 1 adds nothing to a transcript, nor to the CTC loss, so both need no lengths.
 *
 * @experimental
 */
export class BlankFrames extends PlainLayer {
  static readonly className = 'tfjs-lora/transformers>BlankFrames';
  private readonly blank: number;

  constructor({blank, ...rest}: BlankFramesArgs) {
    checkCount('blank', blank, 0);
    super(rest);
    this.blank = blank;
  }

  override computeOutputShape(inputShape: tf.Shape | tf.Shape[]): tf.Shape {
    return shapesOf(inputShape)[0];
  }

  protected override compute(inputs: tf.Tensor[]): tf.Tensor {
    const [logits, mask] = inputs as [tf.Tensor, tf.Tensor];
    const seen = tf.expandDims(tf.cast(tf.notEqual(mask, 0), 'float32'), 2);
    const isOther = tf.cast(tf.notEqual(tf.range(0, logits.shape[2] as number, 1, 'int32'), this.blank), 'float32');
    const blank = tf.mul(isOther, logOfZero());
    return tf.add(tf.mul(logits, seen), tf.mul(tf.sub(1, seen), blank));
  }

  override getConfig(): tf.serialization.ConfigDict {
    return {...super.getConfig(), blank: this.blank};
  }
}
registerOwn(BlankFrames);

/**
 * Normalizes each channel over all positions: `[batch, positions, channels]`. It is PyTorch's `GroupNorm` with a group
 * for each channel.
 *
 * @experimental
 */
export class ChannelNormalization extends ScaledAndShifted {
  static readonly className = 'tfjs-lora/transformers>ChannelNormalization';

  protected override compute(inputs: tf.Tensor[]): tf.Tensor {
    const x = asFloat(onlyTensor(inputs));
    const {mean, variance} = tf.moments(x, 1, true);
    const factor = tf.mul(tf.rsqrt(tf.add(variance, 1e-5)), this.gamma.read());
    return tf.add(tf.mul(tf.sub(x, mean), factor), this.beta.read());
  }
}
registerOwn(ChannelNormalization);

/** Arguments of {@link PositionalConvolution}. */
export interface PositionalConvolutionArgs {
  /** How many positions a kernel spans. */
  size: number;
  /** How many groups of channels are convolved separately. */
  groups: number;
  name?: string;
}

/**
 * A convolution of groups of channels over the positions of a sequence, `[batch, positions, width]`, whose kernel is
 * `g·v/‖v‖` with a norm for each tap (weight normalization, arXiv 1602.07868). It keeps `v` as `direction`, `[size,
 * width / groups, width]`, and `g` as `magnitude`, so files hold it as PyTorch's do. LoRA does not adapt it.
 *
 * @experimental
 */
export class PositionalConvolution extends PlainLayer {
  static readonly className = 'tfjs-lora/transformers>PositionalConvolution';
  private readonly size: number;
  private readonly groups: number;
  private direction!: tf.LayerVariable;
  private magnitude!: tf.LayerVariable;
  private bias!: tf.LayerVariable;

  constructor({size, groups, ...rest}: PositionalConvolutionArgs) {
    checkCount('size', size);
    checkCount('groups', groups);
    super(rest);
    this.size = size;
    this.groups = groups;
  }

  override build(inputShape: tf.Shape | tf.Shape[]): void {
    const shape = onlyShape(inputShape);
    const width = shape.at(-1);
    if (shape.length !== 3 || width == null || width % this.groups !== 0) {
      throw misfitError(
        `"${this.name}" takes [batch, positions, width], whose width is a multiple of ${this.groups}, got ` +
          `${showShape(shape)}.`,
      );
    }
    const add = (name: string, ofWeight: number[], start: ReturnType<typeof tf.initializers.zeros>) =>
      this.addWeight(name, ofWeight, 'float32', start);
    this.direction = add('direction', [this.size, width / this.groups, width], tf.initializers.glorotNormal({}));
    this.magnitude = add('magnitude', [this.size, 1, 1], tf.initializers.ones());
    this.bias = add('bias', [width], tf.initializers.zeros());
    this.built = true;
  }

  protected override compute(inputs: tf.Tensor[]): tf.Tensor {
    const {size, groups} = this;
    const before = Math.floor(size / 2);
    const x = tf.pad(asFloat(onlyTensor(inputs)), [
      [0, 0],
      [before, size - 1 - before],
      [0, 0],
    ]);
    const v = this.direction.read();
    const norms = tf.sqrt(tf.sum(tf.square(v), [1, 2], true));
    const kernel = tf.mul(v, tf.div(this.magnitude.read(), norms));
    // tfjs cannot differentiate a split into one part.
    const split = (whole: tf.Tensor) => (groups === 1 ? [whole] : tf.split(whole, groups, 2)) as tf.Tensor3D[];
    const kernels = split(kernel);
    const parts = split(x).map((part, i) => tf.conv1d(part, kernels[i] as tf.Tensor3D, 1, 'valid'));
    return tf.add(tf.concat(parts, 2), this.bias.read());
  }

  override getConfig(): tf.serialization.ConfigDict {
    return {...super.getConfig(), size: this.size, groups: this.groups};
  }
}
registerOwn(PositionalConvolution);
