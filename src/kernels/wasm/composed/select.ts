import * as tf from '@tensorflow/tfjs';
import {wrappedKernel} from './kernel';

/** `Select` of truth values, which have a byte each. The backend's own writes four, beyond the result. */
export const selectKernel = wrappedKernel<tf.SelectInputs, object>(tf.Select, stock => call => {
  const {condition, t, e} = call.inputs as Record<keyof tf.SelectInputs, tf.Tensor>;
  if (t.dtype !== 'bool') {
    return stock(call);
  }
  const chosen = (x: tf.Tensor) => tf.cast(x, 'int32');
  return tf.tidy(() => tf.cast(tf.where(condition, chosen(t), chosen(e)), 'bool'));
});
