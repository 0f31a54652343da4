import * as tf from '@tensorflow/tfjs';
import {count, flag, later, type Setting} from '../../../core/layers/formulaLayer';
import {LoRAError, misfitError, show} from '../../../platform/errors';
import {cubicTaps, filteredTaps} from '../ops/resampling';
import {resizeGrid} from '../ops/resizeGrid';
import {registerOwn} from '../../../platform/tfjs/configs';
import {definedLayer} from './definedLayer';

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
export class PatchSequence extends definedLayer({
  settings: {
    grid: gridSetting,
    tokens: count(1, 0),
    registers: count(0, 0),
    antialias: flag(false),
    positioned: later(flag(true)),
  },
  misfit: ([shape]) => (shape.length !== 4 || shape[3] == null) && 'patches, [batch, rows, columns, width]',
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
    return Object.fromEntries(entries.map(([name, size]) => [name, table(size)]));
  },
  shape([[batch = null, rows, columns, width = null]], {tokens, registers}) {
    return [batch, rows == null || columns == null ? null : tokens + registers + rows * columns, width];
  },
}) {
  static readonly className = 'tfjs-lora/transformers>PatchSequence';

  /** A weight, if the layer has it. */
  private table(name: string): tf.Tensor2D | undefined {
    return this.variables[name]?.variable.read() as tf.Tensor2D | undefined;
  }

  protected override compute([x]: [tf.Tensor4D]): tf.Tensor {
    const {tokens} = this.settings;
    const [batch, rows, columns, width] = x.shape;
    const table = this.table('positions');
    const flat = tf.reshape(x, [batch, rows * columns, width]);
    const patches = table
      ? tf.add<tf.Tensor3D>(flat, this.interpolated(tf.slice(table, [tokens, 0]), rows, columns))
      : flat;
    const before = Array.from({length: tokens}, (_, i) => {
      const token = this.table(`token_${i}`) as tf.Tensor2D;
      return table ? tf.add<tf.Tensor2D>(token, tf.slice(table, [i, 0], [1, width])) : token;
    });
    const registers = this.table('registers');
    if (registers !== undefined) {
      before.push(registers);
    }
    if (before.length === 0) {
      return patches;
    }
    const ofAll = tf.expandDims<tf.Tensor3D>(tf.concat(before, 0), 0);
    return tf.concat([tf.tile(ofAll, [batch, 1, 1]), patches], 1);
  }

  /** The position embeddings for each patch of a grid, `[rows·columns, width]`. */
  private interpolated(table: tf.Tensor2D, rows: number, columns: number): tf.Tensor2D {
    const {grid, antialias} = this.settings;
    const [ofRows, ofColumns] = grid;
    if (rows === ofRows && columns === ofColumns) {
      return table;
    }
    if (ofRows !== ofColumns) {
      throw misfitError(
        `"${this.name}" has positions for ${ofRows} × ${ofColumns} patches, got ${rows} × ${columns}. Only the positions of a ` +
          'square grid can be resized.',
      );
    }
    const taps = (from: number, to: number) => (antialias ? filteredTaps(from, to, 'bicubic') : cubicTaps(from, to));
    return resizeGrid(table, grid, taps(ofRows, rows), taps(ofColumns, columns));
  }
}
registerOwn(PatchSequence);
