import * as tf from '@tensorflow/tfjs';
import type {FusedConvolution, PlainConvolution, Scaling} from '../../shared/launches';
import type {Geometry} from '../../shared/geometry';
import {convolve} from './convolution';
import {convolveDepthwise, takesDepthwise} from './depthwise';
import {nativeGeometry} from './geometry';
import {BY_NUMBER, type Native} from './native';
import type {Clamp} from './products';

/** The fused convolution by our module. */
export function fusedConvolution(native: Native): FusedConvolution {
  return {
    takes: convolution => takenGeometry(convolution) !== undefined,
    normalized: (convolution, scaling) => compute(native, convolution, scaling, null),
    rectified: (convolution, scaling, cap) => {
      const y = compute(native, convolution, scaling, {low: 0, high: cap});
      const words = Math.ceil(y.size / 32);
      const bits = tf.engine().makeTensorFromTensorInfo(native.words(words + 1));
      const [from, to] = [native.at(y), native.at(bits)];
      const unknown = to + 4 * words;
      native.writeFloats(unknown, [0]);
      const isOpen = cap === Infinity;
      native.runParts(native.partsOf(y.size, 32, BY_NUMBER * y.size), (thread, {first, size}) => {
        thread.toBits(from + 4 * first, to + first / 8, size, isOpen ? NaN : cap, unknown);
      });
      if (native.floats(unknown, 1)[0] === 0) {
        return [y, bits];
      }
      // A bit cannot represent NaN.
      bits.dispose();
      return [y, tf.tidy(() => tf.step(isOpen ? y : tf.mul(y, tf.sub(cap, y))))];
    },
    masked: (dy, mask) => {
      if (mask.dtype === 'float32') {
        return tf.mul(dy, mask);
      }
      const out = tf.engine().makeTensorFromTensorInfo(native.output(dy.shape));
      const [bits, from, to] = [mask, dy, out].map(tensor => native.at(tensor)) as [number, number, number];
      native.runParts(native.partsOf(dy.size, 32, BY_NUMBER * dy.size), (thread, {first, size}) => {
        thread.maskByBits(bits + first / 8, from + 4 * first, to + 4 * first, size);
      });
      return out;
    },
  };
}

function takenGeometry({x, filter, depthwise: isDepthwise, strides, padding}: PlainConvolution): Geometry | undefined {
  const attributes = {strides, pad: padding};
  const geometry = nativeGeometry(x.shape, filter.shape, attributes, isDepthwise);
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
    convolveDepthwise(native, geometry, native.at(x), native.at(folded), native.at(out), epilogue);
  } else {
    convolve(
      native,
      geometry,
      native.at(x),
      {place: native.at(folded), flipped: false},
      native.at(out),
      epilogue,
      true,
    );
  }
  folded.dispose();
  if (shift !== t) {
    shift.dispose();
  }
  return out;
}
