import * as tf from '@tensorflow/tfjs';
import {checkCount, LoRAError, showShape} from '../../errors';
import {asFloat} from '../../layers/forward';
import type {CallArgs} from '../../layers/wrapperLayer';
import {shapesOf} from '../../tfjs/shapes';

/** Arguments of {@link PositionEmbedding}. */
export interface PositionEmbeddingArgs {
  /** How many rows the table has. */
  rows: number;
  /** The row of the first place. Default: 0. */
  offset?: number;
  name?: string;
}

/** Adds to each place of a sequence the row of a table for that place: `[batch, places, width]`, table `[rows, width]`. */
export class PositionEmbedding extends tf.layers.Layer {
  static readonly className = 'PositionEmbedding';
  private readonly rows: number;
  private readonly offset: number;
  private embeddings!: tf.LayerVariable;

  constructor({rows, offset = 0, ...rest}: PositionEmbeddingArgs) {
    checkCount('rows', rows);
    checkCount('offset', offset, 0);
    super(rest);
    this.rows = rows;
    this.offset = offset;
    this.supportsMasking = true;
  }

  override build(inputShape: tf.Shape | tf.Shape[]): void {
    this.embeddings = addTable(this, inputShape as tf.Shape, this.rows, table => this.addWeight(...table));
    this.built = true;
  }

  override call(inputs: tf.Tensor | tf.Tensor[], kwargs: CallArgs): tf.Tensor {
    return tf.tidy(() => {
      this.invokeCallHook(inputs, kwargs);
      const x = asFloat([inputs].flat()[0] as tf.Tensor);
      const [, places = 0, width = 0] = x.shape;
      if (places + this.offset > this.rows) {
        throw new LoRAError(
          `"${this.name}" has ${this.rows - this.offset} places, and the sequence ${places}. Cut it, or encode it with {maxLength}.`,
        );
      }
      return tf.add(x, tf.slice(this.embeddings.read(), [this.offset, 0], [places, width]));
    });
  }

  override getConfig(): tf.serialization.ConfigDict {
    return {...super.getConfig(), rows: this.rows, offset: this.offset};
  }
}
tf.serialization.registerClass(PositionEmbedding);

/** Arguments of {@link TypeEmbedding}. */
export interface TypeEmbeddingArgs {
  /** How many rows the table has. */
  rows: number;
  name?: string;
}

/** Adds to each place of a sequence the row of a table for its type: `[batch, places, width]` and types `[batch, places]`; without types, row 0. */
export class TypeEmbedding extends tf.layers.Layer {
  static readonly className = 'TypeEmbedding';
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

  override call(inputs: tf.Tensor | tf.Tensor[], kwargs: CallArgs): tf.Tensor {
    return tf.tidy(() => {
      this.invokeCallHook(inputs, kwargs);
      const [x, types] = [inputs].flat() as [tf.Tensor, tf.Tensor | undefined];
      const table = this.embeddings.read();
      const rows =
        types === undefined
          ? tf.slice(table, [0, 0], [1, table.shape[1] as number])
          : tf.gather(table, tf.cast(types, 'int32'));
      return tf.add(asFloat(x), rows);
    });
  }

  override getConfig(): tf.serialization.ConfigDict {
    return {...super.getConfig(), rows: this.rows};
  }
}
tf.serialization.registerClass(TypeEmbedding);

type Table = [name: string, shape: tf.Shape, dtype: 'float32', initializer: ReturnType<typeof tf.initializers.zeros>];

function addTable(
  layer: tf.layers.Layer,
  shape: tf.Shape,
  rows: number,
  add: (table: Table) => tf.LayerVariable,
): tf.LayerVariable {
  const width = shape.at(-1);
  if (shape.length !== 3 || width == null) {
    throw new LoRAError(`"${layer.name}" adds to sequences, [batch, places, width], got ${showShape(shape)}.`);
  }
  return add(['embeddings', [rows, width], 'float32', tf.initializers.randomNormal({stddev: 0.02})]);
}
