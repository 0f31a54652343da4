import type * as tf from '@tensorflow/tfjs';
import {fieldsOf} from '../../../platform/tfjs/fields';
import {reshape, transpose, type Values} from '../../../platform/formats/layout';
import {range} from '../lower/lowering';
import type {GraphWriter, Source} from '../write/graphWriter';
import {Fraction} from '../write/messages';
import type {Call, Write} from './call';

/** The settings of a `PatchSequence` of `tfjs-lora/transformers`. */
interface PatchSettings {
  readonly grid: readonly [number, number];
  readonly tokens: number;
  readonly antialias: boolean;
}

/** The version of operations in which `Resize` takes means. */
export const OPSET_OF_MEANS = 18;

/** Whether a layer needs that version. */
export function takesMeans(layer: tf.layers.Layer): boolean {
  return (
    layer.getClassName().endsWith('>PatchSequence') && fieldsOf<{settings: PatchSettings}>(layer).settings.antialias
  );
}

/** Patches as a sequence after tokens. */
export const patchSequence: Write = (out, call) => {
  const {tokens: count} = call.settings<PatchSettings>();
  const rows = range(count).map(i => call.weight(`token_${i}`));
  const {registers, positions} = call.weights;
  const width = call.input.shape[3] ?? 0;
  const x = out.reshape(out.plain(call.input), [0, -1, width]);
  const patches = positions ? out.node('Add', [x, positionRows(out, call, positions.variable, width)]) : x;
  const size = count * width;
  const tokens = (parts: Values[]) =>
    sumOf(positions ? parts : [{shape: [size], data: new Float32Array(size)}, ...parts], 0, size);
  const before = [
    ...(count > 0
      ? [out.weights('tokens', [...(positions ? [positions.variable] : []), ...rows], [1, count, width], tokens)]
      : []),
    ...(registers === undefined
      ? []
      : [out.weight('registers', registers.variable, {shape: [1, ...(registers.shape as number[])]})]),
  ];
  if (before.length === 0) {
    return call.output(patches);
  }
  const batch = out.node('Concat', [out.sizeOf(patches, 0), out.ints([1, 1])], {axis: 0});
  const repeated = before.map(token => out.node('Expand', [token, batch]));
  return call.output(out.node('Concat', [...repeated, patches], {axis: 1}));
};

/** The rows of the table for the patches of an image, `[1, rows·columns, width]`. */
function positionRows(out: GraphWriter, call: Call, positions: Source, width: number): string {
  const {grid, antialias, tokens} = call.settings<PatchSettings>();
  const [ofRows, ofColumns] = grid;
  const [, height, across] = call.input.shape;
  const table = ([table]: Values[]) => sumOf([table as Values], tokens * width, ofRows * ofColumns * width);
  if (height === ofRows && across === ofColumns) {
    return out.weights('positions', [positions], [1, ofRows * ofColumns, width], table);
  }
  const image = out.weights('position_image', [positions], [1, width, ofRows, ofColumns], parts =>
    transpose({...table(parts), shape: [ofRows * ofColumns, width]}, [1, 0]),
  );
  const shape = out.node('Shape', [out.plain(call.input)]);
  const sizes = out.node('Concat', [out.ints([1, width]), out.slice(shape, 0, 1, 3)], {axis: 0});
  const resized = out.node('Resize', [image, '', '', sizes], {
    mode: 'cubic',
    coordinate_transformation_mode: 'half_pixel',
    // As PyTorch does it, and, with means, Pillow.
    cubic_coeff_a: new Fraction(antialias ? -0.5 : -0.75),
    ...(antialias && {antialias: 1, exclude_outside: 1}),
  });
  return out.node('Transpose', [out.reshape(resized, [1, width, -1])], {perm: [0, 2, 1]});
}

/** A part of a table, with rows added to it. */
function sumOf([table, ...rows]: readonly Values[], from: number, count: number): Values {
  const data = (table as Values).data.slice(from, from + count);
  let at = 0;
  for (const row of rows) {
    for (const value of row.data) {
      data[at] = (data[at] ?? 0) + value;
      at++;
    }
  }
  return reshape({shape: [], data}, [count]);
}
