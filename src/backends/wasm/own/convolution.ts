import * as tf from '@tensorflow/tfjs';
import type {Padding, Rounding, Shape4D} from '../../geometry';
import type {Native} from './native';
import {clampArguments, type Epilogue, multiply, multiplyTransposed, PANEL_ROW, panelBytes, PLAIN} from './products';

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

/** The geometry of a convolution, or `undefined` where our kernels do not go: other formats, dilations, and images without a pixel. */
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

/** A kernel in memory; turned, it is `[.., channelsOut, channelsIn]` and to be turned by 180°. */
export interface KernelPlace {
  readonly place: number;
  readonly turned: boolean;
}

/** `y = clamp(x ∗ W + bias)`. By Winograd's method, where that is allowed and fits, the last bits are others. */
export function convolve(
  native: Native,
  geometry: Geometry,
  x: number,
  kernel: KernelPlace,
  y: number,
  epilogue: Epilogue = PLAIN,
  mayDiffer = false,
): void {
  const {n, height, width, channelsIn, channelsOut} = geometry;
  if (isProductOfPixels(geometry)) {
    const product = {m: n * height.output * width.output, k: channelsIn, n: channelsOut};
    multiply(native, product, x, kernel.place, kernel.turned, y, epilogue);
  } else if (mayDiffer && fitsWinograd(geometry)) {
    convolveByTiles(native, geometry, x, kernel, y, epilogue);
  } else {
    convolveDirectly(native, geometry, x, kernel, y, epilogue);
  }
}

function convolveDirectly(
  native: Native,
  geometry: Geometry,
  x: number,
  {place, turned}: KernelPlace,
  y: number,
  {bias, clamp}: Epilogue,
): void {
  const {functions} = native;
  const {n, height, width, channelsIn, channelsOut} = geometry;
  const taps = height.kernel * width.kernel;
  const panel = taps * channelsIn * PANEL_ROW;
  const margins = marginsOf(geometry);
  const [offsets = 0, panels = 0, padded = 0] = native.reserve(
    ...[4 * taps, panelBytes(taps * channelsIn, channelsOut), margins.bytes],
  );
  if (turned) {
    for (let tap = 0; tap < taps; tap++) {
      const from = place + 4 * (taps - 1 - tap) * channelsIn * channelsOut;
      functions.packColumns(
        from,
        4 * channelsIn,
        channelsIn,
        channelsOut,
        panels + tap * channelsIn * PANEL_ROW,
        panel,
      );
    }
  } else {
    functions.packRows(place, 4 * channelsOut, taps * channelsIn, channelsOut, panels, panel);
  }
  const image = pad(native, geometry, margins, x, padded);
  native.writeIntegers(offsets, tapOffsets(geometry, margins.width));
  functions.convolve(
    ...[image, margins.height, margins.width, channelsIn, n, height.output, width.output, height.stride, width.stride],
    ...[offsets, taps, panels, panel, y, channelsOut, bias, ...clampArguments(clamp)],
  );
}

/** The gradient in the kernel, `[kernelHeight, kernelWidth, channelsIn, channelsOut]`. */
export function convolutionKernelGradient(
  native: Native,
  geometry: Geometry,
  x: number,
  dy: number,
  out: number,
): void {
  const {functions} = native;
  const {n, height, width, channelsIn, channelsOut} = geometry;
  if (isProductOfPixels(geometry)) {
    multiplyTransposed(native, {m: channelsIn, k: n * height.output * width.output, n: channelsOut}, x, dy, out);
    return;
  }
  const taps = height.kernel * width.kernel;
  const margins = marginsOf(geometry);
  const size = 4 * channelsIn * channelsOut;
  const [offsets = 0, turned = 0, padded = 0] = native.reserve(4 * taps, taps * size, margins.bytes);
  const image = pad(native, geometry, margins, x, padded);
  native.writeIntegers(offsets, tapOffsets(geometry, margins.width));
  functions.convolutionKernelGradient(
    ...[image, margins.height, margins.width, channelsIn, n, height.output, width.output, height.stride, width.stride],
    ...[offsets, taps, dy, channelsOut, turned],
  );
  for (let tap = 0; tap < taps; tap++) {
    functions.transpose(turned + tap * size, channelsOut, channelsIn, out + tap * size);
  }
}

/** Whether a convolution is the product of its pixels with a matrix. */
function isProductOfPixels({height, width}: Geometry): boolean {
  return [height, width].every(({kernel, stride, input, output}) => kernel === 1 && stride === 1 && input === output);
}

/** An image with the zeros around it that all windows need. */
interface Margins {
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
function marginsOf({n, height, width, channelsIn}: Geometry, more: readonly [number, number] = [0, 0]): Margins {
  const [top, left] = [height.before, width.before];
  const [bottom, right] = [behind(height) + more[0], behind(width) + more[1]];
  const [paddedHeight, paddedWidth] = [top + height.input + bottom, left + width.input + right];
  const bytes = top + bottom + left + right === 0 ? 0 : 4 * n * paddedHeight * paddedWidth * channelsIn;
  return {top, bottom, left, right, height: paddedHeight, width: paddedWidth, bytes};
}

/** Where the padded image lies: in `place`, or where it is, if nothing is around it. */
function pad(native: Native, geometry: Geometry, margins: Margins, x: number, place: number): number {
  if (margins.bytes === 0) {
    return x;
  }
  const {n, height, width, channelsIn} = geometry;
  const {top, bottom, left, right} = margins;
  native.functions.pad(x, n, height.input, width.input, channelsIn, top, bottom, left, right, place);
  return place;
}

/** Where the taps of a kernel lie from a pixel on, in bytes. */
function tapOffsets({height, width, channelsIn}: Geometry, lineWidth: number): number[] {
  return Array.from({length: height.kernel * width.kernel}, (_, tap) => {
    const row = Math.floor(tap / width.kernel);
    return 4 * (row * lineWidth + (tap % width.kernel)) * channelsIn;
  });
}

/** Outputs in a tile along an axis. */
const TILE = 4;
/** Fewer channels do not pay for the transformations; those of the input are what is transformed most often. */
const FEWEST_CHANNELS = {from: 16, to: 8};
/** Of the tiles' outputs this part at least has to be of use. */
const USEFUL = 0.55;
/** Numbers of one tile that the transformations put aside, in bytes. */
const SCRATCH = 1088;
/** Between the 36 planes, lest they all fall on the same lines of the cache. */
const GAP = 192;

function fitsWinograd({height, width, channelsIn, channelsOut}: Geometry): boolean {
  const isThree = [height, width].every(({kernel, stride}) => kernel === 3 && stride === 1);
  const used = [height, width].reduce((part, {output}) => (part * output) / (Math.ceil(output / TILE) * TILE), 1);
  const areWhole = channelsIn % 4 === 0 && channelsOut % 4 === 0;
  const fit = areWhole && channelsIn >= FEWEST_CHANNELS.from && channelsOut >= FEWEST_CHANNELS.to;
  return isThree && used >= USEFUL && fit;
}

/** By Winograd's method, an image at a time. */
function convolveByTiles(
  native: Native,
  geometry: Geometry,
  x: number,
  {place, turned}: KernelPlace,
  y: number,
  {bias, clamp}: Epilogue,
): void {
  const {functions} = native;
  const {n, height, width, channelsIn, channelsOut} = geometry;
  const [down, across] = [Math.ceil(height.output / TILE), Math.ceil(width.output / TILE)];
  const tiles = down * across;
  const beyond = (count: number, {output}: AxisGeometry) => count * TILE - output;
  // Windows read up to `output + 2`; the tiles up to `4·tiles + 2`.
  const margins = marginsOf(geometry, [beyond(down, height), beyond(across, width)]);
  const plane = {
    kernel: panelBytes(channelsIn, channelsOut) + GAP,
    input: 4 * tiles * channelsIn + GAP,
    output: 4 * tiles * channelsOut + GAP,
  };
  const [scratch = 0, kernels = 0, inputs = 0, outputs = 0, padded = 0] = native.reserve(
    ...[SCRATCH, 36 * plane.kernel, 36 * plane.input, 36 * plane.output, margins.bytes],
  );
  functions.winogradKernel(place, channelsIn, channelsOut, turned ? 1 : 0, kernels, plane.kernel, scratch);
  const image = pad(native, geometry, margins, x, padded);
  const imageBytes = 4 * margins.height * margins.width * channelsIn;
  for (let i = 0; i < n; i++) {
    functions.winogradInput(
      image + i * imageBytes,
      margins.width,
      channelsIn,
      down,
      across,
      inputs,
      plane.input,
      scratch,
    );
    for (let t = 0; t < 36; t++) {
      functions.multiply(
        ...[tiles, channelsOut, channelsIn, inputs + t * plane.input, 4 * channelsIn],
        ...[kernels + t * plane.kernel, channelsIn * PANEL_ROW, outputs + t * plane.output, 4 * channelsOut],
        ...[0, 0, 0, 0, 1],
      );
    }
    functions.winogradOutput(
      ...[outputs, plane.output, channelsOut, down, across],
      ...[y + 4 * i * height.output * width.output * channelsOut, height.output, width.output],
      ...[bias, ...clampArguments(clamp), scratch],
    );
  }
}
