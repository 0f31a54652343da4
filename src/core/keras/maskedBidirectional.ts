import * as tf from '@tensorflow/tfjs';
import type {CallArgs} from '../layers/layerArgs';
import {fieldsOf} from '../../platform/tfjs/fields';
import {stockClass} from '../../platform/tfjs/stockClass';

// A page that loads no models of Keras goes without what follows.

const StockBidirectional = /* @__PURE__ */ stockClass('Bidirectional');

/** A `Bidirectional` whose outputs are zero where the mask hides a step, as in Keras. That of tfjs repeats the last. */
export class MaskedBidirectional extends StockBidirectional {
  static readonly className: string = 'tfjs-lora>Bidirectional';

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
