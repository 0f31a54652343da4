import * as tf from '@tensorflow/tfjs';

/** Padding as tfjs takes it: a rule, one number for all sides, or two for each. */
export type Padding = Parameters<typeof tf.conv2d>[3];

/** `[[0, 0], [top, bottom], [left, right], [0, 0]]` */
export type ExplicitPadding = Exclude<Padding, string | number>;

/** The attributes of tfjs's kernels that describe how a convolution moves over its input. */
export interface ConvolutionAttributes {
  readonly strides: number | [height: number, width: number];
  readonly pad: Padding;
  /** How fractions are rounded where a number as padding does not fit the stride. */
  readonly dimRoundingMode?: Parameters<typeof tf.conv2d>[6];
  readonly dataFormat?: string;
  /** The layers of tfjs pass `null`. */
  readonly dilations?: number | [number, number] | null;
}

/** `[batch, height, width, channels]`, or `[height, width, in, out]` for a kernel. */
export type Shape4D = [number, number, number, number];

/** How the kernel of a convolution, or the window of a pooling, moves along the axes of its input. */
export interface ConvSettings<Axes = [height: number, width: number], Pads = 'valid' | 'same'> {
  readonly strides: Axes;
  readonly padding: Pads;
  readonly dilations: Axes;
}

/**
 * One spatial axis of a convolution or a pooling: output `y` reads the inputs `stride·y + tap − before`. Those outside
 * `[0, input)` are zero; a pooling passes over them.
 */
export interface Axis {
  readonly input: number;
  readonly output: number;
  /** Number of taps of the kernel, or the size of the window. */
  readonly kernel: number;
  readonly stride: number;
  /** Zeros in front. */
  readonly before: number;
}

/** A 2-D convolution of channels-last images, without dilation. */
export interface Geometry {
  readonly n: number;
  readonly height: Axis;
  readonly width: Axis;
  readonly channelsIn: number;
  readonly channelsOut: number;
}

/** The geometry of a convolution of `[n, h, w, in]` with `[kh, kw, in, out]`, or, depthwise, `[kh, kw, in, mult]`. */
export function geometryOf(
  inputShape: Shape4D,
  kernelShape: Shape4D,
  {strides, pad, dimRoundingMode}: ConvolutionAttributes,
  depthwise = false,
): Geometry {
  const info = tf.backend_util.computeConv2DInfo(inputShape, kernelShape, strides, 1, pad, dimRoundingMode, depthwise);
  const {top, left} = info.padInfo;
  return {
    n: info.batchSize,
    height: axisOf(info, 'Height', top),
    width: axisOf(info, 'Width', left),
    channelsIn: info.inChannels,
    channelsOut: info.outChannels,
  };
}

/** One axis of what tfjs works out of a convolution or a pooling. */
export function axisOf(info: object, name: 'Depth' | 'Height' | 'Width', before: number): Axis {
  const of = (what: string) => (info as Record<string, number>)[what + name] as number;
  return {input: of('in'), output: of('out'), kernel: of('filter'), stride: of('stride'), before};
}

/**
 * Whether windows are counted by the pads and strides, as XNNPACK does. tfjs rounds as `dimRoundingMode` says, and
 * takes the number along the width from the height if the pad is one number. XNNPACK takes no images without pixels.
 */
export function isCountedByPads(info: tf.backend_util.Conv2DInfo): boolean {
  const {top, bottom, left, right} = info.padInfo;
  return (['Height', 'Width'] as const).every((name, i) => {
    const {input, output, stride} = axisOf(info, name, 0);
    const [before, after] = [[top, bottom] as const, [left, right] as const][i] as Margin;
    const size = info[`effectiveFilter${name}`];
    return (
      input > 0 && Math.max(before, after) < size && Math.floor((input + before + after - size) / stride) + 1 === output
    );
  });
}

/**
 * The zeros that the padding `same` adds along each axis, in a convolution whose kernel has the sizes `kernel`.
 * `undefined` where the number depends on an input size that is dynamic: it does not with a stride of 1.
 */
export function samePads(
  inputs: readonly (number | null | undefined)[],
  kernel: readonly number[],
  {strides, dilations = []}: Partial<ConvSettings<readonly number[]>>,
): (Margin | undefined)[] {
  return kernel.map((taps, axis) => {
    const [reach, stride] = [(taps - 1) * (dilations[axis] ?? 1), strides?.[axis] ?? 1];
    const size = inputs[axis] ?? (stride === 1 || reach === 0 ? 1 : NaN);
    const total = Math.max((Math.ceil(size / stride) - 1) * stride + reach + 1 - size, 0);
    return isNaN(total) ? undefined : [Math.floor(total / 2), Math.ceil(total / 2)];
  });
}

/** Zeros to add after an axis (negative: inputs to drop), so that the windows of all outputs fit exactly. */
export function behind({input, output, kernel, stride, before}: Axis): number {
  return (output - 1) * stride + kernel - before - input;
}

/** Whether the windows meet only zeros along an axis. */
export function meetsOnlyZeros(axis: Axis): boolean {
  return -behind(axis) >= axis.input;
}

/** Zeros before and after an axis; what is negative is cropped instead. */
export type Margin = [before: number, after: number];

/** Crops the axes after the first where the padding is negative. Returns the image and the padding left to do. */
export function cropNegative<T extends tf.Tensor>(image: T, ...inner: Margin[]): {image: T; pad: Margin[]} {
  return cropped(image, [[0, 0], ...inner, [0, 0]]);
}

function cropped<T extends tf.Tensor>(image: T, margins: readonly Margin[]): {image: T; pad: Margin[]} {
  const crops = margins.map(([before, after]): Margin => [Math.max(0, -before), Math.max(0, -after)]);
  const pad = margins.map(([before, after]): Margin => [Math.max(0, before), Math.max(0, after)]);
  const begin = crops.map(([before]) => before);
  const size = crops.map(([before, after], i) => (image.shape[i] ?? 0) - before - after);
  return {image: crops.flat().some(count => count > 0) ? tf.slice(image, begin, size) : image, pad};
}

/** An image `[n, ...space, c]` with zeros around its inner axes, or cropped where a number is negative. */
export function padOrCrop<T extends tf.Tensor>(x: T, ...inner: Margin[]): T {
  return withMargins(x, [[0, 0], ...inner, [0, 0]]);
}

/**
 * A tensor with zeros around its axes, or cropped where a number is negative. webgl and webgpu pad no more than four
 * axes, also in the gradient of a slice: axes without margins join the one before.
 */
export function withMargins<T extends tf.Tensor>(x: T, margins: readonly Margin[]): T {
  const [sizes, joined]: [number[], Margin[]] = [[], []];
  margins.forEach((margin, i) => {
    const [size, last] = [x.shape[i] ?? 1, joined.length - 1];
    if (x.rank > 4 && i > 0 && margin[0] === 0 && margin[1] === 0) {
      sizes[last] = (sizes[last] ?? 1) * size;
      joined[last] = [(joined[last]?.[0] ?? 0) * size, (joined[last]?.[1] ?? 0) * size];
    } else {
      sizes.push(size);
      joined.push(margin);
    }
  });
  const isJoined = sizes.length < x.rank;
  const {image, pad} = cropped<tf.Tensor>(isJoined ? tf.reshape(x, sizes) : x, joined);
  const padded = pad.flat().some(zeros => zeros > 0) ? tf.pad(image, pad) : image;
  const shape = x.shape.map((size, i) => size + (margins[i]?.[0] ?? 0) + (margins[i]?.[1] ?? 0));
  return (isJoined ? tf.reshape(padded, shape) : padded) as T;
}

/** An axis with `step − 1` zeros between two of its entries, computed on at most four axes. */
export function withZerosBetween<T extends tf.Tensor>(x: T, axis: number, step: number): T {
  if (step === 1) {
    return x;
  }
  const size = x.shape[axis] ?? 1;
  const outer = tf.util.sizeFromShape(x.shape.slice(0, axis));
  const inner = tf.util.sizeFromShape(x.shape.slice(axis + 1));
  const cells = padOrCrop(tf.reshape(x, [outer, size, 1, inner]), [0, 0], [0, step - 1]);
  const length = (size - 1) * step + 1;
  const entries = tf.slice(tf.reshape(cells, [outer, size * step, inner]), [0, 0, 0], [outer, length, inner]);
  return tf.reshape(entries, [...x.shape.slice(0, axis), length, ...x.shape.slice(axis + 1)]) as T;
}

/** Every `step`-th of the slices of `x` along `axis`, `count` of them beginning with `first`. */
export function everyNth<T extends tf.Tensor>(x: T, axis: number, first: number, count: number, step: number): T {
  if (count === x.shape[axis]) {
    return x;
  }
  const [before, after] = [x.shape.slice(0, axis), x.shape.slice(axis + 1)];
  const length = (count - 1) * step + 1;
  const slices = tf.slice(x, [...before.map(() => 0), first], [...before, length]);
  if (step === 1) {
    return slices;
  }
  const [outer, inner] = [tf.util.sizeFromShape(before), tf.util.sizeFromShape(after)];
  const cells = tf.reshape(padOrCrop(tf.reshape(slices, [outer, length, inner]), [0, step - 1]), [
    outer,
    count,
    step,
    inner,
  ]);
  return tf.reshape(tf.slice(cells, [0, 0, 0, 0], [outer, count, 1, inner]), [...before, count, ...after]) as T;
}
