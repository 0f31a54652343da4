import * as tf from '@tensorflow/tfjs';
import type {Fusion, PlainConvolution, Scaling} from '../../fusion';
import {convolve} from './convolution';
import {depthwise, takesDepthwise} from './depthwise';
import {currentNative} from './find';
import {type Geometry, geometryOf} from './geometry';
import type {Native} from './native';
import type {Clamp} from './products';

/** The fused convolution by our module, on the current backend; `undefined` where the module is not in use. */
export function nativeFusion(): Fusion | undefined {
  const native = currentNative();
  return (
    native && {
      takes: convolution => takenGeometry(convolution) !== undefined,
      normalized: (convolution, scaling) => compute(native, convolution, scaling, null),
      rectified: (convolution, scaling, cap) => {
        const y = compute(native, convolution, scaling, {low: 0, high: cap});
        const bits = tf.engine().makeTensorFromTensorInfo(native.words(Math.ceil(y.size / 32)));
        native.functions.toBits(native.at(y), native.at(bits), y.size, cap);
        return [y, bits];
      },
      masked: (dy, bits) => {
        const out = tf.engine().makeTensorFromTensorInfo(native.output(dy.shape));
        native.functions.maskByBits(native.at(bits), native.at(dy), 0, native.at(out), dy.size, 0);
        return out;
      },
    }
  );
}

function takenGeometry({x, filter, depthwise: isDepthwise, ...rest}: PlainConvolution): Geometry | undefined {
  const attributes = {strides: rest.strides, pad: rest.padding};
  const geometry = geometryOf(x.shape, filter.shape, attributes, isDepthwise);
  const fits = !isDepthwise || (geometry !== undefined && takesDepthwise(geometry));
  return fits && x.dtype === 'float32' ? geometry : undefined;
}

/** The convolution with the scale in its kernel and the shift in its bias. */
function compute(native: Native, convolution: PlainConvolution, {m, t}: Scaling, clamp: Clamp | null): tf.Tensor {
  const {x, filter, bias, depthwise: isDepthwise} = convolution;
  const geometry = takenGeometry(convolution);
  if (geometry === undefined) {
    throw new Error('A convolution is fused only where it is taken.');
  }
  const {n, height, width, channelsOut} = geometry;
  const engine = tf.engine();
  const out = engine.makeTensorFromTensorInfo(native.output([n, height.output, width.output, channelsOut]));
  const folded = engine.makeTensorFromTensorInfo(native.output(filter.shape));
  native.functions.scaleColumns(
    ...([native.at(filter), native.at(m), native.at(folded), filter.size / channelsOut, channelsOut] as const),
  );
  const shift = bias === null ? t : tf.tidy(() => tf.add(tf.mul(bias, m), t));
  const epilogue = {bias: native.at(shift), clamp};
  if (isDepthwise) {
    depthwise(native, geometry, native.at(x), native.at(folded), native.at(out), epilogue);
  } else {
    convolve(native, geometry, native.at(x), {place: native.at(folded), turned: false}, native.at(out), epilogue, true);
  }
  folded.dispose();
  if (shift !== t) {
    shift.dispose();
  }
  return out;
}
