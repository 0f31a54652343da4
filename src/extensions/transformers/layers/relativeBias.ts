import * as tf from '@tensorflow/tfjs';
import {count} from '../../../core/layers/formulaLayer';
import {checkCount} from '../../../platform/errors';
import {registerOwn} from '../../../platform/tfjs/configs';
import {definedLayer} from './definedLayer';

/**
 * T5's relative position bias for the scores of each head: `[batch, positions, …]` → `[1, heads, positions,
 * positions]`, from a table `[buckets, heads]`. Each distance below a quarter of the buckets has its own row; longer
 * ones share rows logarithmically, and all from `maxDistance` on share one. Half of the buckets are for keys before a
 * query, half for keys after it. Only the length of the input matters. (Raffel et al., arXiv 1910.10683, §2.1.)
 *
 * @experimental
 */
export class RelativeBias extends definedLayer({
  settings: {heads: count(), buckets: count(32, 4), maxDistance: count(128)},
  check({buckets, maxDistance}) {
    checkCount('maxDistance', maxDistance, Math.floor(buckets / 4) + 1);
  },
  weights: ({heads, buckets}) => ({
    embeddings: {shape: [buckets, heads], start: tf.initializers.randomNormal({stddev: 0.02})},
  }),
  misfit: ([shape]) => shape.length < 2 && 'sequences, [batch, positions, …]',
  shape: ([[, positions = null]], {heads}) => [1, heads, positions, positions],
}) {
  static readonly className = 'tfjs-lora/transformers>RelativeBias';

  protected override compute([x]: [tf.Tensor]): tf.Tensor {
    const positions = x.shape[1] as number;
    const byDistance = Array.from({length: 2 * positions - 1}, (_, i) => this.rowOf(i - positions + 1));
    const rows = new Int32Array(positions * positions);
    for (let query = 0; query < positions; query++) {
      for (let key = 0; key < positions; key++) {
        rows[query * positions + key] = byDistance[key - query + positions - 1] as number;
      }
    }
    const values = tf.gather(this.variables.embeddings.variable.read(), tf.tensor1d(rows, 'int32'));
    return tf.reshape(tf.transpose(values), [1, this.settings.heads, positions, positions]);
  }

  /** The row for a key that is `distance` positions before a query, rounded as in PyTorch. */
  rowOf(distance: number): number {
    const {fround} = Math;
    const {buckets, maxDistance} = this.settings;
    const half = Math.floor(buckets / 2);
    const exact = Math.floor(half / 2);
    const far = Math.abs(distance);
    const first = distance > 0 ? half : 0;
    if (far < exact) {
      return first + far;
    }
    const share = fround(fround(Math.log(fround(far / exact))) / fround(Math.log(maxDistance / exact)));
    return first + Math.min(half - 1, exact + Math.trunc(fround(share * (half - exact))));
  }
}
registerOwn(RelativeBias);
