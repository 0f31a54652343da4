import * as tf from '@tensorflow/tfjs';
import {checkCount, LoRAError, misfitError, showShape} from '../../../platform/errors';
import {asFloat, onlyShape, onlyTensor} from '../../../core/layers/forward';
import {shapesOf} from '../../../platform/tfjs/inputs';
import {registerOwn} from '../../../platform/tfjs/configs';
import {PlainLayer} from './plainLayer';

// Attention within windows of an image. (Liu et al., "Swin Transformer", arXiv 2103.14030.) Features are `[batch,
// height, width, channels]`, and windows `[batch·windows, size², channels]`.

/** Arguments of layers for windows. */
export interface WindowArgs {
  /** The edge of a window, in positions. */
  size: number;
  /** How far the windows are shifted down and right. Default: 0. */
  shift?: number;
  /**
   * Whether features smaller than a window are padded. Otherwise they are refused, and features of one window in height
   * or width have no shift. Default: false.
   */
  pads?: boolean;
  name?: string;
}

/** A layer that knows where the windows of features are. */
export abstract class WindowLayer extends PlainLayer {
  protected readonly size: number;
  protected readonly shift: number;
  protected readonly pads: boolean;

  constructor({size, shift = 0, pads = false, ...rest}: WindowArgs) {
    checkCount('size', size);
    checkCount('shift', shift, 0);
    if (shift >= size) {
      throw new LoRAError(`shift must be less than size, ${size}, got ${shift}.`);
    }
    super(rest);
    this.size = size;
    this.shift = shift;
    this.pads = pads;
  }

  /** The rows and columns of windows, and their shift. */
  protected gridOf({shape}: tf.Tensor): {rows: number; columns: number; shift: number} {
    const {size} = this;
    const [, height = 0, width = 0] = shape;
    if (shape.length !== 4 || (!this.pads && Math.min(height, width) < size)) {
      throw misfitError(
        `"${this.name}" has windows of ${size} × ${size} positions, got features ${showShape(shape)}. Use larger ` +
          'images.',
      );
    }
    const shift = !this.pads && Math.min(height, width) === size ? 0 : this.shift;
    return {rows: Math.ceil(height / size), columns: Math.ceil(width / size), shift};
  }

  override getConfig(): tf.serialization.ConfigDict {
    const {size, shift, pads} = this;
    return {...super.getConfig(), size, shift, pads};
  }
}

/** Moves rows and columns up and left, around the edges; down and right if `by` is negative. */
function rolled(x: tf.Tensor4D, by: number): tf.Tensor4D {
  const along = (y: tf.Tensor4D, axis: 1 | 2): tf.Tensor4D => {
    const length = y.shape[axis];
    const first = ((by % length) + length) % length;
    if (first === 0) {
      return y;
    }
    const [before, after] = tf.split(y, [first, length - first], axis) as [tf.Tensor4D, tf.Tensor4D];
    return tf.concat([after, before], axis);
  };
  return along(along(x, 1), 2);
}

/**
 * Cuts features into windows, which are padded with zeros below and to the right: `[batch, height, width, channels]` →
 * `[batch·windows, size², channels]`. {@link JoinedWindows} is the inverse.
 *
 * @throws LoRAError if a window is larger than the features.
 * @experimental
 */
export class Windows extends WindowLayer {
  static readonly className = 'tfjs-lora/transformers>Windows';

  override computeOutputShape(inputShape: tf.Shape | tf.Shape[]): tf.Shape {
    return [null, this.size ** 2, onlyShape(inputShape).at(-1) ?? null];
  }

  protected override compute(inputs: tf.Tensor[]): tf.Tensor {
    const x = asFloat(onlyTensor(inputs)) as tf.Tensor4D;
    const {rows, columns, shift} = this.gridOf(x);
    const {size} = this;
    const [batch, , , channels] = x.shape;
    const whole = rolled(padded(x, rows * size, columns * size), shift);
    const cut = tf.reshape(whole, [batch * rows, size, columns, size * channels]);
    return tf.reshape(tf.transpose(cut, [0, 2, 1, 3]), [batch * rows * columns, size * size, channels]);
  }
}
registerOwn(Windows);

/** Adds zeros below and to the right. */
function padded(x: tf.Tensor4D, height: number, width: number): tf.Tensor4D {
  const [, rows, columns] = x.shape;
  const isWhole = height === rows && width === columns;
  return isWhole
    ? x
    : tf.pad(x, [
        [0, 0],
        [0, height - rows],
        [0, width - columns],
        [0, 0],
      ]);
}

/**
 * Puts windows together: `[batch·windows, size², channels]` and the features they were cut from → features of the same
 * height and width.
 *
 * @experimental
 */
export class JoinedWindows extends WindowLayer {
  static readonly className = 'tfjs-lora/transformers>JoinedWindows';

  override computeOutputShape(inputShape: tf.Shape | tf.Shape[]): tf.Shape {
    const [windows, features = []] = shapesOf(inputShape);
    return [...features.slice(0, 3), windows.at(-1) ?? null];
  }

  protected override compute(inputs: tf.Tensor[]): tf.Tensor {
    const [windows, features] = inputs.map(asFloat) as [tf.Tensor3D, tf.Tensor4D];
    const {rows, columns, shift} = this.gridOf(features);
    const {size} = this;
    const [batch, height, width] = features.shape;
    const channels = windows.shape[2];
    const cut = tf.reshape(windows, [batch * rows, columns, size, size * channels]);
    const joined = tf.reshape(tf.transpose(cut, [0, 2, 1, 3]), [batch, rows * size, columns * size, channels]);
    const back = rolled(joined as tf.Tensor4D, -shift);
    const isWhole = height === rows * size && width === columns * size;
    return isWhole ? back : tf.slice(back, [0, 0, 0, 0], [batch, height, width, channels]);
  }
}
registerOwn(JoinedWindows);

/**
 * Joins each square of four positions: `[batch, height, width, channels]` → `[batch, ⌈height/2⌉, ⌈width/2⌉,
 * 4·channels]`. Odd edges are padded with zeros.
 *
 * @experimental
 */
export class JoinedPatches extends PlainLayer {
  static readonly className = 'tfjs-lora/transformers>JoinedPatches';

  override computeOutputShape(inputShape: tf.Shape | tf.Shape[]): tf.Shape {
    const [batch = null, height, width, channels] = onlyShape(inputShape);
    const half = (edge: number | null | undefined) => (edge == null ? null : Math.ceil(edge / 2));
    return [batch, half(height), half(width), channels == null ? null : 4 * channels];
  }

  protected override compute(inputs: tf.Tensor[]): tf.Tensor {
    const x = asFloat(onlyTensor(inputs)) as tf.Tensor4D;
    const [batch, height, width, channels] = x.shape;
    const [rows, columns] = [Math.ceil(height / 2), Math.ceil(width / 2)];
    const squares = tf.reshape(padded(x, 2 * rows, 2 * columns), [batch * rows, 2, columns, 2, channels]);
    return tf.reshape(tf.transpose(squares, [0, 2, 3, 1, 4]), [batch, rows, columns, 4 * channels]);
  }
}
registerOwn(JoinedPatches);

/**
 * Pads images with zeros below and to the right, to multiples of a patch: `[batch, height, width, channels]`.
 *
 * @experimental
 */
export class WholePatches extends PlainLayer {
  static readonly className = 'tfjs-lora/transformers>WholePatches';
  private readonly patch: [height: number, width: number];

  constructor({patch, ...rest}: {patch: [height: number, width: number]; name?: string}) {
    patch.forEach(edge => checkCount('patch', edge));
    super(rest);
    this.patch = [...patch];
  }

  override computeOutputShape(inputShape: tf.Shape | tf.Shape[]): tf.Shape {
    const [batch = null, height, width, channels = null] = onlyShape(inputShape);
    const [down, across] = this.patch;
    const whole = (edge: number | null | undefined, of: number) => (edge == null ? null : Math.ceil(edge / of) * of);
    return [batch, whole(height, down), whole(width, across), channels];
  }

  protected override compute(inputs: tf.Tensor[]): tf.Tensor {
    const x = asFloat(onlyTensor(inputs)) as tf.Tensor4D;
    const [height, width] = this.patch.map((edge, i) => Math.ceil((x.shape[i + 1] as number) / edge) * edge);
    return padded(x, height as number, width as number);
  }

  override getConfig(): tf.serialization.ConfigDict {
    return {...super.getConfig(), patch: [...this.patch]};
  }
}
registerOwn(WholePatches);
