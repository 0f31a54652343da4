import {reshape, transpose, type Values} from '../../../platform/formats/layout';
import {channelsFirst, type Source, type Tensor} from '../write/graphWriter';
import {Fraction, TYPE} from '../write/messages';
import type {Write} from './call';

// Layers of sounds of `tfjs-lora/transformers`, `[batch, positions, channels]`.

const FIRST = channelsFirst(3);

const timePadding: Write = (out, call) => {
  const {before, after} = call.fields<{before: number; after: number}>();
  return call.output(out.node('Pad', [out.plain(call.input), out.ints([0, before, 0, 0, after, 0])]));
};

const channelNormalization: Write = (out, call) => {
  const {gamma, beta} = call.fields<{gamma: Source; beta: Source}>();
  const inputs = [out.held(call.input, FIRST), out.weight('gamma', gamma), out.weight('beta', beta)];
  return call.output(out.node('InstanceNormalization', inputs, {epsilon: new Fraction(1e-5)}), FIRST);
};

/** A grouped convolution, with its kernel `g·v/‖v‖` as `[width, width / groups, size]`. */
const positionalConvolution: Write = (out, call) => {
  const {size, groups, direction, magnitude, bias} = call.fields<
    Record<'size' | 'groups', number> & Record<'direction' | 'magnitude' | 'bias', Source>
  >();
  const [, channels = 1, width = 1] = direction.shape as number[];
  const kernel = out.weights('kernel', [direction, magnitude], [width, channels, size], ([v, g]) =>
    transpose(normalizedTaps(v as Values, g as Values), [2, 1, 0]),
  );
  const before = Math.floor(size / 2);
  const inputs = [out.held(call.input, FIRST), kernel, out.weight('bias', bias)];
  const y = out.node('Conv', inputs, {kernel_shape: [size], pads: [before, size - 1 - before], group: groups});
  return call.output(y, FIRST);
};

/** Each tap of a kernel, `[size, …]`, scaled to its magnitude. */
function normalizedTaps({shape, data}: Values, {data: magnitudes}: Values): Values {
  const length = data.length / magnitudes.length;
  const scaled = Array.from(magnitudes, (magnitude, tap) => {
    const own = data.subarray(tap * length, (tap + 1) * length);
    const factor = magnitude / Math.sqrt(own.reduce((sum, value) => sum + value * value, 0));
    return own.map(value => value * factor);
  });
  const result = new Float32Array(data.length);
  scaled.forEach((own, tap) => result.set(own, tap * length));
  return reshape({shape: [], data: result}, shape);
}

const frameMask: Write = (out, call) => {
  const {sizes, strides} = call.fields<Record<'sizes' | 'strides', readonly number[]>>();
  const [mask, frames] = call.inputs as [Tensor, Tensor];
  const samples = out.reduce('ReduceSum', out.shown(mask), [1], true);
  const counts = sizes.reduce((count, size, i) => {
    const steps = out.node('Div', [out.node('Sub', [count, out.float(size)]), out.float(strides[i] ?? 1)]);
    return out.node('Add', [out.node('Floor', [steps]), out.float(1)]);
  }, samples);
  const positions = out.positions(out.sizeOf(frames.name, frames.order.indexOf(1)));
  const seen = out.node('Less', [out.cast(positions, TYPE.float), counts]);
  return Object.assign(call.output(out.cast(seen, TYPE.int32)), {type: TYPE.int32});
};

const blankFrames: Write = (out, call) => {
  const {blank} = call.fields<{blank: number}>();
  const [logits, mask] = call.inputs as [Tensor, Tensor];
  const seen = out.unsqueeze(out.shown(mask), [2]);
  const certain = Array.from({length: logits.shape[2] ?? 0}, (_, i) => (i === blank ? 0 : -1e30));
  const hidden = out.node('Mul', [out.node('Sub', [out.float(1), seen]), out.floats(certain)]);
  return call.output(out.node('Add', [out.node('Mul', [out.plain(logits), seen]), hidden]));
};

export const SOUND_LAYERS: Readonly<Record<string, Write>> = {
  TimePadding: timePadding,
  ChannelNormalization: channelNormalization,
  PositionalConvolution: positionalConvolution,
  FrameMask: frameMask,
  BlankFrames: blankFrames,
};
