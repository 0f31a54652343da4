import type {Geometry} from '../../shared/geometry';
import type {Native} from './native';
import {type Clamp, type Epilogue, PLAIN} from './products';

/** Whether our kernels support a depthwise convolution: one filter per channel, with channels in whole vectors. */
export function takesDepthwise({channelsIn, channelsOut}: Geometry): boolean {
  return channelsIn === channelsOut && channelsIn % 4 === 0;
}

/** `y = clamp(x ∗ W + bias)`, with a kernel `[kh, kw, c]`. */
export function convolveDepthwise(
  native: Native,
  {n, height, width, channelsIn: channels}: Geometry,
  x: number,
  kernel: number,
  y: number,
  {bias, clamp}: Epilogue = PLAIN,
): void {
  const {low, high} = clamp ?? UNBOUNDED;
  const image = {x: 4 * height.input * width.input * channels, y: 4 * height.output * width.output * channels};
  const work = n * height.output * width.output * channels * height.kernel * width.kernel;
  native.runParts(native.partsOf(n, 1, work), (thread, {first, size}) => {
    thread.depthwise(
      ...[x + first * image.x, size, height.input, width.input, channels, kernel, height.kernel, width.kernel],
      ...[height.output, width.output, height.stride, width.stride, height.before, width.before],
      ...[y + first * image.y, bias, low, high],
    );
  });
}

const UNBOUNDED: Clamp = {low: -Infinity, high: Infinity};

/** The gradient in the input. */
export function depthwiseInputGradient(
  native: Native,
  geometry: Geometry,
  dy: number,
  kernel: number,
  dx: number,
): void {
  const {n, height, width, channelsIn: channels} = geometry;
  const image = {x: 4 * height.input * width.input * channels, y: 4 * height.output * width.output * channels};
  const images = native.partsOf(n, 1, n * height.output * width.output * channels * height.kernel * width.kernel);
  const adjoint = [height, width].every(({stride, kernel: taps, before}) => stride === 1 && before < taps);
  if (adjoint) {
    // Without strides it is a convolution with the flipped kernel, which has the faster code.
    const taps = height.kernel * width.kernel;
    const [flipped = 0] = native.reserve(4 * taps * channels);
    native.functions.flipTaps(kernel, taps, channels, flipped);
    native.runParts(images, (thread, {first, size}) => {
      thread.depthwise(
        ...[dy + first * image.y, size, height.output, width.output, channels, flipped, height.kernel, width.kernel],
        ...[height.input, width.input, 1, 1, height.kernel - 1 - height.before, width.kernel - 1 - width.before],
        ...[dx + first * image.x, 0, -Infinity, Infinity],
      );
    });
    return;
  }
  native.runParts(images, (thread, {first, size}) => {
    thread.depthwiseInputGradient(
      ...[dy + first * image.y, size, height.output, width.output, channels, kernel, height.kernel, width.kernel],
      ...[height.input, width.input, height.stride, width.stride, height.before, width.before, dx + first * image.x],
    );
  });
}

/** The gradient in the kernel. */
export function depthwiseKernelGradient(
  native: Native,
  {n, height, width, channelsIn: channels}: Geometry,
  x: number,
  dy: number,
  out: number,
): void {
  native.functions.depthwiseKernelGradient(
    ...[x, n, height.input, width.input, channels, dy, height.output, width.output, height.kernel, width.kernel],
    ...[height.stride, width.stride, height.before, width.before, out],
  );
}
