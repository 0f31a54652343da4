import type * as tf from '@tensorflow/tfjs';
import {showShape} from '../../platform/errors';
import {fieldsOf} from '../../platform/tfjs/fields';
import type {ConvLayer, InnerLayers} from '../../platform/tfjs/layerFields';

/** How a stock class without its own LoRA layer is adapted. */
interface StockByWeights {
  /** The names of the weights that are updated. Their last axis is the output. */
  readonly weights: readonly string[];
  /** Why a layer of the class cannot be adapted, and the way out; `undefined` if it can. */
  refusal?(layer: tf.layers.Layer): string | undefined;
}

/** A row for each stock class that is adapted by the names of its weights. */
export const STOCK_BY_WEIGHTS: Readonly<Record<string, StockByWeights>> = {
  Conv3DTranspose: {weights: ['kernel']},
  'tfjs-lora>SeparableConv1D': {weights: ['depthwise_kernel', 'pointwise_kernel']},
  ConvLSTM2D: {weights: ['kernel', 'recurrent_kernel'], refusal: refuseDilation},
};

function refuseDilation(layer: tf.layers.Layer): string | undefined {
  const {dilationRate} = fieldsOf<ConvLayer>(fieldsOf<Required<InnerLayers>>(layer).cell);
  return dilationRate.some(rate => rate > 1)
    ? `has dilationRate ${showShape(dilationRate)}, for which tfjs has no gradient in a ConvLSTM2D. Exclude the layer.`
    : undefined;
}
