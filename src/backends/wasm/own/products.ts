import type {Native} from './native';

/** What follows a product or a convolution: nothing, or an activation that keeps its numbers between bounds. */
export interface Clamp {
  readonly low: number;
  readonly high: number;
}

const CLAMPS: Readonly<Record<string, Clamp | null>> = {
  linear: null,
  relu: {low: 0, high: Infinity},
  relu6: {low: 0, high: 6},
};

/** The bounds of an activation, `null` for none; `undefined` where an activation is no clamp. */
export function clampOf(activation: string): Clamp | null | undefined {
  return Object.hasOwn(CLAMPS, activation) ? CLAMPS[activation] : undefined;
}

/** A clamp as the module takes it. */
export function clampArguments(clamp: Clamp | null): [isClamped: number, low: number, high: number] {
  return clamp === null ? [0, 0, 0] : [1, clamp.low, clamp.high];
}

/** Right-hand matrices of at most this many bytes are packed as a whole; of others a few columns at a time, that stay in the cache. */
const SMALL = 512 * 1024;
const COLUMNS = 32;
/** Bytes of a row of a panel. */
export const PANEL_ROW = 32;
/** Numbers of the right-hand rows that are taken at a time in `multiplyTransposed`. */
const CHUNK = 32_768;

export interface Product {
  readonly m: number;
  readonly k: number;
  readonly n: number;
}

export interface Epilogue {
  /** Where the bias lies; 0 for none. */
  readonly bias: number;
  readonly clamp: Clamp | null;
}

export const PLAIN: Epilogue = {bias: 0, clamp: null};

/** Bytes that panels of a `[k, n]` matrix take. */
export function panelBytes(k: number, n: number): number {
  return Math.ceil(n / 8) * k * PANEL_ROW;
}

/** `c[m, n] = clamp(a[m, k] · b + bias)`, with `b` as `[k, n]` or, transposed, as `[n, k]`. */
export function multiply(
  native: Native,
  {m, k, n}: Product,
  a: number,
  b: number,
  transposed: boolean,
  c: number,
  {bias, clamp}: Epilogue = PLAIN,
): void {
  const {functions} = native;
  if (n === 4 && !transposed && bias === 0 && clamp === null) {
    functions.multiplyBy4(m, k, a, 4 * k, b, c);
    return;
  }
  const panel = k * PANEL_ROW;
  const step = 4 * k * n <= SMALL ? n : COLUMNS;
  const [panels = 0] = native.reserve(panelBytes(k, step));
  for (let first = 0; first < n; first += step) {
    const columns = Math.min(step, n - first);
    if (transposed) {
      functions.packColumns(b + 4 * first * k, 4 * k, k, columns, panels, panel);
    } else {
      functions.packRows(b + 4 * first, 4 * n, k, columns, panels, panel);
    }
    functions.multiply(
      ...[m, columns, k, a, 4 * k, panels, panel, c + 4 * first, 4 * n],
      ...[bias && bias + 4 * first, ...clampArguments(clamp), step === n ? 1 : 0],
    );
  }
}

/** `out[m, n] = a[k, m]ᵀ · b[k, n]`. */
export function multiplyTransposed(native: Native, {m, k, n}: Product, a: number, b: number, out: number): void {
  const {functions} = native;
  const chunk = (width: number) => Math.max(32, Math.floor(CHUNK / width));
  if (m > 4 * n && n <= 64) {
    // A tile is twice as wide as high, so the longer side goes across.
    const [turned = 0] = native.reserve(4 * m * n);
    functions.multiplyTransposed(k, n, m, b, a, turned, chunk(m));
    functions.transpose(turned, n, m, out);
  } else {
    functions.multiplyTransposed(k, m, n, a, b, out, chunk(n));
  }
}
