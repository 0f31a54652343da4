import * as tf from '@tensorflow/tfjs';
import type {CallArgs} from '../layers/layerArgs';
import {fieldsOf} from '../../platform/tfjs/fields';
import {stockClass} from '../../platform/tfjs/stockClass';

// Bundlers leave out what follows if a page loads no models of Keras.

const StockBidirectional = /* @__PURE__ */ stockClass('Bidirectional');

/** A `Bidirectional` whose outputs are zero at masked steps, as in Keras. In tfjs they repeat the last output. */
export class MaskedBidirectional extends StockBidirectional {
  static readonly className: string = 'tfjs-lora>Bidirectional';
  static readonly adaptedLike = 'Bidirectional';

  override call(inputs: tf.Tensor | tf.Tensor[], kwargs: CallArgs): tf.Tensor | tf.Tensor[] {
    return tf.tidy(() => {
      const outputs = [super.call(inputs, kwargs)].flat();
      const {mask} = kwargs as {mask?: tf.Tensor | null};
      const {returnSequences} = fieldsOf<{returnSequences: boolean}>(this);
      const isMasked = mask != null && returnSequences;
      // States have two axes.
      const results = outputs.map(y =>
        isMasked && y.rank === 3 ? tf.mul(y, tf.expandDims(tf.cast(mask, 'float32'), -1)) : y,
      );
      return results.length === 1 ? (results[0] as tf.Tensor) : results;
    });
  }
}
