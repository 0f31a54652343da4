import type * as tf from '@tensorflow/tfjs';
import {
  type AttentionGradients,
  type AttentionInputs,
  attentionLayout,
  type AttentionSettings,
  biasOf,
  reachOf,
} from '../transformer';
import {computesScores} from '../scoreSettings';
import {GROUP, type Program, programOf, runProgram, splitBuffer} from '../../../../backends/webgpu/program';
import {laneLoop, REDUCE} from './reduce';

/** The most keys and the widest head that a workgroup can hold. */
const MAX_KEYS = 1024;
const LONGEST = 4 * GROUP;

/** Widths of a position; the offsets of the first key and value heads in it; the `examples` of a bias. */
const SETTINGS = {
  integers: [
    ...['heads', 'ratio', 'length', 'queries', 'keys', 'behind', 'ahead', 'widthQ', 'widthK', 'fromK', 'fromV'],
    'examples',
  ],
  floats: ['scale', 'cap'],
  converts: ['mask'],
};

/** The parameters of a program's code. */
interface Variant {
  readonly masked: boolean;
  readonly biased: boolean;
  readonly capped: boolean;
}

/** The inputs that a program has besides its own. */
function more({masked, biased}: Variant): string[] {
  return [...(masked ? ['mask'] : []), ...(biased ? ['bias'] : [])];
}

function program(name: string, variant: Variant, make: () => Omit<Program, 'name'>): Program {
  return programOf([name, ...more(variant), ...(variant.capped ? ['capped'] : [])].join(), make);
}

/** Of a larger number, some cards compute NaN as its tanh. */
const FLAT = 10;

/** Whether the mask shows a key; where rows begin; and the score of a query and a key, with its soft cap. */
const SCORES = ({masked, biased, capped}: Variant) => `
fn visible(b: i32, key: i32) -> bool { return ${masked ? 'f32(mask[b * u.keys + key]) != 0.0' : 'true'}; }
fn placeQ(b: i32, query: i32, h: i32) -> i32 { return (b * u.queries + query) * u.widthQ + h * u.length; }
fn placeY(b: i32, query: i32, h: i32) -> i32 { return ((b * u.queries + query) * u.heads + h) * u.length; }
fn placeK(b: i32, key: i32, h: i32, start: i32) -> i32 {
  return (b * u.keys + key) * u.widthK + start + h * u.length;
}
fn ${capped ? 'tanhOfScore' : 'score'}(b: i32, h: i32, query: i32, key: i32) -> f32 {
  let x = placeQ(b, query, h); let y = placeK(b, key, h / u.ratio, u.fromK);
  var s = 0.0; for (var d = 0; d < u.length; d++) { s += q[x + d] * k[y + d]; }
  return ${capped ? `tanh(clamp(s * u.scale / u.cap, -${FLAT}.0, ${FLAT}.0))` : `s * u.scale${biased ? ADDED : ''}`};
}
${capped ? CAPPED_SCORE.replace('ADDED', biased ? ADDED : '') : ''}`;

const ADDED = ' + bias[(((b % u.examples) * u.heads + h) * u.queries + query) * u.keys + key]';
const CAPPED_SCORE = `fn score(b: i32, h: i32, query: i32, key: i32) -> f32 {
  return u.cap * tanhOfScore(b, h, query, key)ADDED;
}
fn capSlope(b: i32, h: i32, query: i32, key: i32) -> f32 {
  let t = tanhOfScore(b, h, query, key);
  return 1.0 - t * t;
}`;

/** The weight of each key for one query, before the division by the sum `all`; `top` is the largest score. */
const WEIGH = `
let query = group % u.queries; let h = (group / u.queries) % u.heads; let b = group / (u.queries * u.heads);
let kv = h / u.ratio; let placeOfY = placeY(b, query, h); var m = -3e38;
let position = u.keys - u.queries + query;
let first = max(0, position - u.behind); let end = min(u.keys, position + u.ahead + 1);
${eachSeen('var s = -3e38; if (visible(b, j)) { s = score(b, h, query, j); m = max(m, s); } weights[j] = s;')}
let top = largest(m, lane); var sum = 0.0;
${eachSeen('let s = weights[j]; let e = select(0.0, exp(s - top), s > -1e38); weights[j] = e; sum += e;')}
let all = total(sum, lane); let share = select(0.0, 1.0 / all, all > 0.0);`;

/** A loop over the keys that the order lets the query see, in which the invocations take turns. */
function eachSeen(body: string): string {
  return `for (var j = first + lane; j < end; j += ${GROUP}) { ${body} }`;
}

const HELD = `var<workgroup> weights: array<f32, ${MAX_KEYS}>;`;

function forwardProgram(variant: Variant): Program {
  return program('attention', variant, () => ({
    reads: ['q', 'k', 'v', ...more(variant)],
    writes: ['y'],
    ...SETTINGS,
    head: `${REDUCE} ${HELD} ${SCORES(variant)}`,
    body: `${WEIGH}
${laneLoop(
  'd',
  'u.length',
  'var s = 0.0; for (var j = first; j < end; j++) { s += weights[j] * v[placeK(b, j, kv, u.fromV) + d]; } ' +
    'y[placeOfY + d] = s * share;',
)}`,
  }));
}

/**
 * The gradient in the queries; and statistics of each query: its largest score, the factor of its exponentials, and the
 * weighted mean `delta` of the gradients in its weights, `dWeights`.
 */
function queriesProgram(variant: Variant): Program {
  const throughCap = `${eachSeen('dWeights[j] = (dWeights[j] - delta) * capSlope(b, h, query, j);')}
workgroupBarrier();`;
  const dScore = variant.capped ? 'dWeights[j]' : '(dWeights[j] - delta)';
  return program('attentionQueries', variant, () => ({
    reads: ['q', 'k', 'v', 'dy', ...more(variant)],
    writes: ['dq', 'statistics'],
    ...SETTINGS,
    head: `${REDUCE} ${HELD} var<workgroup> dWeights: array<f32, ${MAX_KEYS}>; ${SCORES(variant)}`,
    body: `${WEIGH} var rowDot = 0.0;
${eachSeen(`let o = placeK(b, j, kv, u.fromV); var s = 0.0;
for (var d = 0; d < u.length; d++) { s += dy[placeOfY + d] * v[o + d]; }
dWeights[j] = s; rowDot += s * weights[j] * share;`)}
let delta = total(rowDot, lane);
${variant.capped ? throughCap : ''}
${laneLoop(
  'd',
  'u.length',
  `var s = 0.0; for (var j = first; j < end; j++) {
  s += weights[j] * share * ${dScore} * k[placeK(b, j, kv, u.fromK) + d];
}
dq[placeQ(b, query, h) + d] = s * u.scale;`,
)}
if (lane == 0) {
  statistics[3 * group] = top; statistics[3 * group + 1] = share; statistics[3 * group + 2] = delta;
}`,
  }));
}

/** The weight `p` of a key for a query, and the gradient in their score, from the query's statistics. */
const D_SCORE = `let row = (b * u.heads + h) * u.queries + query; let o = placeY(b, query, h);
p = exp(score(b, h, query, j) - statistics[3 * row]) * statistics[3 * row + 1];
var s = 0.0; for (var d = 0; d < u.length; d++) { s += dy[o + d] * v[ofV + d]; }
let dScore = p * (s - statistics[3 * row + 2]);`;

/**
 * The gradients in the keys and values: in separate tensors; next to that in the queries; or, if there is a bias,
 * consecutive in one tensor, since a program has at most eight buffers.
 */
function keysProgram(variant: Variant, packed: boolean): Program {
  const [dk, dv, after] = packed
    ? ['dx', 'dx', '']
    : variant.biased
      ? ['dkv', 'dkv', 'u.groups * u.length + ']
      : ['dk', 'dv', ''];
  const parts = LONGEST / GROUP;
  const eachValue = (body: string) =>
    `for (var t = 0; t < ${parts}; t++) { let d = lane + t * ${GROUP}; if (d < u.length) { ${body} } }`;
  return program(`attentionKeys,${packed}`, variant, () => ({
    reads: ['q', 'k', 'v', 'dy', 'statistics', ...more(variant)],
    writes: dk === dv ? [dk] : [dk, dv],
    ...SETTINGS,
    head: `var<workgroup> weights: array<f32, ${GROUP}>; var<workgroup> dScores: array<f32, ${GROUP}>;
${SCORES(variant)}`,
    body: `
let j = group % u.keys; let kv = (group / u.keys) % (u.heads / u.ratio);
let b = group / (u.keys * (u.heads / u.ratio));
let ofK = placeK(b, j, kv, u.fromK); let ofV = placeK(b, j, kv, u.fromV);
var sumsK: array<f32, ${parts}>; var sumsV: array<f32, ${parts}>;
let shift = j - u.keys + u.queries;
let first = max(0, shift - u.ahead); let end = min(u.queries, shift + u.behind + 1);
for (var h = kv * u.ratio; h < (kv + 1) * u.ratio; h++) {
  for (var from_ = first; from_ < end; from_ += ${GROUP}) {
    let query = from_ + lane; var p = 0.0; var scaled = 0.0;
    if (query < end && visible(b, j)) {
      ${D_SCORE}
      scaled = dScore * u.scale${variant.capped ? ' * capSlope(b, h, query, j)' : ''};
    }
    weights[lane] = p; dScores[lane] = scaled;
    workgroupBarrier();
    let count = min(${GROUP}, end - from_);
    for (var i = 0; i < count; i++) {
      let x = placeQ(b, from_ + i, h); let y = placeY(b, from_ + i, h); let w = weights[i];
      let g = dScores[i];
      ${eachValue('sumsK[t] += g * q[x + d]; sumsV[t] += w * dy[y + d];')}
    }
    workgroupBarrier();
  }
}
${eachValue(`${dk}[ofK + d] = sumsK[t]; ${dv}[${after}ofV + d] = sumsV[t];`)}`,
  }));
}

/** The gradient in the bias. If several examples share the bias, it is the sum over them. */
function biasProgram(variant: Variant): Program {
  return program('attentionBias', variant, () => ({
    reads: ['q', 'k', 'v', 'dy', 'statistics', ...more(variant)],
    writes: ['db'],
    ...SETTINGS,
    integers: [...SETTINGS.integers, 'batch'],
    head: SCORES(variant),
    body: `
let j = i % u.keys; let query = (i / u.keys) % u.queries; let h = (i / (u.keys * u.queries)) % u.heads;
let distance = j - (u.keys - u.queries + query); var sum = 0.0;
if (distance <= u.ahead && distance >= -u.behind) {
  for (var b = i / (u.keys * u.queries * u.heads); b < u.batch; b += u.examples) {
    if (visible(b, j)) {
      let ofV = placeK(b, j, h / u.ratio, u.fromV); var p = 0.0;
      ${D_SCORE} sum += dScore;
    }
  }
}
db[i] = sum;`,
  }));
}

/**
 * The arguments of the attention programs; `undefined` if the sizes are too large for a workgroup, or settings of the
 * scores have no code.
 */
function callOf(inputs: AttentionInputs, mask: tf.Tensor | null, settings: AttentionSettings) {
  const {heads, keyValueHeads, scale, softCap} = settings;
  const {behind, ahead} = reachOf(settings);
  const layout = attentionLayout(inputs, settings);
  const {q, k, v, batch, queries, keys, size: length, widthQ, widthK, fromK, fromV} = layout;
  const isComputed = computesScores(settings, ['softCap']);
  if (!isComputed || keys > MAX_KEYS || length > LONGEST || q.size === 0 || k.size === 0) {
    return undefined;
  }
  const bias = biasOf(inputs);
  const integers = [heads, heads / keyValueHeads, length, queries, keys, behind, ahead, widthQ, widthK, fromK, fromV];
  return {
    variant: {masked: mask !== null, biased: bias !== undefined, capped: softCap != null},
    reads: [q, k, v] as const,
    maskAndBias: [...(mask ? [mask] : []), ...(bias ? [bias] : [])],
    integers: [...integers, bias?.shape[0] ?? 0],
    floats: [scale, softCap ?? 0],
    batch,
    rows: batch * heads * queries,
    rowsOfKeys: batch * keyValueHeads * keys,
    shape: [batch, queries, heads * length],
  };
}

export function attend(
  inputs: AttentionInputs,
  mask: tf.Tensor | null,
  settings: AttentionSettings,
): tf.Tensor | undefined {
  const call = callOf(inputs, mask, settings);
  return (
    call &&
    runProgram(forwardProgram(call.variant), {
      inputs: [...call.reads, ...call.maskAndBias],
      outputs: [call.shape],
      numbers: [...call.integers, ...call.floats],
      rows: call.rows,
    })[0]
  );
}

export function attendGradient(
  inputs: AttentionInputs,
  mask: tf.Tensor | null,
  dy: tf.Tensor,
  settings: AttentionSettings,
): AttentionGradients | undefined {
  const call = callOf(inputs, mask, settings);
  if (call === undefined) {
    return undefined;
  }
  const {variant, reads, maskAndBias, integers, floats, batch, rows, rowsOfKeys} = call;
  const [q, k, v] = reads;
  const numbers = [...integers, ...floats];
  const [dq, statistics] = runProgram(queriesProgram(variant), {
    inputs: [...reads, dy, ...maskAndBias],
    outputs: [q.shape, [rows, 3]],
    numbers,
    rows,
  }) as [tf.Tensor, tf.Tensor];
  const fromStatistics = [...reads, dy, statistics, ...maskAndBias];
  const ofKeys = (packed: boolean, outputs: readonly (readonly number[] | tf.Tensor)[]) =>
    runProgram(keysProgram(variant, packed), {inputs: fromStatistics, outputs, numbers, rows: rowsOfKeys});
  const bias = biasOf(inputs);
  if (bias === undefined) {
    const packed = 'packed' in inputs;
    const dInputs = [dq, ...ofKeys(packed, packed ? [dq] : [k.shape, v.shape])];
    statistics.dispose();
    return {dInputs};
  }
  const [both] = ofKeys(false, [[k.size + v.size]]) as [tf.Tensor];
  const dInputs = [dq, ...splitBuffer(both, [k.shape, v.shape])];
  both.dispose();
  return {
    dInputs,
    dBias: () => {
      const [db] = runProgram(biasProgram(variant), {
        inputs: fromStatistics,
        outputs: [bias.shape],
        numbers: [...integers, batch, ...floats],
      });
      return db as tf.Tensor;
    },
  };
}
