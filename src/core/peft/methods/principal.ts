import {type Values} from '../../../platform/formats/layout';
import type {PrincipalInit} from '../../methods/initializer';
import type {Strength} from '../../methods/method';
import {scalingOf} from '../../methods/lora';
import {dot, jacobi} from '../../ops/svd';

/**
 * The factors `A₀`, `[in, rank]`, and `B₀`, `[rank, out]`, that PEFT takes away from a base, `W − s·A₀·B₀`, each time
 * that it loads an adapter that was initialised so. (`pissa_init` and `olora_init` of PEFT.)
 *
 * @param kernel `[in, out]`.
 */
export function principalStart(init: PrincipalInit, kernel: Values, strength: Strength): {a: Values; b: Values} {
  const [inputs = 1, outputs = 1] = kernel.shape;
  const {rank} = strength;
  const parts = init === 'pissa' ? principalParts(kernel, rank) : projections(kernel, rank);
  const scale = init === 'pissa' ? 1 / Math.sqrt(scalingOf(strength) || 1) : 1;
  const [a, b] = [new Float32Array(inputs * rank), new Float32Array(rank * outputs)];
  parts.forEach(({column, row}, k) => {
    column.forEach((value, i) => (a[i * rank + k] = value * scale));
    row.forEach((value, j) => (b[k * outputs + j] = value * scale));
  });
  return {a: {shape: [inputs, rank], data: a}, b: {shape: [rank, outputs], data: b}};
}

/** A matrix of rank 1: a column times a row. */
interface Part {
  column: Float64Array;
  row: Float64Array;
}

/** `W·Q·Qᵀ`, with `Q` an orthonormal basis of the first rows of `W`, made by Householder reflections as in LAPACK. */
function projections(matrix: Values, rank: number): Part[] {
  const [, width = 1] = matrix.shape;
  const rows = Array.from({length: rank}, (_, i) =>
    Float64Array.from(matrix.data.subarray(i * width, (i + 1) * width)),
  );
  const mirrors = rows.map((row, i) => {
    const mirror = row.map((value, j) => (j < i ? 0 : value));
    const first = mirror[i] ?? 0;
    if (mirror.every((value, j) => j === i || value === 0)) {
      return undefined; // no reflection is needed
    }
    mirror[i] = first + (first < 0 ? -1 : 1) * Math.sqrt(dot(mirror, mirror));
    rows.slice(i).forEach(row => reflect(row, mirror));
    return mirror;
  });
  return rows.map((_, i) => {
    const row = new Float64Array(width);
    row[i] = 1;
    [...mirrors].reverse().forEach(mirror => mirror && reflect(row, mirror));
    return {column: times(matrix, row), row};
  });
}

function reflect(x: Float64Array, mirror: Float64Array): void {
  add(x, mirror, (-2 * dot(x, mirror)) / dot(mirror, mirror));
}

/** How exact singular vectors are, of the largest singular value. */
const SINGULAR_TOLERANCE = 1e-8;

/**
 * The best approximation of a rank, `Σ uᵢ·σᵢ·vᵢᵀ`, with `√σᵢ` in both parts: by the bidiagonalization of Golub and
 * Kahan, `M·V = U·B`, in double precision. `U` and `V` grow until the largest singular vectors of `B` are those of `M`.
 * (Golub and Van Loan, "Matrix Computations", §10.4.)
 *
 * `truncatedSVD` of `core/ops` is not exact enough: its random projection computes in single precision on a backend and
 * finds a good approximation, but PEFT subtracts the factors of the exact one from the base, so they must be the same.
 */
function principalParts(matrix: Values, rank: number): Part[] {
  const [rows = 1, columns = 1] = matrix.shape;
  const most = Math.min(rows, columns) + 1;
  const us: Float64Array[] = [];
  const vs = [randomUnit(columns, [], 1)];
  const diagonal: number[] = [];
  const above: number[] = [];
  for (let enough = 2 * rank + 8; ;) {
    const u = times(matrix, vs.at(-1) as Float64Array);
    diagonal.push(makeUnit(u, us, Math.max(...diagonal, 0)));
    us.push(u);
    const v = timesTransposed(matrix, u, columns);
    above.push(makeUnit(v, vs, Math.max(...diagonal)));
    const size = us.length;
    if (size >= Math.min(enough, most)) {
      const core = new Float64Array(size * size);
      diagonal.forEach((value, i) => (core[i * size + i] = value));
      above.slice(0, -1).forEach((value, i) => (core[i * size + i + 1] = value));
      const {u: left, s, v: right} = jacobi(core, size);
      const open =
        (above.at(-1) ?? 0) * Math.max(...left.slice(0, rank).map(vector => Math.abs(vector[size - 1] ?? 0)));
      if (open <= SINGULAR_TOLERANCE * (s[0] ?? 0) || size === most) {
        return Array.from({length: rank}, (_, i) => {
          const root = Math.sqrt(s[i] ?? 0);
          return {column: combined(us, left[i], root), row: combined(vs, right[i], root)};
        });
      }
      enough = Math.ceil(1.4 * size);
    }
    vs.push(above.at(-1) === 0 ? randomUnit(columns, vs, size + 1) : v);
  }
}

/** Makes a vector orthogonal to others and of length 1, and returns its former length; 0 if that is rounding. */
function makeUnit(x: Float64Array, basis: readonly Float64Array[], scale: number): number {
  for (let pass = 0; pass < 2; pass++) {
    basis.forEach(other => add(x, other, -dot(x, other)));
  }
  const length = Math.sqrt(dot(x, x));
  const isRounding = length <= 1e-13 * scale;
  x.forEach((value, i) => (x[i] = isRounding ? 0 : value / (length || 1)));
  return isRounding ? 0 : length;
}

/** A vector of length 1 at right angles to others that follows from a seed. */
function randomUnit(size: number, basis: readonly Float64Array[], seed: number): Float64Array {
  const x = Float64Array.from({length: size}, (_, i) => Math.sin(seed * 12.9898 + i * 78.233));
  makeUnit(x, basis, Math.sqrt(size));
  return x;
}

function combined(basis: readonly Float64Array[], weights: Float64Array | undefined, factor: number): Float64Array {
  const sum = new Float64Array(basis[0]?.length ?? 0);
  weights?.forEach((weight, i) => add(sum, basis[i] as Float64Array, weight * factor));
  return sum;
}

/** `M·x` for a matrix `M`. */
function times({shape: [rows = 1, columns = 1], data}: Values, x: Float64Array): Float64Array {
  const product = new Float64Array(rows);
  for (let i = 0; i < rows; i++) {
    let sum = 0;
    for (let j = 0; j < columns; j++) {
      sum += (data[i * columns + j] as number) * (x[j] as number);
    }
    product[i] = sum;
  }
  return product;
}

/** `Mᵀ·x`. */
function timesTransposed({data}: Values, x: Float64Array, columns: number): Float64Array {
  const product = new Float64Array(columns);
  x.forEach((factor, i) => {
    for (let j = 0; j < columns; j++) {
      product[j] = (product[j] as number) + factor * (data[i * columns + j] as number);
    }
  });
  return product;
}

function add(x: Float64Array, other: Float64Array, factor: number): void {
  for (let i = 0; i < x.length; i++) {
    x[i] = (x[i] as number) + factor * (other[i] as number);
  }
}
