import * as tf from '@tensorflow/tfjs';
import {productOf} from '../../../backends/shared/jointProducts';
import type {OwnKernel} from '../../../backends/shared/registration';
import {isRecording} from '../../../platform/tfjs/engine';

/**
 * tfjs's sum, computed with a product that waits to be computed, such as a residual connection. While a tape records,
 * it keeps the product itself, so that nothing is gained.
 */
export const addKernel: OwnKernel = {
  name: tf.Add,
  purpose: 'deferred products',
  configure: stock =>
    stock && {
      ...stock,
      kernelFunc: params => {
        const {a, b} = params.inputs as {a: tf.Tensor; b: tf.Tensor};
        const sum = isRecording() ? undefined : (productOf(b)?.plus(a) ?? productOf(a)?.plus(b));
        return sum ?? stock.kernelFunc(params);
      },
    },
};
