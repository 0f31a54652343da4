import * as tf from '@tensorflow/tfjs';
import {checkCount, misfitError, showShape} from '../../../platform/errors';
import {asFloat} from '../../../core/layers/forward';
import {currentDecoding} from './decoding';
import {shapesOf} from '../../../platform/tfjs/inputs';
import {addTable} from './table';
import {registerOwn} from '../../../platform/tfjs/configs';
import {PlainLayer} from './plainLayer';

/** Arguments of {@link PositionEmbedding}. */
export interface PositionEmbeddingArgs {
  /** How many rows the table has. */
  rows: number;
  /** The row of the first position. Default: 0. */
  offset?: number;
  /**
   * The padding token. If given, positions skip padding, as in RoBERTa; padding has the row before the first. The
   * tokens, `[batch, positions]`, are then a second input; or the mask, with 0 for `padding`, as in OPT. Default: all
   * positions are counted.
   */
  padding?: number | null;
  /** The name of the layer. Default: one that tfjs makes. */
  name?: string;
}

/**
 * Adds a learned position embedding to a sequence: `[batch, positions, width]`, table `[rows, width]`. With `padding`,
 * the positions are derived from the tokens, a second input.
 *
 * @experimental
 */
export class PositionEmbedding extends PlainLayer {
  static readonly className = 'tfjs-lora/transformers>PositionEmbedding';
  private readonly rows: number;
  private readonly offset: number;
  private readonly padding: number | null;
  private embeddings!: tf.LayerVariable;

  constructor({rows, offset = 0, padding = null, ...rest}: PositionEmbeddingArgs) {
    checkCount('rows', rows);
    checkCount('offset', offset, padding === null ? 0 : 1);
    super(rest);
    this.rows = rows;
    this.offset = offset;
    this.padding = padding;
    this.supportsMasking = true;
  }

  override build(inputShape: tf.Shape | tf.Shape[]): void {
    const [shape] = shapesOf(inputShape);
    this.embeddings = addTable(this, shape, this.rows, table => this.addWeight(...table));
    this.built = true;
  }

  /** The longest sequence, in positions. @internal */
  get positions(): number {
    return this.rows - this.offset;
  }

  override computeOutputShape(inputShape: tf.Shape | tf.Shape[]): tf.Shape {
    return shapesOf(inputShape)[0];
  }

  protected override compute(inputs: tf.Tensor[]): tf.Tensor {
    const [given, ids] = inputs as [tf.Tensor, tf.Tensor | undefined];
    const x = asFloat(given);
    const [, count = 0, width = 0] = x.shape;
    const decoding = currentDecoding();
    const table = this.embeddings.read();
    if (decoding !== undefined) {
      return tf.add(x, tf.gather(table, tf.add(decoding.positions, tf.scalar(this.offset, 'int32'))));
    }
    if (count > this.positions) {
      throw misfitError(
        `"${this.name}" has ${this.positions} positions, and the sequence has ${count}. Cut it, or encode it with {maxLength}.`,
      );
    }
    if (this.padding === null) {
      return tf.add(x, tf.slice(table, [this.offset, 0], [count, width]));
    }
    const [batch = 0] = x.shape;
    if (ids === undefined || !(ids.shape[0] === batch && [count, 2 * count].includes(ids.shape[1] ?? 0))) {
      throw misfitError(
        `"${this.name}" derives positions from tokens, [batch, positions], as a second input; got ` +
          `${ids ? showShape(ids.shape) : 'none'}.`,
      );
    }
    // If rows contain several examples, the mask is followed by their indices.
    return tf.add(x, tf.gather(table, this.rowsOf(tf.slice(ids, [0, 0], [batch, count]), this.padding)));
  }

  /** The row for each token. */
  private rowsOf(ids: tf.Tensor, padding: number): tf.Tensor {
    const counts = tf.cast(tf.notEqual(ids, padding), 'float32');
    const order = tf.mul(tf.cumsum(counts, 1), counts);
    return tf.cast(tf.add(order, this.offset - 1), 'int32');
  }

  override getConfig(): tf.serialization.ConfigDict {
    return {...super.getConfig(), rows: this.rows, offset: this.offset, padding: this.padding};
  }
}
registerOwn(PositionEmbedding);

/** Arguments of {@link TypeEmbedding}. */
export interface TypeEmbeddingArgs {
  /** How many rows the table has. */
  rows: number;
  /** The name of the layer. Default: one that tfjs makes. */
  name?: string;
}

/**
 * Adds an embedding of token types to a sequence: `[batch, positions, width]` and types `[batch, positions]`. Without
 * types, every token has type 0.
 *
 * @experimental
 */
export class TypeEmbedding extends PlainLayer {
  static readonly className = 'tfjs-lora/transformers>TypeEmbedding';
  private readonly rows: number;
  private embeddings!: tf.LayerVariable;

  constructor({rows, ...rest}: TypeEmbeddingArgs) {
    checkCount('rows', rows);
    super(rest);
    this.rows = rows;
    this.supportsMasking = true;
  }

  override build(inputShape: tf.Shape | tf.Shape[]): void {
    const [shape] = shapesOf(inputShape);
    this.embeddings = addTable(this, shape, this.rows, table => this.addWeight(...table));
    this.built = true;
  }

  override computeOutputShape(inputShape: tf.Shape | tf.Shape[]): tf.Shape {
    return shapesOf(inputShape)[0];
  }

  protected override compute(inputs: tf.Tensor[]): tf.Tensor {
    const [x, types] = inputs as [tf.Tensor, tf.Tensor | undefined];
    const table = this.embeddings.read();
    const rows =
      types === undefined
        ? tf.slice(table, [0, 0], [1, table.shape[1] as number])
        : tf.gather(table, tf.cast(types, 'int32'));
    return tf.add(asFloat(x), rows);
  }

  override getConfig(): tf.serialization.ConfigDict {
    return {...super.getConfig(), rows: this.rows};
  }
}
registerOwn(TypeEmbedding);
