import * as tf from '@tensorflow/tfjs';
import {denseOp} from '../ops/linear';
import {asMatrix} from '../ops/factors';
import {fieldsOf} from '../../platform/tfjs/fields';
import type {DenseLayer} from '../../platform/tfjs/layerFields';
import {applyLinear, by, type Forward} from './forward';
import {LoRALayer} from './loraLayer';
import {kernelAdaptation} from './adaptation';
import {registerOwn} from '../../platform/tfjs/configs';

/** `Dense`: inputs of any rank, the last axis being the features. */
const denseForward: Forward = (layer, x, call) => {
  const fields = fieldsOf<DenseLayer>(layer);
  // The gradient of tfjs's own product of a higher rank with a matrix has the wrong shape.
  const flat = x.rank === 2 ? x : asMatrix(x);
  const restore = (y: tf.Tensor) => (x.rank === 2 ? y : tf.reshape(y, [...x.shape.slice(0, -1), fields.units]));
  return applyLinear(by(denseOp), flat, fields, call, {separateBias: true, fuses: 'stock'}, restore);
};

/**
 * A `Dense` layer with a low-rank update of its kernel: `y = f(x·(W + s·A·B) + b)`, `A`: `[in, rank]`, `B`:
 * `[rank, out]`.
 *
 * Takes inputs of any rank from 2, the last axis being the features. Trains `rank · (in + out)` parameters instead of
 * `in · out`.
 */
export class LoRADense extends LoRALayer {
  static readonly className = 'tfjs-lora>LoRADense';
  /** @internal */
  static readonly adaptation = kernelAdaptation('Dense', denseForward);
}
registerOwn(LoRADense);
