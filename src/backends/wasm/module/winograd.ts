import type {Axis, Geometry} from '../../shared/geometry';
import {type KernelPlace, marginsOf, padImages} from './geometry';
import {BY_NUMBER, type Native} from './native';
import {aligned} from './module';
import {clampArguments, type Epilogue, PANEL_ROW, panelBytes} from './products';

/** Outputs in a tile along an axis. */
const TILE = 4;
/** With fewer channels the transformations cost more than they save; most of them are of the input's channels. */
const FEWEST_CHANNELS = {from: 16, to: 8};
/** At least this share of the tiles' outputs has to be used. */
const USEFUL = 0.55;
/** Bytes in which the transformations keep the values of one tile. */
const SCRATCH = 1088;
/** Bytes between the 36 planes, so that they do not all fall on the same lines of the cache. */
const GAP = 192;

/** The side of a kernel that the method computes at once; kernels of up to twice that side are divided into parts. */
const PART = 3;

export function fitsWinograd({height, width, channelsIn, channelsOut}: Geometry): boolean {
  const fitsKernel = [height, width].every(
    ({kernel, stride}) => (kernel === PART || kernel === PART + 2) && stride === 1,
  );
  const used = [height, width].reduce((share, {output}) => (share * output) / (Math.ceil(output / TILE) * TILE), 1);
  const areWhole = channelsIn % 4 === 0 && channelsOut % 4 === 0;
  const fit = areWhole && channelsIn >= FEWEST_CHANNELS.from && channelsOut >= FEWEST_CHANNELS.to;
  return fitsKernel && height.kernel === width.kernel && used >= USEFUL && fit;
}

/**
 * By Winograd's method, an image at a time. A 5×5 kernel is four of 3×3, with zeros where it ends, of the image shifted
 * by three: the sum over the four is taken with that over the channels.
 */
export function convolveByTiles(
  native: Native,
  geometry: Geometry,
  x: number,
  kernel: KernelPlace,
  y: number,
  {bias, clamp}: Epilogue,
): void {
  const {n, height, width, channelsIn, channelsOut} = geometry;
  const [down, across] = [Math.ceil(height.output / TILE), Math.ceil(width.output / TILE)];
  const tiles = down * across;
  const shifts = height.kernel === PART ? [0] : [0, PART];
  const parts = shifts.flatMap(row => shifts.map(column => ({row, column})));
  const inner = parts.length * channelsIn;
  // Tiles and shifted kernels may read beyond the windows.
  const reach = PART - 1 + (shifts.at(-1) ?? 0) + 1 - height.kernel;
  const beyond = (count: number, {output}: Axis) => count * TILE - output + reach;
  const margins = marginsOf({...geometry, n: 1}, [beyond(down, height), beyond(across, width)]);
  const plane = {
    kernel: panelBytes(inner, channelsOut) + GAP,
    input: 4 * tiles * inner + GAP,
    output: 4 * tiles * channelsOut + GAP,
  };
  const partBytes = parts.length === 1 ? 0 : 4 * PART * PART * channelsIn * channelsOut;
  const images = native.partsOf(n, 1, 36 * tiles * inner * channelsOut * n);
  // Each thread pads an image at a time, which stays in its cache.
  const perThread = {scratch: SCRATCH, inputs: 36 * plane.input, outputs: 36 * plane.output, padded: margins.bytes};
  const threadBytes = aligned(perThread.scratch + perThread.inputs + perThread.outputs + perThread.padded);
  const rows = kernel.flipped ? channelsOut : channelsIn;
  const kernelParts = native.partsOf(rows, 8, 36 * BY_NUMBER * channelsIn * channelsOut);
  const [scratch = 0, shiftedKernel = 0, kernels = 0, places = 0] = native.reserve(
    ...[kernelParts.length * SCRATCH, partBytes, 36 * plane.kernel, images.length * threadBytes],
  );
  parts.forEach((shift, i) => {
    const place = partBytes === 0 ? kernel.place : shiftedKernel;
    if (partBytes > 0) {
      copyPart(native, geometry, kernel, shift, shiftedKernel);
    }
    native.runParts(kernelParts, (called, {first, size}, thread) => {
      called.winogradKernel(
        ...[place, channelsIn, channelsOut, kernel.flipped ? 1 : 0, first, size],
        ...[kernels + i * channelsIn * PANEL_ROW, inner * PANEL_ROW, plane.kernel, scratch + thread * SCRATCH],
      );
    });
  });
  const bounds = clampArguments(clamp);
  const imageBytes = 4 * height.input * width.input * channelsIn;
  native.runParts(images, (called, some, thread) => {
    const place = places + thread * threadBytes;
    const inputs = place + perThread.scratch;
    const outputs = inputs + perThread.inputs;
    const padded = outputs + perThread.outputs;
    for (let i = some.first; i < some.first + some.size; i++) {
      let image = x + i * imageBytes;
      if (margins.bytes > 0) {
        padImages(called, geometry, margins, image, 1, padded);
        image = padded;
      }
      parts.forEach(({row, column}, j) => {
        const from = image + 4 * (row * margins.width + column) * channelsIn;
        called.winogradInput(
          ...[from, margins.width, channelsIn, down, across],
          ...[inputs + 4 * j * channelsIn, 4 * inner, plane.input, place],
        );
      });
      called.winogradProducts(
        ...[tiles, channelsOut, inner, inputs, plane.input, kernels, plane.kernel, outputs, plane.output],
      );
      called.winogradOutput(
        ...[outputs, plane.output, channelsOut, down, across],
        ...[y + 4 * i * height.output * width.output * channelsOut, height.output, width.output],
        ...[bias, ...bounds, place],
      );
    }
  });
}

/** Copies the 3×3 taps of a kernel that a shift of the image meets, with zeros where the kernel ends. */
function copyPart(
  native: Native,
  {height, width, channelsIn, channelsOut}: Geometry,
  {place, flipped}: KernelPlace,
  shift: {readonly row: number; readonly column: number},
  target: number,
): void {
  const tap = channelsIn * channelsOut;
  native.floats(target, PART * PART * tap).fill(0);
  // A flipped kernel is read from its other end.
  const from = (size: number, shifted: number) => (flipped ? size - PART - shifted : shifted);
  for (let i = 0; i < PART; i++) {
    for (let j = 0; j < PART; j++) {
      const row = from(height.kernel, shift.row) + i;
      const column = from(width.kernel, shift.column) + j;
      if (row >= 0 && row < height.kernel && column >= 0 && column < width.kernel) {
        native.copy(target + 4 * (i * PART + j) * tap, place + 4 * (row * width.kernel + column) * tap, 4 * tap);
      }
    }
  }
}
