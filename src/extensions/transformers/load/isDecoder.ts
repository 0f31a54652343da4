import type * as tf from '@tensorflow/tfjs';
import {baseOf} from '../../../core/layers/layerMarks';
import {sitesOf} from '../../../core/rewire/walk';
import {Attention} from '../layers/attention';

/** Whether positions of a model see earlier ones alone, as in language models. */
export function isDecoder(model: tf.LayersModel): boolean {
  return sitesOf(model).some(({layer}) => {
    const base = baseOf(layer);
    return base instanceof Attention && base.causal;
  });
}
