import * as tf from '@tensorflow/tfjs';
import {checkCount, misfitError, showShape} from '../../../platform/errors';
import {shapesOf} from '../../../platform/tfjs/inputs';
import {registerOwn} from '../../../platform/tfjs/configs';
import {PlainLayer} from './plainLayer';

/** Arguments of {@link RelativeBias}. */
export interface RelativeBiasArgs {
  heads: number;
  /** How many rows the table has: half for keys before a query, half for keys after it. Default: 32. */
  buckets?: number;
  /** All keys at this distance or farther share a row. Default: 128. */
  maxDistance?: number;
  name?: string;
}

/**
 * T5's relative position bias for the scores of each head: `[batch, positions, …]` → `[1, heads, positions,
 * positions]`, from a table `[buckets, heads]`. Each distance below a quarter of the buckets has its own row; longer
 * ones share rows logarithmically. Only the length of the input matters. (Raffel et al., arXiv 1910.10683, §2.1.)
 *
 * @experimental
 */
export class RelativeBias extends PlainLayer {
  static readonly className = 'tfjs-lora/transformers>RelativeBias';
  private readonly heads: number;
  private readonly buckets: number;
  private readonly maxDistance: number;
  private embeddings!: tf.LayerVariable;

  constructor({heads, buckets = 32, maxDistance = 128, ...rest}: RelativeBiasArgs) {
    checkCount('heads', heads);
    checkCount('buckets', buckets, 4);
    checkCount('maxDistance', maxDistance, Math.floor(buckets / 4) + 1);
    super(rest);
    this.heads = heads;
    this.buckets = buckets;
    this.maxDistance = maxDistance;
  }

  override build(): void {
    const start = tf.initializers.randomNormal({stddev: 0.02});
    this.embeddings = this.addWeight('embeddings', [this.buckets, this.heads], 'float32', start);
    this.built = true;
  }

  override computeOutputShape(inputShape: tf.Shape | tf.Shape[]): tf.Shape {
    const [shape] = shapesOf(inputShape);
    if (shape.length < 2) {
      throw misfitError(`"${this.name}" takes sequences, [batch, positions, …], got ${showShape(shape)}.`);
    }
    const positions = shape[1] ?? null;
    return [1, this.heads, positions, positions];
  }

  protected override compute(inputs: tf.Tensor[]): tf.Tensor {
    const [x] = inputs as [tf.Tensor];
    const positions = x.shape[1] as number;
    const byDistance = Array.from({length: 2 * positions - 1}, (_, i) => this.rowOf(i - positions + 1));
    const rows = new Int32Array(positions * positions);
    for (let query = 0; query < positions; query++) {
      for (let key = 0; key < positions; key++) {
        rows[query * positions + key] = byDistance[key - query + positions - 1] as number;
      }
    }
    const values = tf.gather(this.embeddings.read(), tf.tensor1d(rows, 'int32'));
    return tf.reshape(tf.transpose(values), [1, this.heads, positions, positions]);
  }

  /** The row for a key that is `distance` positions before a query, rounded as in PyTorch. */
  private rowOf(distance: number): number {
    const {fround} = Math;
    const half = Math.floor(this.buckets / 2);
    const exact = Math.floor(half / 2);
    const far = Math.abs(distance);
    const first = distance > 0 ? half : 0;
    if (far < exact) {
      return first + far;
    }
    const share = fround(fround(Math.log(fround(far / exact))) / fround(Math.log(this.maxDistance / exact)));
    return first + Math.min(half - 1, exact + Math.trunc(fround(share * (half - exact))));
  }

  override getConfig(): tf.serialization.ConfigDict {
    const {heads, buckets, maxDistance} = this;
    return {...super.getConfig(), heads, buckets, maxDistance};
  }
}
registerOwn(RelativeBias);
