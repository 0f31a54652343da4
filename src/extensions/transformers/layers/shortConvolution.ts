import * as tf from '@tensorflow/tfjs';
import {checkCount, misfitError, showShape} from '../../../platform/errors';
import {currentDecoding} from './decoding';
import {shortConvolution} from '../ops/shortConvolution';
import {asFloat} from '../../../core/layers/forward';
import {shapesOf} from '../../../platform/tfjs/inputs';
import {registerOwn} from '../../../platform/tfjs/configs';
import {PlainLayer} from './plainLayer';
import {maskOfPass} from './shownPositions';

/** Arguments of {@link ShortConvolution}. */
export interface ShortConvolutionArgs {
  /** How many positions a result depends on: its own and those before it. */
  taps: number;
  /** Whether the convolution has a bias. Default: false. */
  useBias?: boolean;
  /**
   * Whether masked positions count as zeros. Default: true. Where the gates and values have biases, PyTorch masks the
   * input of these instead: pass false, and a {@link ShownPositions} before the layer that computes them.
   */
  hides?: boolean;
  name?: string;
}

/**
 * The short convolution of LFM2, `after·(conv(before·values) + bias)`: a causal convolution of each channel between two
 * gates. Its input has both gates and the values, as one `Dense` layer computes them.
 *
 *     // [batch, n, 3·width] → [batch, n, width]
 *     convolution.apply(packed)
 *     // mask [batch, n]: 0 for positions that count as zeros. If rows hold several examples, [batch, 2·n]: followed by
 *     // the number of each position's example
 *     convolution.apply([packed, mask])
 *
 * (Liquid AI, LFM2 Technical Report, 2025.)
 *
 * @throws LoRAError if `taps` is no positive integer, or the shapes of the inputs do not match.
 * @experimental
 */
export class ShortConvolution extends PlainLayer {
  static readonly className = 'tfjs-lora/transformers>ShortConvolution';
  private readonly taps: number;
  private readonly useBias: boolean;
  private readonly hides: boolean;
  private kernel!: tf.LayerVariable;
  private bias: tf.LayerVariable | null = null;

  constructor({taps, useBias = false, hides = true, ...rest}: ShortConvolutionArgs) {
    checkCount('taps', taps);
    super(rest);
    this.taps = taps;
    this.useBias = useBias;
    this.hides = hides;
  }

  override build(inputShape: tf.Shape | tf.Shape[]): void {
    const width = this.computeOutputShape(inputShape)[2] as number;
    const start = tf.initializers.randomUniform({minval: -(this.taps ** -0.5), maxval: this.taps ** -0.5});
    this.kernel = this.addWeight('kernel', [this.taps, 1, width], 'float32', start);
    this.bias = this.useBias ? this.addWeight('bias', [width], 'float32', tf.initializers.zeros()) : null;
    this.built = true;
  }

  override computeOutputShape(inputShape: tf.Shape | tf.Shape[]): tf.Shape {
    const [shape, mask, more] = shapesOf(inputShape);
    const [batch = null, positions = null, packed] = shape;
    const width = (packed ?? NaN) / 3;
    if (shape.length !== 3 || !Number.isInteger(width) || more !== undefined || (mask && mask.length !== 2)) {
      const shapes = shapesOf(inputShape).map(each => showShape(each));
      throw misfitError(
        `"${this.name}" takes [batch, positions, 3·width], and a mask [batch, positions]; got ${shapes.join(', ')}.`,
      );
    }
    return [batch, positions, width];
  }

  protected override compute(inputs: tf.Tensor[]): tf.Tensor {
    const [packed, shown] = inputs.map(asFloat) as [tf.Tensor3D, tf.Tensor2D | undefined];
    const decoding = currentDecoding();
    return shortConvolution(
      {
        packed,
        kernel: this.kernel.read() as tf.Tensor3D,
        bias: this.bias && (this.bias.read() as tf.Tensor1D),
        ...this.masksOf(shown, packed.shape, decoding !== undefined),
      },
      decoding && ((product, count) => decoding.recent.preceding(this, product, count)),
    );
  }

  /** The mask and the examples of the positions of this pass. While decoding, the mask has earlier positions too. */
  private masksOf(
    shown: tf.Tensor2D | undefined,
    [batch, positions]: tf.Tensor3D['shape'],
    isDecoding: boolean,
  ): {mask: tf.Tensor2D | null; examples: tf.Tensor2D | null} {
    if (shown === undefined) {
      return {mask: null, examples: null};
    }
    const mask = maskOfPass(this.name, shown, [batch, positions]);
    const isPacked = !isDecoding && shown.shape[1] === 2 * positions;
    return {
      mask: this.hides ? mask : null,
      examples: isPacked ? tf.slice2d(shown, [0, positions], [batch, positions]) : null,
    };
  }

  override getConfig(): tf.serialization.ConfigDict {
    const {taps, useBias, hides} = this;
    return {...super.getConfig(), taps, useBias, ...(!hides && {hides})};
  }
}
registerOwn(ShortConvolution);
