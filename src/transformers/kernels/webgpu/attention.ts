import type * as tf from '@tensorflow/tfjs';
import {type AttentionInputs, attentionLayout, type AttentionSettings, reachOf} from '../transformer';
import {GROUP, type Program, programOf, runProgram} from '../../../kernels/webgpu/program';
import {each, REDUCE} from './reduce';

/** The most keys and the widest head that a workgroup can hold. */
const MOST_KEYS = 1024;
const LONGEST = 4 * GROUP;

/**
 * The widths are those of a place; `fromK` and `fromV` tell where the keys and values of the first head stand in it.
 */
const SETTINGS = {
  integers: ['heads', 'ratio', 'length', 'queries', 'keys', 'behind', 'ahead', 'widthQ', 'widthK', 'fromK', 'fromV'],
  floats: ['scale'],
};

/** Whether the mask shows a key; where rows begin; and the score of a query and a key. */
const SEEN = (
  masked: boolean,
) => `fn visible(b: i32, key: i32) -> bool { return ${masked ? 'f32(mask[b * u.keys + key]) != 0.0' : 'true'}; }
fn placeQ(b: i32, query: i32, h: i32) -> i32 { return (b * u.queries + query) * u.widthQ + h * u.length; }
fn placeY(b: i32, query: i32, h: i32) -> i32 { return ((b * u.queries + query) * u.heads + h) * u.length; }
fn placeK(b: i32, key: i32, h: i32, start: i32) -> i32 { return (b * u.keys + key) * u.widthK + start + h * u.length; }
fn dotQK(x: i32, y: i32) -> f32 { var s = 0.0; for (var d = 0; d < u.length; d++) { s += q[x + d] * k[y + d]; } return s * u.scale; }`;

/**
 * The weight of each key for one query, in `weights`, not yet divided by their sum `all`; `top` is the largest score.
 */
const WEIGH = `let query = group % u.queries; let h = (group / u.queries) % u.heads; let b = group / (u.queries * u.heads);
let kv = h / u.ratio; let placeOfQ = placeQ(b, query, h); let placeOfY = placeY(b, query, h); var m = -3e38;
let place = u.keys - u.queries + query; let first = max(0, place - u.behind); let end = min(u.keys, place + u.ahead + 1);
${eachSeen(
  'var s = -3e38; if (visible(b, j)) { s = dotQK(placeOfQ, placeK(b, j, kv, u.fromK)); m = max(m, s); } ' +
    'weights[j] = s;',
)}
let top = largest(m, lane); var sum = 0.0;
${eachSeen('let s = weights[j]; let e = select(0.0, exp(s - top), s > -1e38); weights[j] = e; sum += e;')}
let all = total(sum, lane); let share = select(0.0, 1.0 / all, all > 0.0);`;

/** A loop over the keys that the order lets the query see, in which the invocations take turns. */
function eachSeen(body: string): string {
  return `for (var j = first + lane; j < end; j += ${GROUP}) { ${body} }`;
}

const HELD = `var<workgroup> weights: array<f32, ${MOST_KEYS}>;`;

function forwardProgram(masked: boolean): Program {
  return programOf(`attention,${masked}`, () => ({
    reads: ['q', 'k', 'v', ...(masked ? ['mask'] : [])],
    writes: ['y'],
    ...SETTINGS,
    head: `${REDUCE} ${HELD} ${SEEN(masked)}`,
    body: `${WEIGH}
${each(
  'd',
  'u.length',
  'var s = 0.0; for (var j = first; j < end; j++) { s += weights[j] * v[placeK(b, j, kv, u.fromV) + d]; } ' +
    'y[placeOfY + d] = s * share;',
)}`,
  }));
}

/**
 * The gradient in the queries; and for each query the logarithm of its sum, and the mean of the gradients in its
 * weights.
 */
function queriesProgram(masked: boolean): Program {
  return programOf(`attentionQueries,${masked}`, () => ({
    reads: ['q', 'k', 'v', 'dy', ...(masked ? ['mask'] : [])],
    writes: ['dq', 'known'],
    ...SETTINGS,
    head: `${REDUCE} ${HELD} var<workgroup> asked: array<f32, ${MOST_KEYS}>; ${SEEN(masked)}`,
    body: `${WEIGH} var along = 0.0;
${eachSeen(
  `let o = placeK(b, j, kv, u.fromV); var s = 0.0; for (var d = 0; d < u.length; d++) { s += dy[placeOfY + d] * v[o + d]; }
asked[j] = s; along += s * weights[j] * share;`,
)}
let mean = total(along, lane);
${each(
  'd',
  'u.length',
  `var s = 0.0; for (var j = first; j < end; j++) { s += weights[j] * share * (asked[j] - mean) * k[placeK(b, j, kv, u.fromK) + d]; }
dq[placeOfQ + d] = s * u.scale;`,
)}
if (lane == 0) { known[2 * group] = select(3e38, top + log(all), all > 0.0); known[2 * group + 1] = mean; }`,
  }));
}

/** The gradients in the keys and values, in tensors of their own or beside that in the queries. */
function keysProgram(masked: boolean, packed: boolean): Program {
  const [dk, dv] = packed ? ['dx', 'dx'] : ['dk', 'dv'];
  const parts = LONGEST / GROUP;
  return programOf(`attentionKeys,${masked},${packed}`, () => ({
    reads: ['q', 'k', 'v', 'dy', 'known', ...(masked ? ['mask'] : [])],
    writes: packed ? ['dx'] : ['dk', 'dv'],
    ...SETTINGS,
    head: `var<workgroup> weights: array<f32, ${GROUP}>; var<workgroup> slopes: array<f32, ${GROUP}>; ${SEEN(masked)}`,
    body: `let j = group % u.keys; let kv = (group / u.keys) % (u.heads / u.ratio); let b = group / (u.keys * (u.heads / u.ratio));
let ofK = placeK(b, j, kv, u.fromK); let ofV = placeK(b, j, kv, u.fromV);
var sumsK: array<f32, ${parts}>; var sumsV: array<f32, ${parts}>;
let shift = j - u.keys + u.queries; let first = max(0, shift - u.ahead); let end = min(u.queries, shift + u.behind + 1);
for (var h = kv * u.ratio; h < (kv + 1) * u.ratio; h++) { for (var from_ = first; from_ < end; from_ += ${GROUP}) {
  let query = from_ + lane; var p = 0.0; var slope = 0.0;
  if (query < end && visible(b, j)) {
    let row = (b * u.heads + h) * u.queries + query; let o = placeY(b, query, h);
    p = exp(dotQK(placeQ(b, query, h), ofK) - known[2 * row]);
    var s = 0.0; for (var d = 0; d < u.length; d++) { s += dy[o + d] * v[ofV + d]; }
    slope = p * (s - known[2 * row + 1]) * u.scale;
  }
  weights[lane] = p; slopes[lane] = slope;
  workgroupBarrier();
  let count = min(${GROUP}, end - from_);
  for (var i = 0; i < count; i++) {
    let x = placeQ(b, from_ + i, h); let y = placeY(b, from_ + i, h); let w = weights[i]; let g = slopes[i];
    for (var t = 0; t < ${parts}; t++) { let d = lane + t * ${GROUP}; if (d < u.length) { sumsK[t] += g * q[x + d]; sumsV[t] += w * dy[y + d]; } }
  }
  workgroupBarrier();
} }
for (var t = 0; t < ${parts}; t++) { let d = lane + t * ${GROUP}; if (d < u.length) { ${dk}[ofK + d] = sumsK[t]; ${dv}[ofV + d] = sumsV[t]; } }`,
  }));
}

/** The arguments of the programs of attention; `undefined` where the sizes are too large for a workgroup. */
function callOf(inputs: AttentionInputs, mask: tf.Tensor | null, settings: AttentionSettings) {
  const {heads, keyValueHeads, scale} = settings;
  const {behind, ahead} = reachOf(settings);
  const layout = attentionLayout(inputs, settings);
  const {q, k, v, batch, queries, keys, size: length, widthQ, widthK, fromK, fromV} = layout;
  if (keys > MOST_KEYS || length > LONGEST || q.size === 0 || k.size === 0) {
    return undefined;
  }
  const numbers = [heads, heads / keyValueHeads, length, queries, keys, behind, ahead];
  return {
    reads: [q, k, v],
    masks: mask ? [mask] : [],
    numbers: [...numbers, widthQ, widthK, fromK, fromV, scale],
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
    runProgram(forwardProgram(mask !== null), {
      inputs: [...call.reads, ...call.masks],
      outputs: [call.shape],
      numbers: call.numbers,
      rows: call.rows,
    })[0]
  );
}

export function attendGradient(
  inputs: AttentionInputs,
  mask: tf.Tensor | null,
  dy: tf.Tensor,
  settings: AttentionSettings,
): tf.Tensor[] | undefined {
  const call = callOf(inputs, mask, settings);
  if (call === undefined) {
    return undefined;
  }
  const {reads, masks, numbers, rows, rowsOfKeys} = call;
  const [q, k, v] = reads as [tf.Tensor, tf.Tensor, tf.Tensor];
  const [dq, known] = runProgram(queriesProgram(mask !== null), {
    inputs: [...reads, dy, ...masks],
    outputs: [q.shape, [rows, 2]],
    numbers,
    rows,
  }) as [tf.Tensor, tf.Tensor];
  const packed = 'packed' in inputs;
  const others = runProgram(keysProgram(mask !== null, packed), {
    inputs: [...reads, dy, known, ...masks],
    outputs: packed ? [dq] : [k.shape, v.shape],
    numbers,
    rows: rowsOfKeys,
  });
  known.dispose();
  return packed ? [dq] : [dq, ...others];
}
