import * as tf from '@tensorflow/tfjs';
import {count, type Setting} from '../../../core/layers/formulaLayer';
import {asFloat, onlyTensor} from '../../../core/layers/forward';
import {LoRAError, show} from '../../../platform/errors';
import {registerOwn} from '../../../platform/tfjs/configs';
import {definedLayer, defineLayer, factorAndSummand} from './definedLayer';

const list: Setting<readonly number[]> = {};

/**
 * The mask of frames for a mask of samples: `[batch, samples]` and the frames, `[batch, frames, width]` → `[batch,
 * frames]`. A frame counts if convolutions without padding, of these `sizes` and `strides`, make it from the samples of
 * a clip alone.
 *
 * @experimental
 */
export const FrameMask = defineLayer('FrameMask', {
  settings: {sizes: list, strides: list},
  check({sizes, strides}) {
    const [first, second] = [sizes, strides].map((list: unknown) => (Array.isArray(list) ? (list as unknown[]) : []));
    const areCounts = [first, second].flat().every(size => Number.isInteger(size) && Number(size) > 0);
    if (first?.length !== second?.length || !areCounts) {
      throw new LoRAError(
        `sizes and strides must be lists of positive integers, equally long, got ${show(sizes)} and ${show(strides)}.`,
      );
    }
  },
  inputs: 2,
  integers: [0],
  shape: ([, frames = []]) => frames.slice(0, 2),
  formula(o, [mask, frames], {sizes, strides}) {
    const counts = sizes.reduce(
      (steps, size, i) => o.add(o.floor(o.div(o.sub(steps, size), strides[i] ?? 1)), 1),
      o.sum(o.shown(mask), [1]),
    );
    return o.int(o.less(o.range(o.size(frames, 1)), counts));
  },
});

/**
 * Makes frames after the end of a clip blank: logits `[batch, frames, classes]` and a mask, `[batch, frames]`. A blank
 * with a probability of 1 adds nothing to a transcript, nor to the CTC loss, so both need no lengths. `blank` is the
 * class that stands for no character.
 *
 * @experimental
 */
export const BlankFrames = defineLayer('BlankFrames', {
  settings: {blank: count(undefined, 0)},
  inputs: 2,
  integers: [1],
  formula(o, [logits, mask], {blank}, _, [shape]) {
    const seen = o.expandDims(o.shown(mask), [2]);
    const blanks = Array.from({length: shape[2] ?? 0}, (_size, i) => Number(i !== blank) * o.logOfZero());
    const hidden = o.mul(o.sub(1, seen), o.values(blanks));
    return o.add(o.mul(logits, seen), hidden);
  },
});

/**
 * Normalizes each channel over all positions: `[batch, positions, channels]`. It is PyTorch's `GroupNorm` with a group
 * for each channel.
 *
 * @experimental
 */
export const ChannelNormalization = defineLayer('ChannelNormalization', {
  weights: (_, [shape]) => factorAndSummand(shape),
  formula: (o, [x], _, w) => o.normalizeChannels(x, w.gamma, w.beta),
});

/**
 * A convolution of `groups` of channels over the positions of a sequence, `[batch, positions, width]`, whose kernel,
 * over `size` positions, is `g·v/‖v‖` with a norm for each tap (weight normalization, arXiv 1602.07868). It keeps `v`
 * as `direction`, `[size, width / groups, width]`, and `g` as `magnitude`, so files hold it as PyTorch's do. LoRA does
 * not adapt it.
 *
 * @experimental
 */
export class PositionalConvolution extends definedLayer({
  settings: {size: count(), groups: count()},
  misfit: ([shape], {groups}) =>
    (shape.length !== 3 || shape[2] == null || shape[2] % groups !== 0) &&
    `[batch, positions, width], whose width is a multiple of ${groups}`,
  weights({size, groups}, [shape]) {
    const width = Number(shape[2]);
    return {
      direction: {shape: [size, width / groups, width], start: tf.initializers.glorotNormal({})},
      magnitude: {shape: [size, 1, 1], start: tf.initializers.ones()},
      bias: {shape: [width], start: tf.initializers.zeros()},
    };
  },
}) {
  static readonly className = 'tfjs-lora/transformers>PositionalConvolution';

  protected override compute(inputs: tf.Tensor[]): tf.Tensor {
    const {size, groups} = this.settings;
    const {direction, magnitude, bias} = this.variables;
    const before = Math.floor(size / 2);
    const x = tf.pad(asFloat(onlyTensor(inputs)), [
      [0, 0],
      [before, size - 1 - before],
      [0, 0],
    ]);
    const v = direction.variable.read();
    const norms = tf.sqrt(tf.sum(tf.square(v), [1, 2], true));
    const kernel = tf.mul(v, tf.div(magnitude.variable.read(), norms));
    // tfjs cannot differentiate a split into one part.
    const split = (tensor: tf.Tensor) => (groups === 1 ? [tensor] : tf.split(tensor, groups, 2)) as tf.Tensor3D[];
    const kernels = split(kernel);
    const parts = split(x).map((channels, i) => tf.conv1d(channels, kernels[i] as tf.Tensor3D, 1, 'valid'));
    return tf.add(tf.concat(parts, 2), bias.variable.read());
  }
}
registerOwn(PositionalConvolution);
