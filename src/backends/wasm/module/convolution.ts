import type {Geometry} from '../../shared/geometry';
import {type KernelPlace, marginsOf, paddedImages, tapOffsets} from './geometry';
import type {Native} from './native';
import {clampArguments, type Epilogue, matMul, multiplyTransposed, PANEL_ROW, panelBytes, PLAIN} from './products';
import {convolveByTiles, fitsWinograd} from './winograd';

/** `y = clamp(x ∗ W + bias)`. Winograd's method, if allowed and possible, changes the last bits. */
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
    matMul(native, product, x, kernel.place, kernel.flipped, y, epilogue);
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
  {place, flipped}: KernelPlace,
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
  if (flipped) {
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
  const image = paddedImages(native, geometry, margins, x, padded);
  native.writeIntegers(offsets, tapOffsets(geometry, margins.width));
  const bounds = clampArguments(clamp);
  const line = 4 * margins.width * channelsIn;
  const lineOut = 4 * width.output * channelsOut;
  const work = taps * channelsIn * channelsOut * n * height.output * width.output;
  // If there are fewer images than threads, each thread takes some lines of all.
  const byLines = n < native.partsOf(n * height.output, 1, work).length;
  native.runParts(native.partsOf(byLines ? height.output : n, 1, work), (thread, {first, size}) => {
    const images = byLines ? Array.from({length: n}, (_, i) => i) : [first];
    for (const i of images) {
      const row = byLines ? first : 0;
      thread.convolve(
        ...[image + (i * margins.height + row * height.stride) * line, margins.height, margins.width, channelsIn],
        ...[byLines ? 1 : size, byLines ? size : height.output, width.output, height.stride, width.stride],
        ...[offsets, taps, panels, panel, y + (i * height.output + row) * lineOut, channelsOut, bias, ...bounds],
      );
    }
  });
}

/** The gradient in the kernel, `[kernelHeight, kernelWidth, channelsIn, channelsOut]`. */
export function convolutionKernelGradient(
  native: Native,
  geometry: Geometry,
  x: number,
  dy: number,
  out: number,
): void {
  const {n, height, width, channelsIn, channelsOut} = geometry;
  if (isProductOfPixels(geometry)) {
    multiplyTransposed(native, {m: channelsIn, k: n * height.output * width.output, n: channelsOut}, x, dy, out);
    return;
  }
  const taps = height.kernel * width.kernel;
  const margins = marginsOf(geometry);
  const size = 4 * channelsIn * channelsOut;
  const [offsets = 0, transposed = 0, padded = 0] = native.reserve(4 * taps, taps * size, margins.bytes);
  const image = paddedImages(native, geometry, margins, x, padded);
  native.writeIntegers(offsets, tapOffsets(geometry, margins.width));
  const work = taps * channelsIn * channelsOut * n * height.output * width.output;
  native.runParts(native.partsOf(taps, 1, work), (thread, tapRange) => {
    const {first} = tapRange;
    thread.convolutionKernelGradient(
      ...[image, margins.height, margins.width, channelsIn, n, height.output, width.output],
      ...[height.stride, width.stride, offsets + 4 * first, tapRange.size, dy, channelsOut, transposed + first * size],
    );
    for (let tap = first; tap < first + tapRange.size; tap++) {
      thread.transpose(transposed + tap * size, channelsOut, channelsIn, out + tap * size);
    }
  });
}

/** Whether a convolution is the product of its pixels with a matrix. */
function isProductOfPixels({height, width}: Geometry): boolean {
  return [height, width].every(({kernel, stride, input, output}) => kernel === 1 && stride === 1 && input === output);
}
