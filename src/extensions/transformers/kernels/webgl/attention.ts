import * as tf from '@tensorflow/tfjs';
import {
  type AttentionGradients,
  type AttentionInputs,
  attentionLayout,
  type AttentionSettings,
  biasOf,
  reachOf,
} from '../transformer';
import {computesScores} from '../scoreSettings';
import {type MatrixProgram, runMatrixProgram} from '../../../../backends/webgl/matrixProgram';

// Scores, weights and their gradients are matrices of `batch · heads · queries` rows and a column for each key, which
// live as long as an operation takes. Each row of scores has two statistics: the largest visible score, and the sum of
// the exponentials relative to it.

/** The most values in a texture: tfjs does not split textures. */
const MAX_SCORES = 2 ** 24;

const INTEGERS = ['heads', 'ratio', 'size', 'queries', 'keys', 'behind', 'ahead', 'fromK', 'fromV', 'biasRows'];
const SETTINGS = {integers: INTEGERS, floats: ['scale']};

function seen(masked: boolean): string {
  return `bool visible(int b, int query, int key) {
  int distance = key - (keys - queries + query);
  return distance <= ahead && distance >= -behind${masked ? ' && mask(b, key) != 0.0' : ''};
}`;
}

/** The range of keys that two adjacent queries, from `query` on, may see, `end` excluded. */
const KEYS_IN_REACH =
  'int position = keys - queries + query; int first = max(0, position - behind) / 2 * 2; ' +
  'int end = min(keys, position + ahead + 2);';
/** The range of queries that may see two adjacent keys, from `j` on, `end` excluded. */
const QUERIES_IN_REACH =
  'int shift = j - keys + queries; int first = max(0, shift - ahead) / 2 * 2; ' +
  'int end = min(queries, shift + behind + 2);';

const ROW = `int query = row % queries; int h = (row / queries) % heads;
int b_ = row / (queries * heads); int kv = h / ratio;`;
const POSITION = `int query = row % queries; int b_ = row / queries; int h = col / size; int kv = h / ratio;
int r = (b_ * heads + h) * queries + query;`;

/** Adds to a pixel the products of two rows of `a` with two rows of `b`. */
const ROWS_BY_ROWS = `result += vec4(dot(a.rg, b.rg), dot(a.rg, b.ba), dot(a.ba, b.rg), dot(a.ba, b.ba));`;
/** The same for rows of `a` and columns of `b`. */
const ROWS_BY_COLUMNS = `result += vec4(a.r * b.rg + a.g * b.ba, a.b * b.rg + a.a * b.ba);`;
/** The same for columns of both. */
const COLUMNS_BY_COLUMNS = `result += vec4(a.r * b.rg + a.b * b.ba, a.g * b.rg + a.a * b.ba);`;

/** For each query, the sum of its keys' rows of `other`, weighted by `factors`. */
function sumOfKeys(factors: string, other: string, from: string): string {
  return `${KEYS_IN_REACH} for (int j = first; j < end; j += 2) {
  vec4 a = ${factors}s(r, j);
  vec4 b = ${other}s(b_ * keys + j, ${from} + kv * size + col % size);
  ${ROWS_BY_COLUMNS}
}`;
}

/** The sum over all queries that see a key. `c` is the column within this part of the result. */
function sumOfQueries(factors: string, other: string): string {
  return `int j = row % keys; int b_ = row / keys; int kv = c / size; ${QUERIES_IN_REACH}
for (int h = kv * ratio; h < (kv + 1) * ratio; h++) { for (int query = first; query < end; query += 2) {
  vec4 a = ${factors}s((b_ * heads + h) * queries + query, j);
  vec4 b = ${other}s(b_ * queries + query, h * size + c % size);
  ${COLUMNS_BY_COLUMNS}
} }`;
}

/** The products of each query's row with each key's row. */
function pairs(ofQuery: string, ofKey: string, from: string): string {
  return `${ROW} ${KEYS_IN_REACH} if (col >= first && col < end) for (int d = 0; d < size; d += 2) {
  vec4 a = ${ofQuery}s(b_ * queries + query, h * size + d);
  vec4 b = ${ofKey}s(b_ * keys + col, ${from} + kv * size + d); ${ROWS_BY_ROWS}
}`;
}

const OF_KEYS = sumOfKeys('dScores', 'k', 'fromK');
const TO_KEYS = sumOfQueries('dScores', 'q');
const TO_VALUES = sumOfQueries('weights', 'dy');

const SCORES: MatrixProgram = {
  ...SETTINGS,
  reads: ['q', 'k'],
  pixel: `${pairs('q', 'k', 'fromK')} result *= scale;`,
};
const BIASED_SCORES: MatrixProgram = {
  ...SETTINGS,
  reads: ['q', 'k', 'bias'],
  pixel: `${SCORES.pixel} result += biass(row % biasRows, col);`,
};
const MIX: MatrixProgram = {
  ...SETTINGS,
  reads: ['weights', 'v'],
  pixel: `${POSITION} ${sumOfKeys('weights', 'v', 'fromV')}`,
};
const D_WEIGHTS: MatrixProgram = {...SETTINGS, reads: ['dy', 'v'], pixel: pairs('dy', 'v', 'fromV')};
/** The sum over the keys of each weight and its gradient, as in FlashAttention. */
const DELTA: MatrixProgram = {
  ...SETTINGS,
  reads: ['weights', 'dWeights'],
  value: `${ROW} ${KEYS_IN_REACH} float s = 0.0;
for (int j = first; j < end; j++) { s += weights(row, j) * dWeights(row, j); } return s;`,
};
/** The gradient in the products of queries and keys. */
const D_SCORES: MatrixProgram = {
  ...SETTINGS,
  reads: ['weights', 'dWeights', 'delta'],
  value: 'return weights(row, col) * (dWeights(row, col) - delta(row, 0)) * scale;',
};
const TO_Q: MatrixProgram = {...SETTINGS, reads: ['dScores', 'k'], pixel: `${POSITION} ${OF_KEYS}`};
const TO_K: MatrixProgram = {...SETTINGS, reads: ['dScores', 'q'], pixel: `int c = col; ${TO_KEYS}`};
const TO_V: MatrixProgram = {...SETTINGS, reads: ['weights', 'dy'], pixel: `int c = col; ${TO_VALUES}`};
/** The gradient in a bias that several examples share is the sum over them. */
const TO_BIAS: MatrixProgram = {
  reads: ['dScores'],
  integers: ['rows', 'biasRows'],
  floats: ['scale'],
  pixel: 'for (int r = row; r < rows; r += biasRows) { result += dScoress(r, col); } result /= scale;',
};
const TO_PACKED: MatrixProgram = {
  ...SETTINGS,
  reads: ['dScores', 'weights', 'q', 'k', 'dy'],
  pixel: `if (col < fromK) { ${POSITION} ${OF_KEYS} }
else if (col < fromV) { int c = col - fromK; ${TO_KEYS} }
else { int c = col - fromV; ${TO_VALUES} }`,
};

// Generation has one query. The values of heads then fill the pixels of its scores one by one, so that no size has to
// be even.

const SINGLE_SCORES: MatrixProgram = {
  ...SETTINGS,
  reads: ['q', 'k'],
  value: `${ROW} ${KEYS_IN_REACH} float s = 0.0;
if (col >= first && col < end) for (int d = 0; d < size; d++) {
  s += q(b_, h * size + d) * k(b_ * keys + col, fromK + kv * size + d);
}
return s * scale;`,
};
const SINGLE_MIX: MatrixProgram = {
  ...SETTINGS,
  reads: ['weights', 'v'],
  value: `int b_ = row; int query = 0; int h = col / size; int kv = h / ratio; ${KEYS_IN_REACH} float s = 0.0;
for (int j = first; j < min(end, keys); j++) {
  s += weights(b_ * heads + h, j) * v(b_ * keys + j, fromV + kv * size + col % size);
}
return s;`,
};

/** Computes the two statistics of each row of scores. */
function statisticsProgram(masked: boolean): MatrixProgram {
  return {
    ...SETTINGS,
    reads: ['scores', ...(masked ? ['mask'] : [])],
    head: seen(masked),
    value: `${ROW} ${KEYS_IN_REACH} float top = -3e38;
for (int j = first; j < end; j++) { if (visible(b_, query, j)) { top = max(top, scores(row, j)); } }
if (col == 0) return top;
float s = 0.0;
for (int j = first; j < end; j++) { if (visible(b_, query, j)) { s += exp(scores(row, j) - top); } }
return s;`,
  };
}

function weightsProgram(masked: boolean): MatrixProgram {
  return {
    ...SETTINGS,
    reads: ['scores', 'statistics', ...(masked ? ['mask'] : [])],
    head: seen(masked),
    value: `${ROW}
return visible(b_, query, col) ? exp(scores(row, col) - statistics(row, 0)) / statistics(row, 1) : 0.0;`,
  };
}

const STATISTICS = {masked: statisticsProgram(true), all: statisticsProgram(false)};
const WEIGHTS = {masked: weightsProgram(true), all: weightsProgram(false)};

/**
 * The arguments of the attention programs; `undefined` for no scores, too many, odd sizes of more than a query, or
 * settings of the scores.
 */
function callOf(inputs: AttentionInputs, mask: tf.Tensor | null, settings: AttentionSettings, back = false) {
  const {heads, keyValueHeads, scale} = settings;
  const {behind, ahead} = reachOf(settings);
  const {q, k, v, batch, queries, keys, size, fromK, fromV} = attentionLayout(inputs, settings);
  const rows = batch * heads * queries;
  const bias = biasOf(inputs);
  const isSingle = queries === 1 && !('packed' in inputs) && bias === undefined && !back;
  const isOdd = [queries, keys, size].some(count => count % 2 !== 0);
  const isTooMany = rows * keys > MAX_SCORES;
  if (!computesScores(settings, []) || (isOdd && !isSingle) || isTooMany || q.size === 0 || k.size === 0) {
    return undefined;
  }
  const biasRows = bias === undefined ? 0 : bias.size / keys;
  const numbers = [heads, heads / keyValueHeads, size, queries, keys, behind, ahead, fromK, fromV, biasRows, scale];
  const run = (program: MatrixProgram, operands: readonly tf.Tensor[], shape: readonly number[]) =>
    runMatrixProgram(program, {inputs: operands, shape, numbers});
  const [how, masks] = mask ? (['masked', [mask]] as const) : (['all', []] as const);
  const scores = isSingle
    ? run(SINGLE_SCORES, [q, k], [rows, keys])
    : bias
      ? run(BIASED_SCORES, [q, k, bias], [rows, keys])
      : run(SCORES, [q, k], [rows, keys]);
  const statistics = run(STATISTICS[how], [scores, ...masks], [rows, 2]);
  const weights = run(WEIGHTS[how], [scores, statistics, ...masks], [rows, keys]);
  return {q, k, v, run, weights, rows, keys, isSingle, shape: [batch, queries, heads * size]};
}

export function attend(
  inputs: AttentionInputs,
  mask: tf.Tensor | null,
  settings: AttentionSettings,
): tf.Tensor | undefined {
  return tf.tidy(() => {
    const call = callOf(inputs, mask, settings);
    return call?.run(call.isSingle ? SINGLE_MIX : MIX, [call.weights, call.v], call.shape);
  });
}

export function attendGradient(
  inputs: AttentionInputs,
  mask: tf.Tensor | null,
  dy: tf.Tensor,
  settings: AttentionSettings,
): AttentionGradients | undefined {
  const bias = biasOf(inputs);
  const gradients = tf.tidy(() => {
    const call = callOf(inputs, mask, settings, true);
    if (call === undefined) {
      return undefined;
    }
    const {q, k, v, run, weights, rows, keys} = call;
    const dWeights = run(D_WEIGHTS, [dy, v], [rows, keys]);
    const delta = run(DELTA, [weights, dWeights], [rows, 1]);
    const dScores = run(D_SCORES, [weights, dWeights, delta], [rows, keys]);
    const dInputs =
      'packed' in inputs
        ? [run(TO_PACKED, [dScores, weights, q, k, dy], q.shape)]
        : [run(TO_Q, [dScores, k], q.shape), run(TO_K, [dScores, q], k.shape), run(TO_V, [weights, dy], v.shape)];
    return {dInputs, dScores: bias && dScores};
  });
  if (gradients === undefined) {
    return undefined;
  }
  const {dInputs, dScores} = gradients;
  return {dInputs, ...(bias && dScores && {dBias: () => biasGradient(dScores, bias, settings)})};
}

function biasGradient(dScores: tf.Tensor, {shape, size}: tf.Tensor, {scale}: AttentionSettings): tf.Tensor {
  const [rows = 0, keys = 0] = dScores.shape;
  return runMatrixProgram(TO_BIAS, {inputs: [dScores], shape, numbers: [rows, size / keys, scale]});
}
