import {reshape, transpose, type Values} from '../../../platform/formats/layout';
import {channelsFirst, type Source} from '../write/graphWriter';
import type {Write} from './call';

// Layers of sounds of `tfjs-lora/transformers`, `[batch, positions, channels]`.

const FIRST = channelsFirst(3);

/** A grouped convolution, with its kernel `g·v/‖v‖` as `[width, width / groups, size]`. */
const positionalConvolution: Write = (out, call) => {
  const {size, groups} = call.settings<Record<'size' | 'groups', number>>();
  const [direction, magnitude, bias] = ['direction', 'magnitude', 'bias'].map(name => call.weight(name)) as [
    Source,
    Source,
    Source,
  ];
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
    const values = data.subarray(tap * length, (tap + 1) * length);
    const factor = magnitude / Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
    return values.map(value => value * factor);
  });
  const result = new Float32Array(data.length);
  scaled.forEach((values, tap) => result.set(values, tap * length));
  return reshape({shape: [], data: result}, shape);
}

export const SOUND_LAYERS: Readonly<Record<string, Write>> = {
  PositionalConvolution: positionalConvolution,
};
