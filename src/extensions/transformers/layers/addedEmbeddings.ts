import * as tf from '@tensorflow/tfjs';
import {count, nullable} from '../../../core/layers/formulaLayer';
import {checkCount, misfitError, showShape} from '../../../platform/errors';
import {registerOwn} from '../../../platform/tfjs/configs';
import {currentDecoding} from './decoding';
import {definedLayer} from './definedLayer';
import {isNoSequence, SEQUENCES, tableOf} from './table';

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
export class PositionEmbedding extends definedLayer({
  settings: {rows: count(), offset: count(0, 0), padding: nullable<number>({})},
  check({offset, padding}) {
    checkCount('offset', offset, padding === null ? 0 : 1);
  },
  inputs: 2,
  integers: [1],
  keepsMask: true,
  misfit: ([shape]) => isNoSequence(shape) && SEQUENCES,
  weights: ({rows}, [shape]) => tableOf(rows, shape),
  formula(o, [x, tokens], {offset, padding}, w) {
    const table = w.embeddings;
    if (padding === null || tokens === undefined) {
      return o.add(x, o.slice(table, 0, offset, o.plus(o.size(x, 1), offset)));
    }
    const isToken = o.isNot(tokens, padding);
    const order = o.mul(o.cumsum(isToken, 1), isToken);
    return o.add(x, o.gather(table, o.add(order, offset - 1)));
  },
}) {
  static readonly className = 'tfjs-lora/transformers>PositionEmbedding';

  constructor({...args}: PositionEmbeddingArgs) {
    super(args);
  }

  /** The longest sequence, in positions. @internal */
  get positions(): number {
    return this.settings.rows - this.settings.offset;
  }

  protected override compute(inputs: tf.Tensor[]): tf.Tensor {
    const [x, tokens] = inputs as [tf.Tensor, tf.Tensor?];
    const [batch = 0, length = 0] = x.shape;
    const decoding = currentDecoding();
    if (decoding !== undefined) {
      const rows = tf.add(decoding.positions, tf.scalar(this.settings.offset, 'int32'));
      return tf.add(x, tf.gather(this.variables.embeddings.variable.read(), rows));
    }
    if (length > this.positions) {
      throw misfitError(
        `"${this.name}" has ${this.positions} positions, and the sequence has ${length}. Cut it, or encode it with {maxLength}.`,
      );
    }
    if (this.settings.padding === null) {
      return super.compute([x]);
    }
    const [rows, columns = 0] = tokens?.shape ?? [];
    if (tokens === undefined || rows !== batch || ![length, 2 * length].includes(columns)) {
      throw misfitError(
        `"${this.name}" derives positions from tokens, [batch, positions], as a second input; got ` +
          `${tokens ? showShape(tokens.shape) : 'none'}.`,
      );
    }
    // If rows contain several examples, the mask is followed by their indices.
    return super.compute([x, tf.slice(tokens, [0, 0], [batch, length])]);
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
export class TypeEmbedding extends definedLayer({
  settings: {rows: count()},
  inputs: 2,
  integers: [1],
  keepsMask: true,
  misfit: ([shape]) => isNoSequence(shape) && SEQUENCES,
  weights: ({rows}, [shape]) => tableOf(rows, shape),
  formula(o, [x, types], _, w) {
    const table = w.embeddings;
    return o.add(x, types === undefined ? o.slice(table, 0, 0, 1) : o.gather(table, types));
  },
}) {
  static readonly className = 'tfjs-lora/transformers>TypeEmbedding';

  constructor({...args}: TypeEmbeddingArgs) {
    super(args);
  }
}
registerOwn(TypeEmbedding);
