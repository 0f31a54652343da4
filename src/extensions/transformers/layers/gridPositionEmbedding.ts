import * as tf from '@tensorflow/tfjs';
import {checkCount, misfitError, showShape} from '../../../platform/errors';
import {asFloat} from '../../../core/layers/forward';
import {shapesOf} from '../../../platform/tfjs/inputs';
import {registerOwn} from '../../../platform/tfjs/configs';
import {gridWeights} from '../ops/gridWeights';
import {addTable} from './table';
import {PlainLayer} from './plainLayer';

/** Arguments of {@link GridPositionEmbedding}. */
export interface GridPositionEmbeddingArgs {
  /** The rows, and as many columns, of the grid that the table is for. */
  edge: number;
  name?: string;
}

/**
 * Adds a learned position embedding to the patches of images of different sizes: patches `[batch, positions, width]`
 * and the rows and columns of each image's patches, `[batch, 2]`; table `[edge², width]`.
 *
 * The table is resized to the grid of each image by bilinear interpolation with antialiasing. Positions after the last
 * patch get the embedding of the first one, as in transformers.
 *
 * @throws LoRAError if `edge` is not a positive integer, or the shapes of the inputs do not match.
 * @experimental
 */
export class GridPositionEmbedding extends PlainLayer {
  static readonly className = 'tfjs-lora/transformers>GridPositionEmbedding';
  private readonly edge: number;
  private embeddings!: tf.LayerVariable;

  constructor({edge, ...rest}: GridPositionEmbeddingArgs) {
    checkCount('edge', edge);
    super(rest);
    this.edge = edge;
  }

  override build(inputShape: tf.Shape | tf.Shape[]): void {
    const [shape] = shapesOf(inputShape);
    this.embeddings = addTable(this, shape, this.edge ** 2, table => this.addWeight(...table));
    this.built = true;
  }

  override computeOutputShape(inputShape: tf.Shape | tf.Shape[]): tf.Shape {
    return shapesOf(inputShape)[0];
  }

  protected override compute(inputs: tf.Tensor[]): tf.Tensor {
    const [x, grids] = inputs.map(asFloat) as [tf.Tensor3D, tf.Tensor2D | undefined];
    const [batch, count] = x.shape;
    if (grids === undefined || !tf.util.arraysEqual(grids.shape, [batch, 2])) {
      throw misfitError(
        `"${this.name}" takes patches, [batch, positions, width], and the rows and columns of each image's patches, ` +
          `[batch, 2]; got ${inputs.map(({shape}) => showShape(shape)).join(', ')}.`,
      );
    }
    const resized = tf.matMul(gridWeights(grids, count, this.edge), this.embeddings.read());
    return tf.add(x, tf.reshape(resized, x.shape));
  }

  override getConfig(): tf.serialization.ConfigDict {
    return {...super.getConfig(), edge: this.edge};
  }
}
registerOwn(GridPositionEmbedding);
