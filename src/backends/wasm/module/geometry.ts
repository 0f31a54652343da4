import {
  type Axis,
  behind,
  type ConvolutionAttributes,
  type Geometry,
  geometryOf,
  type Shape4D,
} from '../../shared/geometry';
import type {NativeFunctions} from './module';
import {BY_NUMBER, type Native} from './native';

/** The geometry of a convolution, or `undefined` if our kernels cannot compute it: formats, dilations, no pixels. */
export function nativeGeometry(
  inputShape: Shape4D,
  kernelShape: Shape4D,
  attrs: ConvolutionAttributes,
  depthwise = false,
): Geometry | undefined {
  const {dataFormat = 'NHWC', dilations} = attrs;
  if (dataFormat !== 'NHWC' || [dilations ?? 1].flat().some(rate => rate !== 1)) {
    return undefined;
  }
  const geometry = geometryOf(inputShape, kernelShape, attrs, depthwise);
  const {n, height, width} = geometry;
  // A kernel that is larger than the images gives less than nothing, which tfjs refuses.
  const isEmpty = [n, height.output, width.output, ...inputShape, ...kernelShape].some(length => length < 1);
  return isEmpty ? undefined : geometry;
}

/** The convolution of the result's gradient that gives the input's; `undefined` if strides make it several. */
export function adjointOf({n, height, width, channelsIn, channelsOut}: Geometry): Geometry | undefined {
  const adjointAxis = ({input, output, kernel, before}: Axis): Axis => ({
    ...{input: output, output: input, kernel, stride: 1, before: kernel - 1 - before},
  });
  const adjoint = {
    n,
    height: adjointAxis(height),
    width: adjointAxis(width),
    channelsIn: channelsOut,
    channelsOut: channelsIn,
  };
  const isOne = height.stride === 1 && width.stride === 1;
  return isOne && height.before < height.kernel && width.before < width.kernel ? adjoint : undefined;
}

/** A kernel in memory. A flipped one is `[.., channelsOut, channelsIn]`, and is read rotated by 180°. */
export interface KernelPlace {
  readonly place: number;
  readonly flipped: boolean;
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

/** @param more zeros after the axes, for tiles that reach beyond the windows. */
export function marginsOf({n, height, width, channelsIn}: Geometry, more: readonly [number, number] = [0, 0]): Margins {
  const [top, left] = [height.before, width.before];
  const [bottom, right] = [height, width].map((axis, i) => Math.max(0, behind(axis)) + (more[i] ?? 0)) as [
    number,
    number,
  ];
  const [paddedHeight, paddedWidth] = [top + height.input + bottom, left + width.input + right];
  const bytes = top + bottom + left + right === 0 ? 0 : 4 * n * paddedHeight * paddedWidth * channelsIn;
  return {top, bottom, left, right, height: paddedHeight, width: paddedWidth, bytes};
}

/** The address of the padded images: `place`, or their own if they have no padding. */
export function paddedImages(native: Native, geometry: Geometry, margins: Margins, x: number, place: number): number {
  if (margins.bytes === 0) {
    return x;
  }
  const {n, height, width, channelsIn} = geometry;
  const [from, to] = [4 * height.input * width.input * channelsIn, margins.bytes / n];
  native.runParts(native.partsOf(n, 1, (BY_NUMBER * margins.bytes) / 4), (thread, {first, size}) => {
    padImages(thread, geometry, margins, x + first * from, size, place + first * to);
  });
  return place;
}

/** Pads some images from `x` on into `place`. */
export function padImages(
  {pad: copy}: NativeFunctions,
  {height, width, channelsIn}: Geometry,
  {top, bottom, left, right}: Margins,
  x: number,
  count: number,
  place: number,
): void {
  copy(x, count, height.input, width.input, channelsIn, top, bottom, left, right, place);
}

/** The offsets of a kernel's taps from a pixel, in bytes. */
export function tapOffsets({height, width, channelsIn}: Geometry, lineWidth: number): number[] {
  return Array.from({length: height.kernel * width.kernel}, (_, tap) => {
    const row = Math.floor(tap / width.kernel);
    return 4 * (row * lineWidth + (tap % width.kernel)) * channelsIn;
  });
}
