import type * as tf from '@tensorflow/tfjs';
import {baseOf} from '../../../core/layers/layerMarks';
import {sitesOf} from '../../../core/rewire/walk';
import {Attention} from '../layers/attention';

/** Whether positions of a model see earlier ones alone, as in language models. */
export function isDecoder(model: tf.LayersModel): boolean {
  return sitesOf(model).some(({layer}) => {
    const base = baseOf(layer);
    return isAttention(base) && base.causal;
  });
}

/** Whether a layer is an `Attention`, which another copy of this library may have made. */
export function isAttention(layer: tf.layers.Layer): layer is Attention {
  return layer.getClassName() === Attention.className;
}
