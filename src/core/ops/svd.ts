import * as tf from '@tensorflow/tfjs';
import {capabilities} from '../../backends/shared/capabilities';

/** A truncated singular value decomposition, `M ≈ U·diag(S)·Vᵀ`, with the singular values in descending order. */
export interface TruncatedSVD {
  /** `[m, rank]`, with orthonormal columns, or zeros where a singular value is 0. */
  u: tf.Tensor2D;
  /** `[rank]`. */
  s: tf.Tensor1D;
  /** `[n, rank]`, as `u`. */
  v: tf.Tensor2D;
}

/** With at most this many singular values above zero, the random projection loses none. */
const EXACT = 64;

/** Power iterations, which widen the gap between the singular values that are kept and the others. */
const POWER_ITERATIONS = 4;

/**
 * The `rank` largest singular values of a matrix, or of a product of matrices, which is never formed, and their
 * vectors.
 *
 * Finds the range by random projection with power iterations (Halko, Martinsson and Tropp, arXiv 0909.4061, algorithm
 * 4.4), in a subspace wider than the rank; products whose inner sizes are at most 64 fit in it completely, so the
 * result is the best approximation up to rounding. The remaining small core is read and decomposed by Jacobi rotations
 * in double precision. Everything else stays on the backend.
 *
 * @param chain matrices `[m, …]`, …, `[…, n]`, each of which can be multiplied with the next.
 * @param rank at most the smallest size among them.
 * @param seed of the random projection.
 */
export async function truncatedSVD(chain: readonly tf.Tensor2D[], rank: number, seed = 1): Promise<TruncatedSVD> {
  const projection = project(chain, rank, seed);
  try {
    return decompose(projection, await projection.core.data(), rank);
  } finally {
    tf.dispose({...projection});
  }
}

/** The same synchronously: by iteration if tensors cannot be read synchronously, as on webgpu. */
export function truncatedSVDNow(chain: readonly tf.Tensor2D[], rank: number, seed = 1): TruncatedSVD {
  if (capabilities().readsByPromise) {
    return iteratedSVD(chain, rank, seed);
  }
  const projection = project(chain, rank, seed);
  try {
    return decompose(projection, projection.core.dataSync(), rank);
  } finally {
    tf.dispose({...projection});
  }
}

/** After these, a singular value a tenth smaller than those that are kept has lost nine tenths or more. */
const ALONE_ITERATIONS = 20;

/**
 * The same without reading anything: orthogonal iteration, in which the columns converge to the singular vectors one
 * after the other. `U·diag(S)·Vᵀ` is always the projection of `M` on the span of `U`. Vectors of singular values that
 * are close to each other may be mixed.
 */
export function iteratedSVD(chain: readonly tf.Tensor2D[], rank: number, seed = 1): TruncatedSVD {
  const columns = chain[chain.length - 1]?.shape[1] ?? 0;
  const [u, s, v] = tf.tidy(() => {
    let q = orthonormal(timesChain(chain, tf.randomNormal([columns, rank], 0, 1, 'float32', seed)));
    for (let i = 0; i < ALONE_ITERATIONS; i++) {
      q = orthonormal(timesChain(chain, orthonormal(multiplyTransposed(chain, q))));
    }
    const projected = multiplyTransposed(chain, q); // Mᵀ·U, [n, rank]
    const lengths = tf.sqrt<tf.Tensor1D>(tf.sum(tf.square(projected), 0));
    return [q, lengths, tf.divNoNan<tf.Tensor2D>(projected, lengths)] as [tf.Tensor2D, tf.Tensor1D, tf.Tensor2D];
  });
  return {u, s, v};
}

/** `M ≈ Q·core·Pᵀ`, with orthonormal columns of `Q` and `P`. */
interface Projection {
  q: tf.Tensor2D;
  p: tf.Tensor2D;
  core: tf.Tensor2D;
}

function project(chain: readonly tf.Tensor2D[], rank: number, seed: number): Projection {
  const columns = chain[chain.length - 1]?.shape[1] ?? 0;
  const limit = Math.min(columns, ...chain.map(({shape}) => shape[0]));
  const width = limit <= EXACT ? limit : Math.min(limit, 2 * rank + 16);
  return tf.tidy(() => {
    let q = orthonormal(timesChain(chain, tf.randomNormal([columns, width], 0, 1, 'float32', seed)));
    for (let i = 0; i < (width === limit ? 1 : POWER_ITERATIONS); i++) {
      q = orthonormal(timesChain(chain, orthonormal(multiplyTransposed(chain, q))));
    }
    const projected = multiplyTransposed(chain, q); // Mᵀ·Q, [n, width]
    const p = orthonormal(projected);
    return {q, p, core: tf.matMul<tf.Tensor2D>(projected, p, true, false)};
  });
}

function decompose({q, p, core}: Projection, values: ArrayLike<number>, rank: number): TruncatedSVD {
  const width = core.shape[0];
  const {u, s, v} = jacobi(values, width);
  return tf.tidy(() => {
    const pick = (vectors: readonly Float64Array[]) =>
      tf.tensor2d(
        vectors.slice(0, rank).flatMap(vector => Array.from(vector)),
        [rank, width],
      );
    return {
      u: tf.matMul<tf.Tensor2D>(q, pick(u), false, true), // [m, width] · [width, rank]
      s: tf.tensor1d(s.slice(0, rank)),
      v: tf.matMul<tf.Tensor2D>(p, pick(v), false, true),
    };
  });
}

/** `M·x` for `M` the product of the chain. */
function timesChain(chain: readonly tf.Tensor2D[], x: tf.Tensor2D): tf.Tensor2D {
  return chain.reduceRight((product, matrix) => tf.matMul(matrix, product), x);
}

/** `Mᵀ·x` for `M` the product of the chain. */
function multiplyTransposed(chain: readonly tf.Tensor2D[], x: tf.Tensor2D): tf.Tensor2D {
  return chain.reduce((product, matrix) => tf.matMul(matrix, product, true, false), x);
}

/**
 * Orthonormal columns that span what the given ones do; a column that depends on those before it becomes zero.
 * (`tf.linalg.qr` takes a square matrix of the height, and divides by zero for such columns.)
 */
export function orthonormal(y: tf.Tensor2D): tf.Tensor2D {
  return tf.tidy(() => {
    const columns = tf.split(y, y.shape[1], 1);
    return columns.reduce<tf.Tensor2D | null>((q, column) => {
      let remainder = column;
      // Repeating it removes what rounding leaves in the span of the others.
      for (let pass = 0; q !== null && pass < 3; pass++) {
        remainder = tf.sub(remainder, tf.matMul(q, tf.matMul(q, remainder, true, false)));
      }
      const unit = tf.divNoNan<tf.Tensor2D>(remainder, tf.norm(remainder));
      return q === null ? unit : tf.concat([q, unit], 1);
    }, null) as tf.Tensor2D;
  });
}

/**
 * The singular value decomposition of a small square matrix, row by row in `values`, by one-sided Jacobi rotations
 * (Hestenes): pairs of columns are rotated until all are orthogonal. Their lengths are the singular values. Vectors are
 * lists of components.
 */
export function jacobi(values: ArrayLike<number>, size: number): {u: Float64Array[]; s: number[]; v: Float64Array[]} {
  const indices = Array.from({length: size}, (_, i) => i);
  const columns = indices.map(j => Float64Array.from(indices, i => values[i * size + j] ?? 0));
  const rotations = indices.map(j => Float64Array.from(indices, i => (i === j ? 1 : 0)));
  for (let sweep = 0, rotated = true; rotated && sweep < MAX_SWEEPS; sweep++) {
    rotated = false;
    for (const [i, one] of columns.entries()) {
      for (let j = i + 1; j < size; j++) {
        const other = columns[j] as Float64Array;
        const [alpha, beta, gamma] = [dot(one, one), dot(other, other), dot(one, other)];
        if (Math.abs(gamma) <= 1e-14 * Math.sqrt(alpha * beta)) {
          continue;
        }
        rotated = true;
        const zeta = (beta - alpha) / (2 * gamma);
        const tangent = (zeta < 0 ? -1 : 1) / (Math.abs(zeta) + Math.hypot(1, zeta));
        const cosine = 1 / Math.hypot(1, tangent);
        rotate(one, other, cosine, cosine * tangent);
        rotate(rotations[i] as Float64Array, rotations[j] as Float64Array, cosine, cosine * tangent);
      }
    }
  }
  const lengths = columns.map(column => Math.sqrt(dot(column, column)));
  const order = indices.sort((i, j) => (lengths[j] ?? 0) - (lengths[i] ?? 0));
  const s = order.map(i => lengths[i] ?? 0);
  return {
    u: order.map((i, k) => (columns[i] as Float64Array).map(value => (s[k] === 0 ? 0 : value / (s[k] as number)))),
    s,
    v: order.map(i => rotations[i] as Float64Array),
  };
}

/** It takes about ten. */
const MAX_SWEEPS = 60;

export function dot(one: Float64Array, other: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < one.length; i++) {
    sum += (one[i] as number) * (other[i] as number);
  }
  return sum;
}

function rotate(one: Float64Array, other: Float64Array, cosine: number, sine: number): void {
  for (let i = 0; i < one.length; i++) {
    const [x, y] = [one[i] as number, other[i] as number];
    one[i] = cosine * x - sine * y;
    other[i] = sine * x + cosine * y;
  }
}
