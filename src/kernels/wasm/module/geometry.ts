import * as tf from '@tensorflow/tfjs';
import type {Padding, Rounding, Shape4D} from '../../geometry';
import type {Native} from './native';

/** One axis of a convolution; what lies beyond the input is zero. */
export interface AxisGeometry {
  readonly input: number;
  readonly output: number;
  readonly kernel: number;
  readonly stride: number;
  readonly before: number;
}

/** A 2-D convolution of channels-last images, without dilation. */
export interface Geometry {
  readonly n: number;
  readonly height: AxisGeometry;
  readonly width: AxisGeometry;
  readonly channelsIn: number;
  readonly channelsOut: number;
}

/** The attributes of tfjs's kernels that say how a convolution walks over its input. */
export interface ConvolutionAttributes {
  readonly strides: number | [number, number];
  readonly pad: Padding;
  readonly dataFormat?: string;
  /** The layers of tfjs pass `null`. */
  readonly dilations?: number | [number, number] | null;
  readonly dimRoundingMode?: Rounding;
}

/** The geometry of a convolution, or `undefined` for what our kernels do not compute: other formats, dilations, and images without a pixel. */
export function geometryOf(
  inputShape: Shape4D,
  kernelShape: Shape4D,
  {strides, pad, dataFormat = 'NHWC', dilations, dimRoundingMode}: ConvolutionAttributes,
  depthwise = false,
): Geometry | undefined {
  if (dataFormat !== 'NHWC' || [dilations ?? 1].flat().some(rate => rate !== 1)) {
    return undefined;
  }
  const info = tf.backend_util.computeConv2DInfo(
    ...([inputShape, kernelShape, strides, 1, pad, dimRoundingMode, depthwise] as const),
  );
  const {top, left} = info.padInfo;
  const axis = (input: number, output: number, kernel: number, stride: number, before: number): AxisGeometry => ({
    ...{input, output, kernel, stride, before},
  });
  const isEmpty = info.outShape.includes(0) || inputShape.includes(0) || kernelShape.includes(0);
  return isEmpty
    ? undefined
    : {
        n: info.batchSize,
        height: axis(info.inHeight, info.outHeight, info.filterHeight, info.strideHeight, top),
        width: axis(info.inWidth, info.outWidth, info.filterWidth, info.strideWidth, left),
        channelsIn: info.inChannels,
        channelsOut: info.outChannels,
      };
}

/** The convolution of the result's gradient that gives the input's, or `undefined` where the strides make it several. */
export function adjointOf({n, height, width, channelsIn, channelsOut}: Geometry): Geometry | undefined {
  const turned = ({input, output, kernel, before}: AxisGeometry): AxisGeometry => ({
    ...{input: output, output: input, kernel, stride: 1, before: kernel - 1 - before},
  });
  const adjoint = {n, height: turned(height), width: turned(width), channelsIn: channelsOut, channelsOut: channelsIn};
  const isOne = height.stride === 1 && width.stride === 1;
  return isOne && height.before < height.kernel && width.before < width.kernel ? adjoint : undefined;
}

/** Zeros behind an axis, so that all windows fit. */
function behind({input, output, kernel, stride, before}: AxisGeometry): number {
  return Math.max(0, (output - 1) * stride + kernel - before - input);
}

/** A kernel in memory; turned, it is `[.., channelsOut, channelsIn]` and is read turned by 180°. */
export interface KernelPlace {
  readonly place: number;
  readonly turned: boolean;
}

/** An image with the zeros around it that all windows need. */
export interface Margins {
  readonly top: number;
  readonly bottom: number;
  readonly left: number;
  readonly right: number;
  readonly height: number;
  readonly width: number;
  /** 0 where there is nothing around. */
  readonly bytes: number;
}

/** @param more zeros behind the axes, for tiles that reach beyond the windows. */
export function marginsOf({n, height, width, channelsIn}: Geometry, more: readonly [number, number] = [0, 0]): Margins {
  const [top, left] = [height.before, width.before];
  const [bottom, right] = [behind(height) + more[0], behind(width) + more[1]];
  const [paddedHeight, paddedWidth] = [top + height.input + bottom, left + width.input + right];
  const bytes = top + bottom + left + right === 0 ? 0 : 4 * n * paddedHeight * paddedWidth * channelsIn;
  return {top, bottom, left, right, height: paddedHeight, width: paddedWidth, bytes};
}

/** Where the padded image lies: in `place`, or where it is, if nothing is around it. */
export function pad(native: Native, geometry: Geometry, margins: Margins, x: number, place: number): number {
  if (margins.bytes === 0) {
    return x;
  }
  const {n, height, width, channelsIn} = geometry;
  const {top, bottom, left, right} = margins;
  native.functions.pad(x, n, height.input, width.input, channelsIn, top, bottom, left, right, place);
  return place;
}

/** Where the taps of a kernel lie from a pixel on, in bytes. */
export function tapOffsets({height, width, channelsIn}: Geometry, lineWidth: number): number[] {
  return Array.from({length: height.kernel * width.kernel}, (_, tap) => {
    const row = Math.floor(tap / width.kernel);
    return 4 * (row * lineWidth + (tap % width.kernel)) * channelsIn;
  });
}
