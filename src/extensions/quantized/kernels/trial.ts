import * as tf from '@tensorflow/tfjs';
import {type BlockFormat, dequantize} from '../formats/formats';
import type {JointProducts} from './quantizedKernels';

// Matrices to try kernels with before they are used.

/** The rows and columns of such a matrix. */
export const ROWS = 3;
export const WIDTH = 256;

export function trialMatrix(format: BlockFormat): {bytes: Uint8Array; stride: number; expected: Float32Array} {
  const stride = (WIDTH / format.numbers) * format.bytes;
  const bytes = Uint8Array.from({length: Math.ceil((ROWS * stride) / 4) * 4}, (_, i) => byteOf(i));
  const expected = new Float32Array(ROWS * WIDTH);
  dequantize(format, bytes, 0, expected.length / format.numbers, expected);
  return {bytes, stride, expected};
}

/** Bytes without a pattern; none sets the bit that infinities and NaNs need. */
function byteOf(i: number): number {
  return Math.floor(256 * Math.abs(Math.sin(12.9898 * i + 78.233 * (i % 7)))) & 0xbf;
}

/** A row that the matrix is multiplied with. */
export const FACTORS = Float32Array.from({length: WIDTH}, (_, i) => (i % 5) - 2);

/** A row of integers that rounding to 8 bits leaves as they are. */
export const INTEGERS = Float32Array.from({length: WIDTH}, (_, i) => (i % 32 === 5 ? -127 : ((37 * i) % 255) - 127));

/** Whether these are the products of that row, or of another, and each row of the matrix. */
export function areProducts(products: ArrayLike<number>, expected: Float32Array, factors = FACTORS): boolean {
  return Array.from({length: expected.length / WIDTH}, (_, row) => {
    const terms = Array.from(factors, (factor, i) => factor * (expected[row * WIDTH + i] as number));
    const size = terms.reduce((sum, term) => sum + Math.abs(term), 0);
    return Math.abs((products[row] as number) - terms.reduce((sum, term) => sum + term)) <= 1e-5 * size;
  }).every(right => right);
}

/** Many GPUs flush smaller values to zero. */
const SMALLEST = 2 ** -126;

/** Whether these are the values of the matrix, up to the last bit. */
export function areNumbers(numbers: ArrayLike<number>, expected: Float32Array, format: BlockFormat): boolean {
  const together = Math.min(16, format.numbers);
  return expected.every((value, i) => {
    const first = i - (i % together);
    const most = expected
      .subarray(first, first + together)
      .reduce((size, expectedValue) => Math.max(size, Math.abs(expectedValue)), 0);
    return Math.abs((numbers[i] as number) - value) <= 1e-6 * most + SMALLEST;
  });
}

/** Whether programs compute a format correctly. */
type IsRight = (format: BlockFormat) => Promise<boolean>;

interface Trial {
  works: boolean;
  readonly over: Promise<void>;
}

const trials = new WeakMap<object, Map<BlockFormat, Trial>>();

/** Whether programs for a format run here. The first call starts a trial; false until its result is read. */
export function runsFormat(format: BlockFormat, isRight: IsRight): boolean {
  const backend = tf.backend();
  const ofBackend = trials.get(backend) ?? new Map<BlockFormat, Trial>();
  trials.set(backend, ofBackend);
  const result = ofBackend.get(format);
  if (result !== undefined) {
    return result.works;
  }
  const trial = {works: false, over: Promise.resolve()};
  ofBackend.set(format, trial);
  trial.over = tried(format, isRight).then(right => void (trial.works = right));
  return false;
}

/** A device may refuse to compile a program. */
async function tried(format: BlockFormat, isRight: IsRight): Promise<boolean> {
  try {
    return await isRight(format);
  } catch {
    return false;
  }
}

/** The rows of the matrix that are multiplied beside others. */
const EVEN = 2;

/** Whether products of a matrix beside itself with an update, for one row and several, and gradients are right. */
export async function areJointRight(
  joint: JointProducts,
  trial: ReturnType<typeof trialMatrix>,
  format: BlockFormat,
): Promise<boolean> {
  const matrix = {format, rows: EVEN, width: WIDTH};
  const expected = trial.expected.subarray(0, EVEN * WIDTH);
  const [one, several, back, da, db] = await readTrial(trial, blocks => {
    const a = tf.oneHot(tf.scalar(0, 'int32'), WIDTH).cast('float32').reshape([WIDTH, 1]);
    const factors = {a, b: tf.tensor2d([1, 2], [1, EVEN]), scaling: 0.5};
    const parts = [
      {blocks, matrix, factors: null},
      {blocks, matrix, factors},
    ];
    const row = tf.tensor2d(FACTORS, [1, WIDTH]);
    const [dy, x] = [tf.tile(tf.eye(EVEN), [1, 2]), tf.tile(row, [EVEN, 1])];
    const {ofInput, ofFactors} = joint.backward(x, dy, parts);
    return [
      joint.forward(row, parts, tf.ones([1, 2 * EVEN])),
      joint.forward(tf.tile(row, [2 * ROWS, 1]), parts, null),
      ofInput(),
      ...ofFactors(),
    ];
  });
  // Both parts of the last row, without what the update and the ones add to them.
  const products = (values: ArrayLike<number> | undefined, added: number) => {
    const last = Array.from(values ?? []).slice(-2 * EVEN);
    return [last.slice(0, EVEN).map(value => value - added), last.slice(EVEN).map((value, i) => value + i + 1 - added)];
  };
  // The update adds to the first column, whose own values may be too small to tell.
  const ofUpdate = (i: number) => (i % WIDTH === 0 ? (1 + i / WIDTH) / 2 : 0);
  const isUpdated = expected.every(
    (value, i) => Math.abs((back?.[i] ?? NaN) - 2 * value - ofUpdate(i)) <= 1e-5 * (1 + Math.abs(value)),
  );
  const halves = expected.map((value, i) => (ofUpdate(i) === 0 ? (back?.[i] ?? NaN) / 2 : value));
  return (
    [...products(one, 1), ...products(several, 0)].every(values => areProducts(values, expected)) &&
    isUpdated &&
    areNumbers(halves, expected, format) &&
    FACTORS.every((factor, i) => da?.[i] === 1.5 * factor) &&
    [0, 1].every(i => db?.[i] === -1)
  );
}

export async function formatTrials(): Promise<void> {
  await Promise.all([...(trials.get(tf.backend()) ?? new Map<BlockFormat, Trial>()).values()].map(({over}) => over));
}

export async function readTrial(
  {bytes}: {bytes: Uint8Array},
  compute: (blocks: tf.Tensor1D) => tf.Tensor[],
): Promise<ArrayLike<number>[]> {
  const tensors = tf.tidy(() => {
    const blocks = tf.tensor1d(new Int32Array(bytes.buffer), 'int32');
    return compute(blocks).map(tensor => tf.keep(tensor));
  });
  const numbers = await Promise.all(tensors.map(tensor => tensor.data()));
  tf.dispose(tensors);
  return numbers;
}
