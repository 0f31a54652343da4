import * as tf from '@tensorflow/tfjs';
import {checkCount, LoRAError, misfitError, showShape} from '../../../platform/errors';
import {asFloat, onlyShape, onlyTensor} from '../../../core/layers/forward';
import {registerOwn} from '../../../platform/tfjs/configs';
import {resizeFeatures} from '../ops/resizeGrid';
import {ScaledAndShifted} from './scaledAndShifted';
import {PlainLayer} from './plainLayer';

/** Arguments of {@link MaxPooling}. */
export interface MaxPoolingArgs {
  /** The edge of a window. */
  size: number;
  stride: number;
  /** How many values are added on each side. They are never the maximum. */
  padding: number;
  name?: string;
}

/**
 * Max pooling that pads each side equally, as in PyTorch: `[batch, height, width, channels]`. The `same` padding of
 * tfjs adds more on the right and below.
 *
 * @experimental
 */
export class MaxPooling extends PlainLayer {
  static readonly className = 'tfjs-lora/transformers>MaxPooling';
  private readonly size: number;
  private readonly stride: number;
  private readonly padding: number;

  constructor({size, stride, padding, ...rest}: MaxPoolingArgs) {
    checkCount('size', size);
    checkCount('stride', stride);
    checkCount('padding', padding, 0);
    if (2 * padding > size) {
      throw new LoRAError(`padding must be at most half of size, ${size}, got ${padding}.`);
    }
    super(rest);
    this.size = size;
    this.stride = stride;
    this.padding = padding;
  }

  override computeOutputShape(inputShape: tf.Shape | tf.Shape[]): tf.Shape {
    const shape = onlyShape(inputShape);
    if (shape.length !== 4) {
      throw misfitError(`"${this.name}" takes [batch, height, width, channels], got ${showShape(shape)}.`);
    }
    const pooled = (edge: number | null | undefined) =>
      edge == null ? null : Math.floor((edge + 2 * this.padding - this.size) / this.stride) + 1;
    const [batch = null, height, width, channels = null] = shape;
    return [batch, pooled(height), pooled(width), channels];
  }

  protected override compute(inputs: tf.Tensor[]): tf.Tensor {
    const x = asFloat(onlyTensor(inputs)) as tf.Tensor4D;
    return tf.maxPool(x, this.size, this.stride, this.padding, 'floor');
  }

  override getConfig(): tf.serialization.ConfigDict {
    const {size, stride, padding} = this;
    return {...super.getConfig(), size, stride, padding};
  }
}
registerOwn(MaxPooling);

/** The smallest sum of squares whose root has a gradient. */
const LEAST = 1e-30;

/**
 * Scales each channel by its norm over all positions, relative to the mean norm of the channels, and adds the input:
 * `γ·x·n + β + x`, `[batch, height, width, channels]`. (Woo et al., "ConvNeXt V2", arXiv 2301.00808, §3.2.)
 *
 * @experimental
 */
export class GlobalResponseNormalization extends ScaledAndShifted {
  static readonly className = 'tfjs-lora/transformers>GlobalResponseNormalization';
  protected override readonly start = 'zeros';

  protected override compute(inputs: tf.Tensor[]): tf.Tensor {
    const x = asFloat(onlyTensor(inputs));
    const norms = tf.sqrt(tf.maximum(tf.sum(tf.square(x), [1, 2], true), LEAST));
    const relative = tf.div(norms, tf.add(tf.mean(norms, -1, true), 1e-6));
    return tf.add(tf.mul(x, tf.add(tf.mul(this.gamma.read(), relative), 1)), this.beta.read());
  }
}
registerOwn(GlobalResponseNormalization);

/** Arguments of {@link FeatureSequence}. */
export interface FeatureSequenceArgs {
  /** Whether the mean of all positions comes first. Default: false. */
  mean?: boolean;
  name?: string;
}

/**
 * The positions of features as a sequence, row by row: `[batch, height, width, channels]` → `[batch, height·width,
 * channels]`, with one position more if their mean comes first.
 *
 * @experimental
 */
export class FeatureSequence extends PlainLayer {
  static readonly className = 'tfjs-lora/transformers>FeatureSequence';
  private readonly mean: boolean;

  constructor({mean = false, ...rest}: FeatureSequenceArgs = {}) {
    super(rest);
    this.mean = mean;
  }

  override computeOutputShape(inputShape: tf.Shape | tf.Shape[]): tf.Shape {
    const [batch = null, height, width, channels = null] = onlyShape(inputShape);
    return [batch, height == null || width == null ? null : Number(this.mean) + height * width, channels];
  }

  protected override compute(inputs: tf.Tensor[]): tf.Tensor {
    const x = asFloat(onlyTensor(inputs));
    const [batch = 1, height = 1, width = 1, channels = 1] = x.shape;
    const positions = tf.reshape(x, [batch, height * width, channels]);
    return this.mean ? tf.concat([tf.mean(positions, 1, true), positions], 1) : positions;
  }

  override getConfig(): tf.serialization.ConfigDict {
    return {...super.getConfig(), mean: this.mean};
  }
}
registerOwn(FeatureSequence);

/**
 * A sequence as the features of the positions of others, row by row, the inverse of {@link FeatureSequence}:
 * `[batch, height·width, channels]` and `[batch, height, width, any]` → `[batch, height, width, channels]`.
 *
 * @experimental
 */
export class SequenceFeatures extends PlainLayer {
  static readonly className = 'tfjs-lora/transformers>SequenceFeatures';

  override computeOutputShape(inputShape: tf.Shape | tf.Shape[]): tf.Shape {
    const [sequence, like] = inputShape as [tf.Shape, tf.Shape];
    return [...like.slice(0, 3), sequence[2] ?? null];
  }

  protected override compute(inputs: tf.Tensor[]): tf.Tensor {
    const [sequence, like] = inputs as [tf.Tensor, tf.Tensor];
    return tf.reshape(asFloat(sequence), [...like.shape.slice(0, 3), sequence.shape[2] ?? 1]);
  }
}
registerOwn(SequenceFeatures);

/**
 * Features resized to the height and width of others by bilinear interpolation: `[batch, height, width, channels]` and
 * `[batch, height', width', any]` → `[batch, height', width', channels]`.
 *
 * @experimental
 */
export class ResizedFeatures extends PlainLayer {
  static readonly className = 'tfjs-lora/transformers>ResizedFeatures';

  override computeOutputShape(inputShape: tf.Shape | tf.Shape[]): tf.Shape {
    const [features, like] = inputShape as [tf.Shape, tf.Shape];
    return [...like.slice(0, 3), features[3] ?? null];
  }

  protected override compute(inputs: tf.Tensor[]): tf.Tensor {
    const [features, like] = inputs as [tf.Tensor, tf.Tensor];
    const [, rows = 1, columns = 1] = like.shape;
    return resizeFeatures(asFloat(features) as tf.Tensor4D, rows, columns);
  }
}
registerOwn(ResizedFeatures);
