import * as tf from '@tensorflow/tfjs';

/**
 * From this length on, a sum over the rows of two matrices is taken as a convolution, if its length has a divisor in
 * this range.
 */
const MANY_ROWS = 256;
const SMALLEST_BLOCK = 32;
const LARGEST_BLOCK = 256;

/** Other inner axes longer than this are summed in parts, whose operands stay in the cache. */
const LONG = 1536;
const PART = 1024;
/** Rows of a part are a multiple of this, which lets the transpose go in blocks. */
const BLOCK = 64;

/** Nanoseconds for a multiplication, and for a number to transpose and to pack; only their proportions matter. */
const MULTIPLY = 1 / 15;
const TRANSPOSE = 1.2;
const PACK = 3.3;
/** Columns that a fast product computes at once. */
const PANEL = 8;

/** The product of two matrices [1, m, k] and [1, k, n], neither of them transposed. */
export type Multiply = (a: tf.Tensor3D, b: tf.Tensor3D) => tf.Tensor3D;

/**
 * The products of matrices, transposed or not, made of products of single matrices that are not.
 *
 * [p, m, k] · [p, k, n] → [p, m, n], where p may be 1 on one side. It takes the cheaper of op(a)·op(b) and
 * (op(b)ᵀ·op(a)ᵀ)ᵀ: `dy·Wᵀ` of a small batch becomes `(W·dyᵀ)ᵀ`, which leaves the large matrix as it is. The sum over a
 * long inner axis is taken in parts.
 */
export function matrixProducts(
  a: tf.Tensor3D,
  b: tf.Tensor3D,
  transposeA: boolean,
  transposeB: boolean,
  multiply: Multiply,
): tf.Tensor3D {
  const length = a.shape[transposeA ? 1 : 2];
  if (a.shape[0] === 1 && b.shape[0] === 1 && transposeA && !transposeB) {
    const block = length < MANY_ROWS ? undefined : blockOf(length);
    if (block !== undefined) {
      return a.shape[2] >= b.shape[2] ? sumAsConvolution(a, b, block) : transpose(sumAsConvolution(b, a, block));
    }
    if (length > LONG) {
      return sumOfParts(a, b, multiply);
    }
  }
  return isCheaperTurned(a, b, transposeA, transposeB)
    ? transpose(multiplyEach(transposeB ? b : transpose(b), transposeA ? a : transpose(a), multiply))
    : directProducts(a, b, transposeA, transposeB, multiply);
}

/**
 * As `matrixProducts`, with the product always in the order op(a)·op(b), so that `multiply` may do something to its
 * rows.
 */
export function directProducts(
  a: tf.Tensor3D,
  b: tf.Tensor3D,
  transposeA: boolean,
  transposeB: boolean,
  multiply: Multiply,
): tf.Tensor3D {
  return multiplyEach(transposeA ? transpose(a) : a, transposeB ? transpose(b) : b, multiply);
}

/**
 * aᵀ·b as one convolution: `a`, the wider of the two, becomes an image and the rows of `b`, as they lie, a filter as
 * high as that. The transpose is of small blocks, that stay in the cache, and the product is one kernel instead of
 * several for each part.
 *
 *     image [1, k / block, m, block] ∗ filter [k / block, 1, block, n] → [1, 1, m, n]
 */
function sumAsConvolution(a: tf.Tensor3D, b: tf.Tensor3D, block: number): tf.Tensor3D {
  const [, length, m] = a.shape;
  const n = b.shape[2];
  const blocks = length / block;
  const turned = transpose(tf.reshape(a, [blocks, block, m]));
  const image = tf.reshape<tf.Rank.R4>(turned, [1, blocks, m, block]);
  const filter = tf.reshape<tf.Rank.R4>(b, [blocks, 1, block, n]);
  return tf.reshape(tf.conv2d(image, filter, 1, 'valid'), [1, m, n]);
}

/** The largest divisor of a length that makes a good block, if there is one. */
function blockOf(length: number): number | undefined {
  for (let block = Math.min(LARGEST_BLOCK, length); block >= SMALLEST_BLOCK; block--) {
    if (length % block === 0) {
      return block;
    }
  }
  return undefined;
}

/** aᵀ·b as Σ aᵢᵀ·bᵢ over parts of the rows: [1, k, m], [1, k, n] → [1, m, n]. */
function sumOfParts(a: tf.Tensor3D, b: tf.Tensor3D, multiply: Multiply): tf.Tensor3D {
  const length = a.shape[1];
  const size = Math.ceil(length / Math.ceil(length / PART) / BLOCK) * BLOCK;
  const rows = (x: tf.Tensor3D, from: number): tf.Tensor3D =>
    tf.slice(x, [0, from, 0], [1, Math.min(size, length - from), x.shape[2]]);
  const parts: tf.Tensor3D[] = [];
  for (let from = 0; from < length; from += size) {
    parts.push(matrixProducts(rows(a, from), rows(b, from), true, false, multiply));
  }
  return tf.addN(parts);
}

function isCheaperTurned(a: tf.Tensor3D, b: tf.Tensor3D, transposeA: boolean, transposeB: boolean): boolean {
  if (a.shape[0] > 1 && b.shape[0] === 1) {
    // All of `a` is one matrix with p · m rows.
    return false;
  }
  const [m, k] = transposeA ? [a.shape[2], a.shape[1]] : [a.shape[1], a.shape[2]];
  const n = b.shape[transposeB ? 1 : 2];
  const direct = TRANSPOSE * ((transposeA ? m * k : 0) + (transposeB ? k * n : 0)) + productCost(m, k, n);
  const turned = TRANSPOSE * ((transposeA ? 0 : m * k) + (transposeB ? 0 : k * n) + m * n) + productCost(n, k, m);
  return turned < direct;
}

/** What it takes to pack a [k, n] matrix and to multiply an [m, k] one by it. */
function productCost(m: number, k: number, n: number): number {
  const columns = Math.ceil(n / PANEL) * PANEL;
  return k * (PACK * columns + MULTIPLY * m * columns);
}

function multiplyEach(a: tf.Tensor3D, b: tf.Tensor3D, multiply: Multiply): tf.Tensor3D {
  const [countA, m, k] = a.shape;
  const [countB, , n] = b.shape;
  if (countB === 1) {
    const product = multiply(tf.reshape(a, [1, countA * m, k]), b);
    return tf.reshape(product, [countA, m, n]);
  }
  const products = Array.from({length: countB}, (_, i) =>
    multiply(countA === 1 ? a : tf.slice(a, [i, 0, 0], [1, m, k]), tf.slice(b, [i, 0, 0], [1, k, n])),
  );
  return tf.concat(products, 0);
}

function transpose(x: tf.Tensor3D): tf.Tensor3D {
  return tf.transpose(x, [0, 2, 1]);
}
