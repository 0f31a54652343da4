import {isPropagating} from '../../../platform/tfjs/engine';
import {aligned, type NativeFunctions} from './module';
import type {Native} from './native';

/** The epilogue of a product or a convolution: nothing, or an activation that clamps its values. */
export interface Clamp {
  readonly low: number;
  readonly high: number;
}

const CLAMPS: Readonly<Record<string, Clamp | null>> = {
  linear: null,
  relu: {low: 0, high: Infinity},
  relu6: {low: 0, high: 6},
};

/** The bounds of an activation, `null` for no bounds; `undefined` for an activation that is no clamp. */
export function clampOf(activation: string): Clamp | null | undefined {
  return Object.hasOwn(CLAMPS, activation) ? CLAMPS[activation] : undefined;
}

/** A clamp as the module takes it. */
export function clampArguments(clamp: Clamp | null): [isClamped: number, low: number, high: number] {
  return clamp === null ? [0, 0, 0] : [1, clamp.low, clamp.high];
}

/**
 * Right-hand matrices of at most this many bytes are packed whole; larger ones a few columns at a time, for the cache.
 */
const SMALL = 512 * 1024;
const COLUMNS = 32;
/** A longer inner axis is split into pieces of this size: what is read of both matrices stays in the cache. */
export const DEPTH = 2048;
/** Up to this many rows are multiplied with the right-hand matrix without packing it. */
const FEW = 3;
/** So many products are summed by themselves in a gradient: one long sum over a vocabulary would lose precision. */
export const BLOCK = 1024;
/** Bytes of a row of a panel. */
export const PANEL_ROW = 32;
/** Numbers of the right-hand rows that are taken at a time in `multiplyTransposed`. */
const CHUNK = 32_768;

/** The functions, the memory and the threads that a product is computed with. */
type Computing = Pick<Native, 'functions' | 'partsOf' | 'reserve' | 'runParts'>;

export interface Product {
  readonly m: number;
  readonly k: number;
  readonly n: number;
}

export interface Epilogue {
  /** The address of the bias; 0 for none. */
  readonly bias: number;
  /** Bytes between the rows of a bias with a row for each of the result. Default: 0, one row for all. */
  readonly biasStride?: number;
  readonly clamp: Clamp | null;
}

export const PLAIN: Epilogue = {bias: 0, clamp: null};

/** Bytes that panels of a `[k, n]` matrix take. */
export function panelBytes(k: number, n: number): number {
  return Math.ceil(n / 8) * k * PANEL_ROW;
}

/** `c[m, n] = clamp(a[m, k] · b + bias)`, with `b` as `[k, n]` or, transposed, as `[n, k]`. */
export function matMul(
  native: Computing,
  {m, k, n}: Product,
  a: number,
  b: number,
  transposed: boolean,
  c: number,
  {bias, biasStride = 0, clamp}: Epilogue = PLAIN,
): void {
  const {functions} = native;
  if (n === 4 && !transposed && bias === 0 && clamp === null) {
    functions.multiplyBy4(m, k, a, 4 * k, b, c);
    return;
  }
  const bounds = clampArguments(clamp);
  const block = clamp === null && isPropagating() ? BLOCK : 0;
  const pack = (
    thread: NativeFunctions,
    from: number,
    depth: number,
    first: number,
    columns: number,
    panels: number,
  ) => {
    if (transposed) {
      thread.packColumns(b + 4 * (first * k + from), 4 * k, depth, columns, panels, depth * PANEL_ROW);
    } else {
      thread.packRows(b + 4 * (from * n + first), 4 * n, depth, columns, panels, depth * PANEL_ROW);
    }
  };
  if (m <= FEW && biasStride === 0 && k > 0 && k % 4 === 0 && n % 4 === 0 && !transposed) {
    native.runParts(native.partsOf(n, COLUMNS, m * k * n), (thread, {first, size}) => {
      thread.multiplyFew(
        ...[m, size, k, a, 4 * k, b + 4 * first, 4 * n, c + 4 * first, 4 * n],
        ...[bias && bias + 4 * first, ...bounds],
      );
    });
    return;
  }
  if (4 * k * n <= SMALL) {
    const [panels = 0] = native.reserve(panelBytes(k, n));
    pack(functions, 0, k, 0, n, panels);
    native.runParts(native.partsOf(m, 4, m * k * n), (thread, {first, size}) => {
      thread.multiply(
        ...[size, n, k, a + 4 * first * k, 4 * k, panels, k * PANEL_ROW, c + 4 * first * n, 4 * n],
        ...[bias + first * biasStride, biasStride, ...bounds, 1, block],
      );
    });
    return;
  }
  const parts = native.partsOf(n, COLUMNS, m * k * n);
  const bytes = panelBytes(Math.min(k, DEPTH), COLUMNS);
  const [panels = 0] = native.reserve(parts.length * bytes);
  native.runParts(parts, (thread, columnRange, i) => {
    const place = panels + i * bytes;
    for (let from = 0; from < k; from += DEPTH) {
      const depth = Math.min(DEPTH, k - from);
      for (let first = columnRange.first; first < columnRange.first + columnRange.size; first += COLUMNS) {
        const columns = Math.min(COLUMNS, n - first);
        const target = c + 4 * first;
        pack(thread, from, depth, first, columns, place);
        thread.multiply(
          ...[m, columns, depth, a + 4 * from, 4 * k, place, depth * PANEL_ROW, target, 4 * n],
          // Behind the first rows the sum goes on from what the result holds.
          ...(from > 0 ? [target, 4 * n] : [bias && bias + 4 * first, biasStride]),
          ...clampArguments(from + depth < k ? null : clamp),
          ...[0, block],
        );
      }
    }
  });
}

/** `out[m, n] = a[k, m]ᵀ · b[k, n]`. */
export function multiplyTransposed(native: Computing, {m, k, n}: Product, a: number, b: number, out: number): void {
  const inBlocks = isPropagating();
  const chunk = (width: number) => (inBlocks ? Math.min(BLOCK, Math.max(32, Math.floor(CHUNK / width))) : k);
  if (m > 4 * n && n <= 64) {
    // A tile is twice as wide as high, so the longer side goes across.
    const [transposed = 0] = native.reserve(4 * m * n);
    native.runParts(native.partsOf(m, 8, m * k * n), (thread, {first, size}) => {
      const at = 4 * first;
      thread.multiplyTransposed(k, n, size, b, 4 * n, a + at, 4 * m, transposed + at, 4 * m, chunk(m));
    });
    native.functions.transpose(transposed, n, m, out);
  } else {
    native.runParts(native.partsOf(m, 4, m * k * n), (thread, {first, size}) => {
      thread.multiplyTransposed(k, size, n, a + 4 * first, 4 * m, b, 4 * n, out + 4 * first * n, 4 * n, chunk(n));
    });
  }
}

/** Matrices in memory: the address of the first, and the bytes from one to the next. */
type Stack = readonly [address: number, step: number];

/** `count` products, `c[i] = clamp(a[i] · b[i] + bias)`. Small ones are divided among threads as a whole. */
export function multiplyEach(
  native: Native,
  product: Product,
  count: number,
  [a, stepA]: Stack,
  [b, stepB]: Stack,
  {transposeA, transposeB}: {readonly transposeA: boolean; readonly transposeB: boolean},
  c: number,
  epilogue: Epilogue,
): void {
  const {m, k, n} = product;
  const multiplyMatrix = (thread: Computing, i: number) => {
    const [left, right, to] = [a + i * stepA, b + i * stepB, c + 4 * i * m * n] as const;
    if (transposeA) {
      multiplyTransposed(thread, product, left, right, to);
    } else {
      matMul(thread, product, left, right, transposeB, to, epilogue);
    }
  };
  const parts = native.partsOf(count, 1, m * k * n * count);
  const isDivided = count < 4 * parts.length && native.partsOf(m, 4, m * k * n).length > 1;
  if (parts.length === 1 || isDivided || 4 * k * n > SMALL) {
    for (let i = 0; i < count; i++) {
      multiplyMatrix(native, i);
    }
    return;
  }
  const bytes = aligned(Math.max(panelBytes(k, n), 4 * m * n));
  const [scratch = 0] = native.reserve(parts.length * bytes);
  native.runParts(parts, (thread, {first, size}, scratchIndex) => {
    const withScratch = alone(thread, scratch + scratchIndex * bytes);
    for (let i = first; i < first + size; i++) {
      multiplyMatrix(withScratch, i);
    }
  });
}

/** One thread, with scratch memory for one request at a time. */
function alone(functions: NativeFunctions, scratch: number): Computing {
  return {
    functions,
    partsOf: count => [{first: 0, size: count}],
    reserve: () => [scratch],
    runParts: (parts, compute) => {
      parts.forEach((range, i) => {
        compute(functions, range, i);
      });
    },
  };
}
