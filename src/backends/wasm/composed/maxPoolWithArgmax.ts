import * as tf from '@tensorflow/tfjs';
import {wrappedKernel} from '../../shared/kernel';
import {heapViews} from './heap';
import {pooling2D, positionsOfMaxima} from '../../shared/windows';

/** `MaxPoolWithArgmax`. On wasm the stock kernel misses maxima that are not positive. */
export const maxPoolWithArgmax = wrappedKernel<{x: tf.Tensor}, tf.MaxPoolWithArgmaxAttrs, tf.TensorInfo[]>(
  tf.MaxPoolWithArgmax,
  stock => call => {
    const {
      inputs: {x},
      attrs,
      backend,
    } = call;
    if (x.shape.length !== 4) {
      return stock(call); // refuses it; other poolings are refused before their kernel is called
    }
    const pooling = pooling2D(x, attrs);
    const out = backend.makeOutput(pooling.outShape, x.dtype);
    const indices = backend.makeOutput(pooling.outShape, 'int32');
    const [values, maxima, places] = heapViews(backend, x, out, indices) as [Float32Array, Float32Array, Int32Array];
    const image = x.size / pooling.batch;
    positionsOfMaxima(values, pooling).forEach((position, i) => {
      maxima[i] = values[position] ?? -Infinity;
      places[i] = attrs.includeBatchInIndex ? position : position % image;
    });
    return [out, indices];
  },
);
