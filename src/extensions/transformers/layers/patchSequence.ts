import * as tf from '@tensorflow/tfjs';
import {checkCount, LoRAError, misfitError, show, showShape} from '../../../platform/errors';
import {asFloat, onlyTensor} from '../../../core/layers/forward';
import {cubicTaps, filteredTaps} from '../ops/resampling';
import {resizeGrid} from '../ops/resizeGrid';
import {registerOwn} from '../../../platform/tfjs/configs';
import {PlainLayer} from './plainLayer';

/** Arguments of {@link PatchSequence}. */
export interface PatchSequenceArgs {
  /** The rows and columns of patches that the position embedding is for. */
  grid: [rows: number, columns: number];
  /** How many tokens with positions precede the patches, such as the class token. Default: 1. */
  tokens?: number;
  /** How many tokens without positions follow these. Default: 0. */
  registers?: number;
  /**
   * Whether a grid smaller than the table averages positions (antialiasing) instead of skipping some. Default: false.
   */
  antialias?: boolean;
  /** Whether there is a position embedding. Default: true. */
  positioned?: boolean;
  name?: string;
}

/**
 * The patches of an image as a sequence, with position embeddings, after learned tokens: `[batch, rows, columns,
 * width]` → `[batch, tokens + registers + rows·columns, width]`.
 *
 * If an image has another grid than the table, the position embeddings are resized by bicubic interpolation, like
 * `interpolate_pos_encoding` in transformers. (Dosovitskiy et al., arXiv 2010.11929; registers: Darcet et al., arXiv
 * 2309.16588.)
 *
 * @throws LoRAError if a setting is out of range, or a table that is not square has to be resized.
 *
 * @experimental
 */
export class PatchSequence extends PlainLayer {
  static readonly className = 'tfjs-lora/transformers>PatchSequence';
  private readonly grid: [number, number];
  private readonly tokens: number;
  private readonly registers: number;
  private readonly antialias: boolean;
  private readonly rows: tf.LayerVariable[] = [];
  private registerRows: tf.LayerVariable | undefined;
  private readonly positioned: boolean;
  private positions: tf.LayerVariable | undefined;

  constructor({grid, tokens = 1, registers = 0, antialias = false, positioned = true, ...rest}: PatchSequenceArgs) {
    const sizes: unknown = grid;
    if (!Array.isArray(sizes) || sizes.length !== 2 || !sizes.every(size => Number.isInteger(size) && size > 0)) {
      throw new LoRAError(`grid must be two positive integers, rows and columns of patches, got ${show(grid)}.`);
    }
    checkCount('tokens', tokens, 0);
    checkCount('registers', registers, 0);
    super(rest);
    this.grid = [...grid];
    this.tokens = tokens;
    this.registers = registers;
    this.antialias = antialias;
    this.positioned = positioned;
  }

  override build(inputShape: tf.Shape | tf.Shape[]): void {
    const shape = inputShape as tf.Shape;
    const width = shape.at(-1);
    if (shape.length !== 4 || width == null) {
      throw misfitError(`"${this.name}" takes patches, [batch, rows, columns, width], got ${showShape(shape)}.`);
    }
    const add = (name: string, rows: number) =>
      this.addWeight(name, [rows, width], 'float32', tf.initializers.randomNormal({stddev: 0.02}));
    for (let i = 0; i < this.tokens; i++) {
      this.rows.push(add(`token_${i}`, 1));
    }
    if (this.registers > 0) {
      this.registerRows = add('registers', this.registers);
    }
    if (this.positioned) {
      this.positions = add('positions', this.tokens + this.grid[0] * this.grid[1]);
    }
    this.built = true;
  }

  override computeOutputShape(inputShape: tf.Shape | tf.Shape[]): tf.Shape {
    const [batch = null, rows, columns, width = null] = inputShape as tf.Shape;
    const patches = rows == null || columns == null ? null : this.tokens + this.registers + rows * columns;
    return [batch, patches, width];
  }

  protected override compute(inputs: tf.Tensor[]): tf.Tensor {
    const x = asFloat(onlyTensor(inputs)) as tf.Tensor4D;
    const [batch, rows, columns, width] = x.shape;
    const table = this.positions?.read() as tf.Tensor2D | undefined;
    const flat = tf.reshape(x, [batch, rows * columns, width]);
    const patches = table
      ? tf.add<tf.Tensor3D>(flat, this.interpolated(tf.slice(table, [this.tokens, 0]), rows, columns))
      : flat;
    const before = this.rows.map((row, i) => {
      const token = row.read() as tf.Tensor2D;
      return table ? tf.add<tf.Tensor2D>(token, tf.slice(table, [i, 0], [1, width])) : token;
    });
    if (this.registerRows !== undefined) {
      before.push(this.registerRows.read() as tf.Tensor2D);
    }
    if (before.length === 0) {
      return patches;
    }
    const ofAll = tf.expandDims<tf.Tensor3D>(tf.concat(before, 0), 0);
    return tf.concat([tf.tile(ofAll, [batch, 1, 1]), patches], 1);
  }

  /** The position embeddings for each patch of a grid, `[rows·columns, width]`. */
  private interpolated(table: tf.Tensor2D, rows: number, columns: number): tf.Tensor2D {
    const [ofRows, ofColumns] = this.grid;
    if (rows === ofRows && columns === ofColumns) {
      return table;
    }
    if (ofRows !== ofColumns) {
      throw misfitError(
        `"${this.name}" has positions for ${ofRows} × ${ofColumns} patches, got ${rows} × ${columns}. Only the positions of a ` +
          'square grid can be resized.',
      );
    }
    const taps = (from: number, to: number) =>
      this.antialias ? filteredTaps(from, to, 'bicubic') : cubicTaps(from, to);
    return resizeGrid(table, this.grid, taps(ofRows, rows), taps(ofColumns, columns));
  }

  override getConfig(): tf.serialization.ConfigDict {
    const {grid, tokens, registers, antialias, positioned} = this;
    return {...super.getConfig(), grid: [...grid], tokens, registers, antialias, ...(!positioned && {positioned})};
  }
}
registerOwn(PatchSequence);
