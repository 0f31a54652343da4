import * as tf from '@tensorflow/tfjs';
import {count, flag, later} from '../../../core/layers/formulaLayer';
import {currentDecoding} from './decoding';
import {shortConvolution} from '../ops/shortConvolution';
import {registerOwn} from '../../../platform/tfjs/configs';
import {definedLayer} from './definedLayer';
import {maskOfPass} from './shownPositions';

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
 * A result depends on `taps` positions: its own and those before it. With `hides`, masked positions count as zeros.
 * Where the gates and values have biases, PyTorch masks the input of these instead: pass false, and a
 * {@link ShownPositions} before the layer that computes them. (Liquid AI, LFM2 Technical Report, 2025.)
 *
 * @throws LoRAError if `taps` is no positive integer, or the shapes of the inputs do not match.
 * @experimental
 */
export class ShortConvolution extends definedLayer({
  settings: {taps: count(), useBias: flag(false), hides: later(flag(true))},
  inputs: 3,
  misfit: ([packed, mask, third]) =>
    (packed.length !== 3 ||
      !(Number(packed[2]) > 0) ||
      Number(packed[2]) % 3 !== 0 ||
      third !== undefined ||
      (mask && mask.length !== 2)) &&
    '[batch, positions, 3·width], and a mask [batch, positions]',
  weights({taps, useBias}, [packed]) {
    const width = Number(packed[2]) / 3;
    const kernel = tf.initializers.randomUniform({minval: -(taps ** -0.5), maxval: taps ** -0.5});
    return {
      kernel: {shape: [taps, 1, width], start: kernel},
      ...(useBias && {bias: {shape: [width], start: tf.initializers.zeros()}}),
    };
  },
  shape: ([[batch = null, positions = null, width]]) => [batch, positions, Number(width) / 3],
}) {
  static readonly className = 'tfjs-lora/transformers>ShortConvolution';

  protected override compute(inputs: tf.Tensor[]): tf.Tensor {
    const [packed, shown] = inputs as [tf.Tensor3D, tf.Tensor2D | undefined];
    const {kernel, bias} = this.variables;
    const decoding = currentDecoding();
    return shortConvolution(
      {
        packed,
        kernel: kernel.variable.read() as tf.Tensor3D,
        bias: bias === undefined ? null : (bias.variable.read() as tf.Tensor1D),
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
      mask: this.settings.hides ? mask : null,
      examples: isPacked ? tf.slice2d(shown, [0, positions], [batch, positions]) : null,
    };
  }
}
registerOwn(ShortConvolution);
