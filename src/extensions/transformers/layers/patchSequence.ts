import * as tf from '@tensorflow/tfjs';
import {count, flag, later, type Setting, sizesMatch, type WeightSpec} from '../../../core/layers/formulaLayer';
import {LoRAError, show} from '../../../platform/errors';
import {defineLayer} from './definedLayer';

const gridSetting: Setting<readonly [rows: number, columns: number]> = {
  check(name, value) {
    const sizes = value as unknown[];
    if (
      !Array.isArray(sizes) ||
      sizes.length !== 2 ||
      !sizes.every(size => Number.isInteger(size) && Number(size) > 0)
    ) {
      throw new LoRAError(`${name} must be two positive integers, rows and columns of patches, got ${show(value)}.`);
    }
  },
};

/**
 * The patches of an image as a sequence, with position embeddings, after learned tokens: `[batch, rows, columns,
 * width]` → `[batch, tokens + registers + rows·columns, width]`.
 *
 * If an image has another grid than the table, the position embeddings are resized by bicubic interpolation, like
 * `interpolate_pos_encoding` in transformers. (Dosovitskiy et al., arXiv 2010.11929; registers: Darcet et al., arXiv
 * 2309.16588.)
 *
 * `grid` is the rows and columns of patches that the positions are for, if the layer is `positioned`. `tokens` with
 * positions, such as the class token, precede the patches, and `registers` without positions follow these. With
 * `antialias`, a smaller grid than the table's averages positions instead of skipping some.
 *
 * @throws LoRAError if a setting is out of range, or a table that is not square has to be resized.
 *
 * @experimental
 */
export const PatchSequence = defineLayer('PatchSequence', {
  settings: {
    grid: gridSetting,
    tokens: count(1, 0),
    registers: count(0, 0),
    antialias: flag(false),
    positioned: later(flag(true)),
  },
  misfit: ([shape], {grid: [rows, columns], positioned}) =>
    shape.length !== 4 || shape[3] == null
      ? 'patches, [batch, rows, columns, width]'
      : positioned &&
        rows !== columns &&
        !sizesMatch(shape.slice(1, 3), [rows, columns]) &&
        `${rows} × ${columns} patches, since only the positions of a square grid can be resized`,
  weights({grid: [rows, columns], tokens, registers, positioned}, [shape]) {
    const table = (count: number) => ({
      shape: [count, shape[3] ?? null],
      start: tf.initializers.randomNormal({stddev: 0.02}),
    });
    const entries = [
      ...Array.from({length: tokens}, (_, i) => [`token_${i}`, 1] as const),
      ...(registers > 0 ? [['registers', registers] as const] : []),
      ...(positioned ? [['positions', tokens + rows * columns] as const] : []),
    ];
    return Object.fromEntries(entries.map(([name, size]) => [name, table(size)])) as Record<
      'positions' | 'registers',
      WeightSpec
    >;
  },
  shape([[batch = null, rows, columns, width = null]], {tokens, registers}) {
    return [batch, rows == null || columns == null ? null : tokens + registers + rows * columns, width];
  },
  formula(o, [x], {grid, tokens, registers, antialias, positioned}, w, [[, rows, columns, width]]) {
    const flat = o.reshape(x, [0, -1, width ?? 0]);
    const positionsOf = (from: number, to: number) => o.slice(w.positions, 0, from, to);
    const ofGrid = () => {
      const table = positionsOf(tokens, tokens + grid[0] * grid[1]);
      return rows === grid[0] && columns === grid[1]
        ? table
        : o.resizeTable(table, grid, [o.size(x, 1), o.size(x, 2)], antialias ? 'antialiased' : 'cubic');
    };
    const patches = positioned ? o.add(flat, ofGrid()) : flat;
    const before = Array.from({length: tokens}, (_, i) => {
      const token = w[`token_${i}` as 'registers'];
      return positioned ? o.add(token, positionsOf(i, i + 1)) : token;
    });
    const all = registers > 0 ? [...before, w.registers] : before;
    return all.length === 0
      ? patches
      : o.concat([o.repeat(o.expandDims(o.concat(all, 0), [0]), o.size(x, 0), 3), patches], 1);
  },
});
