import type * as tf from '@tensorflow/tfjs';
import {count, flag, type Setting} from '../../../core/layers/formulaLayer';
import type {FormulaOps, TransformerOps} from '../../../core/ops/formulaOps';
import {checkCount, LoRAError} from '../../../platform/errors';
import {defineLayer} from './definedLayer';

// Attention within windows of an image. (Liu et al., "Swin Transformer", arXiv 2103.14030.) Features are `[batch,
// height, width, channels]`, and windows `[batch·windows, size², channels]`.

/**
 * The settings of layers for windows: the edge of a window, how far windows are shifted down and right, and whether
 * features smaller than a window are padded. Otherwise they are refused, and features of one window in height or width
 * have no shift.
 */
export const WINDOW_SETTINGS = {size: count(), shift: count(0, 0), pads: flag(false)};

/** The values of these settings. */
export interface WindowSettings {
  readonly size: number;
  readonly shift: number;
  readonly pads: boolean;
}

export function checkShift({size, shift}: WindowSettings): void {
  if (shift >= size) {
    throw new LoRAError(`shift must be less than size, ${size}, got ${shift}.`);
  }
}

export function windowsMisfit(features: tf.Shape, {size, pads}: WindowSettings): string | false {
  const edges = features.slice(1, 3).map(edge => edge ?? Infinity);
  return (
    (features.length !== 4 || (!pads && Math.min(...edges) < size)) &&
    `features that are as large as its windows of ${size} × ${size} positions`
  );
}

export function gridOf<T, N>(
  o: Pick<FormulaOps<T, N>, 'size' | 'pieces' | 'ifLarger'>,
  features: T,
  {size, shift, pads}: WindowSettings,
): {rows: N; columns: N; shift: N | number} {
  const edges = [o.size(features, 1), o.size(features, 2)] as const;
  return {
    rows: o.pieces(edges[0], size),
    columns: o.pieces(edges[1], size),
    shift: pads || shift === 0 ? shift : o.ifLarger(edges, size, shift),
  };
}

/** Features that consist of windows, cut into these. */
export function cutWindows<T, N>(o: TransformerOps<T, N>, x: T, size: number, columns: N, channels: number): T {
  const rows = o.reshape(x, [-1, size, columns, size * channels]);
  return o.reshape(o.transpose(rows, [0, 2, 1, 3]), [-1, size ** 2, channels]);
}

/**
 * Cuts features into windows, which are padded with zeros below and to the right: `[batch, height, width, channels]` →
 * `[batch·windows, size², channels]`. {@link JoinedWindows} is the inverse.
 *
 * @throws LoRAError if a window is larger than the features.
 * @experimental
 */
export const Windows = defineLayer('Windows', {
  settings: WINDOW_SETTINGS,
  check: checkShift,
  misfit: ([features], settings) => windowsMisfit(features, settings),
  shape: ([features], {size}) => [null, size ** 2, features.at(-1) ?? null],
  formula(o, [x], settings, _, [shape]) {
    const {size} = settings;
    const {columns, shift} = gridOf(o, x, settings);
    const rolled = o.roll(o.padToPieces(x, [size, size]), shift);
    return cutWindows(o, rolled, size, columns, shape[3] ?? 0);
  },
});

/**
 * Puts windows together: `[batch·windows, size², channels]` and the features they were cut from → features of the same
 * height and width.
 *
 * @experimental
 */
export const JoinedWindows = defineLayer('JoinedWindows', {
  settings: WINDOW_SETTINGS,
  check: checkShift,
  inputs: 2,
  misfit: ([, features = []], settings) => windowsMisfit(features, settings),
  shape: ([windows, features = []]) => [...features.slice(0, 3), windows.at(-1) ?? null],
  formula(o, [windows, features], settings, _, [shape]) {
    const {size} = settings;
    const channels = shape[2] ?? 0;
    const {rows, columns, shift} = gridOf(o, features, settings);
    const byWindow = o.reshape(windows, [-1, columns, size, size * channels]);
    const byRow = o.transpose(byWindow, [0, 2, 1, 3]);
    const joined = o.reshape(byRow, [-1, o.times(rows, size), o.times(columns, size), channels]);
    return o.cropLike(o.roll(joined, shift, true), features);
  },
});

function piecesOf(edge: number | null | undefined, piece: number): number | null {
  return edge == null ? null : Math.ceil(edge / piece);
}

/**
 * Joins each square of four positions: `[batch, height, width, channels]` → `[batch, ⌈height/2⌉, ⌈width/2⌉,
 * 4·channels]`. Odd edges are padded with zeros.
 *
 * @experimental
 */
export const JoinedPatches = defineLayer('JoinedPatches', {
  shape: ([[batch = null, height, width, channels]]) => [
    ...[batch, piecesOf(height, 2), piecesOf(width, 2)],
    channels == null ? null : 4 * channels,
  ],
  formula(o, [x], _, __, [shape]) {
    const channels = shape[3] ?? 0;
    const padded = o.padToPieces(x, [2, 2]);
    const [rows, columns] = [o.pieces(o.size(x, 1), 2), o.pieces(o.size(x, 2), 2)];
    const squares = o.reshape(padded, [-1, 2, columns, 2, channels]);
    return o.reshape(o.transpose(squares, [0, 2, 3, 1, 4]), [-1, rows, columns, 4 * channels]);
  },
});

const patchEdges: Setting<readonly [height: number, width: number]> = {
  check(name, value) {
    (value as readonly unknown[]).forEach(edge => {
      checkCount(name, edge);
    });
  },
};

/**
 * Pads images with zeros below and to the right, to multiples of a patch, `[height, width]`: `[batch, height, width,
 * channels]`.
 *
 * @experimental
 */
export const WholePatches = defineLayer('WholePatches', {
  settings: {patch: patchEdges},
  shape([[batch = null, height, width, channels = null]], {patch: [down, across]}) {
    const roundedUp = (edge: number | null | undefined, piece: number) => edge && Math.ceil(edge / piece) * piece;
    return [batch, roundedUp(height, down) ?? null, roundedUp(width, across) ?? null, channels];
  },
  formula: (o, [x], {patch}) => o.padToPieces(x, patch),
});
