import {sizeOf} from '../../../platform/formats/layout';
import {BakedBatch} from '../../graph/import/planner';
import type {Rule} from './activations';
import {aligned, cast} from './elementwise';
import {range} from './lowering';
import {attribute, type Entry, type OnnxCall} from './onnxCall';
import {withoutAxes} from './reductions';

const INT = {T: attribute.type('DT_INT32')};

/** An input in the order of its values in the file. Axes of size 1 may be held elsewhere. */
async function inOrder(call: OnnxCall): Promise<string> {
  const wide = call.perm().filter(axis => call.size(0, axis) !== 1);
  return wide.every((axis, i) => i === 0 || axis > (wide[i - 1] ?? 0)) ? call.key(0) : call.plain();
}

async function reshape(call: OnnxCall, entries: readonly Entry[]): Promise<string> {
  return call.emit('Reshape', [await inOrder(call), await call.vector(entries)]);
}

export const reshapeTo: Rule = async call => {
  const given = call.version < 5 ? (call.ints('shape') ?? []) : call.entries(1);
  const keepsZeros = call.int('allowzero', 0) === 1;
  const isKept = (entry: Entry | undefined) => entry === 0 && !keepsZeros;
  // Axes that are kept may stay in another order, if those after them are in their own order.
  const count = given.findIndex(entry => !isKept(entry));
  const kept = count < 0 ? given.length : count;
  const perm = call.perm();
  const isBehind = kept > 1 && perm.every((axis, place) => place < kept || axis === place);
  const lead = isBehind ? perm.slice(0, kept) : range(kept);
  const entries: Entry[] = [];
  for (const axis of lead) {
    entries.push(await call.entry(0, axis));
  }
  for (const [i, entry] of given.slice(kept).entries()) {
    entries.push(isKept(entry) ? await call.entry(0, kept + i) : entry);
  }
  const x = isBehind ? call.key(0) : await inOrder(call);
  const rest = range(given.length).slice(kept);
  call.give(await call.emit('Reshape', [x, await call.vector(entries)]), isBehind ? [...lead, ...rest] : undefined);
};

export const flatten: Rule = async call => {
  const rank = call.rank();
  const given = call.int('axis', 1);
  const axis = given < 0 ? given + rank : given;
  const sizesOf = (from: number, to: number) =>
    range(rank)
      .slice(from, to)
      .map(at => call.size(0, at));
  const [lead, rest] = [sizesOf(0, axis), sizesOf(axis, rank)];
  const whole = (sizes: readonly (number | undefined)[]) =>
    sizes.every(size => size !== undefined) ? sizeOf(sizes) : undefined;
  const first = axis === 1 ? await call.entry(0, 0) : whole(lead);
  const second = whole(rest);
  call.give(
    await reshape(
      call,
      first !== undefined ? [first, -1] : [-1, second ?? call.refuse('flattens dynamic sizes on both sides')],
    ),
  );
};

/** A value only remembers by which permutation it is held, so that a transpose is computed where it matters. */
export const transpose: Rule = async call => {
  const rank = call.rank();
  const order = (call.ints('perm') ?? range(rank).reverse()).map(axis => call.axis(axis));
  if (call.value(0).kind === 'flow') {
    call.give(
      call.key(0),
      call.perm().map(axis => order.indexOf(axis)),
    );
  } else {
    call.give(await call.emit('Transpose', [call.key(0), call.constant(order)]));
  }
};

export const squeeze: Rule = async call => {
  const rank = call.rank();
  const given = call.list('axes', 1)?.map(axis => call.axis(axis));
  if (given === undefined && call.isOwnBatch(0, 1)) {
    throw new BakedBatch(`Squeeze "${call.node.name}", which drops it`);
  }
  if (given === undefined && range(rank).some(axis => axis > 0 && call.size(0, axis) === undefined)) {
    call.refuse('drops axes of size 1 among dynamic sizes');
  }
  const axes = given ?? range(rank).filter(axis => call.size(0, axis) === 1);
  const perm = call.perm();
  const dims = attribute.ints(axes.map(axis => perm.indexOf(axis)).sort((a, b) => a - b));
  const name = axes.length === 0 ? call.key(0) : await call.emit('Squeeze', [call.key(0)], {squeeze_dims: dims});
  call.give(name, withoutAxes(perm, axes));
};

export const unsqueeze: Rule = async call => {
  const given = call.list('axes', 1) ?? [];
  const rank = call.rank() + given.length;
  const axes = given.map(axis => call.axis(axis, rank)).sort((a, b) => a - b);
  let x = await call.plain();
  for (const axis of axes) {
    x = await call.emit('ExpandDims', [x, call.scalar(axis, 'int32')]);
  }
  call.give(x);
};

export const concat: Rule = async call => {
  if (call.count === 1) {
    call.give(call.key(0), call.perm());
    return;
  }
  const {names, perm} = await aligned(call);
  const axis = perm.indexOf(call.axis(call.int('axis', 1), perm.length));
  call.give(await call.emit('ConcatV2', [...names, call.scalar(axis, 'int32')]), perm);
};

export const split: Rule = async call => {
  const axis = call.axis(call.int('axis', 0));
  const perm = call.perm();
  const at = call.scalar(perm.indexOf(axis), 'int32');
  const count = call.proto.outputs.length;
  const size = call.size(0, axis);
  const each = size === undefined ? undefined : Math.ceil(size / count);
  const equal =
    size !== undefined && each !== undefined ? range(count).map(i => Math.min(each, size - i * each)) : undefined;
  const sizes = call.list('split', 1) ?? equal;
  const name = sizes
    ? await call.emit('SplitV', [call.key(0), call.constant(sizes), at], {}, count)
    : await call.emit('Split', [at, call.key(0)], {num_split: attribute.int(count)}, count);
  call.give(name, perm);
  range(count).forEach(i => call.low.give(call.node.name, i, `${name}:${i}`, perm));
};

/** The part that a slice takes along an axis. */
interface Cut {
  begin: Entry;
  end: Entry;
  step: number;
  isDropped?: boolean;
}

/** A slice of an input as it is held, by its axes in the file. */
export async function sliced(call: OnnxCall, cuts: ReadonlyMap<number, Cut>): Promise<string> {
  const order = call.perm().map(axis => cuts.get(axis));
  const bits = (fits: (cut: Cut | undefined) => boolean) =>
    attribute.int(order.reduce((mask, cut, i) => mask + (fits(cut) ? 2 ** i : 0), 0));
  // Beyond the axis, where a slice in this direction begins or ends.
  const isFar = ({step}: Cut, entry: Entry, isEnd: boolean) =>
    typeof entry === 'number' && Math.abs(entry) >= FAR && entry > 0 === (step > 0 === isEnd);
  const list = (pick: (cut: Cut) => Entry, other: number) =>
    call.vector(
      order.map(cut => {
        const entry = cut === undefined ? other : pick(cut);
        return typeof entry === 'number' ? Math.min(Math.max(entry, -FAR), FAR) : entry;
      }),
    );
  const inputs = [
    call.key(0),
    await list(cut => cut.begin, 0),
    await list(cut => cut.end, 0),
    await list(cut => cut.step, 1),
  ];
  return call.emit('StridedSlice', inputs, {
    begin_mask: bits(cut => cut === undefined || isFar(cut, cut.begin, false)),
    end_mask: bits(cut => cut === undefined || isFar(cut, cut.end, true)),
    shrink_axis_mask: bits(cut => cut?.isDropped === true),
    ellipsis_mask: attribute.int(0),
    new_axis_mask: attribute.int(0),
  });
}

/** Beyond this, an end means that of the axis in the direction of the step. */
const FAR = 2 ** 31 - 1;

/** What a slice takes along an axis of a known size, within the axis. */
function clamped({begin, end, step}: Cut, size: number | undefined): Cut {
  if (size === undefined || typeof begin !== 'number' || typeof end !== 'number') {
    return {begin, end, step};
  }
  const [least, most] = step > 0 ? [0, size] : [-1, size - 1];
  const within = (place: number, low: number) => Math.min(Math.max(place < 0 ? place + size : place, low), most);
  const from = within(begin, 0);
  // ONNX Runtime takes the largest integer for the end, also where that is the beginning of the axis.
  const to = end >= FAR && step < 0 ? -1 : within(end, least);
  const isEmpty = step > 0 ? to <= from : to >= from;
  // Before the first place there is none that an index could name.
  return isEmpty ? {begin: 0, end: 0, step: 1} : {begin: from, end: to < 0 ? -(2 ** 31) : to, step};
}

export const slice: Rule = async call => {
  const isOld = call.version < 10;
  const starts: Entry[] = isOld ? (call.ints('starts') ?? []) : call.entries(1);
  const ends: Entry[] = isOld ? (call.ints('ends') ?? []) : call.entries(2);
  const axes = (isOld ? call.ints('axes') : call.list('axes', 3)) ?? range(starts.length);
  const steps = (isOld ? undefined : call.list('steps', 4)) ?? axes.map(() => 1);
  const cuts = new Map(
    axes.map((given, i) => {
      const axis = call.axis(given);
      const cut = {begin: starts[i] ?? 0, end: ends[i] ?? 0, step: steps[i] ?? 1};
      return [axis, clamped(cut, call.size(0, axis))];
    }),
  );
  const isFlip = [...cuts].every(
    ([axis, {begin, end, step}]) =>
      step === -1 &&
      (begin === -1 || begin === (call.size(0, axis) ?? NaN) - 1) &&
      typeof end === 'number' &&
      end < -(2 ** 30),
  );
  if (isFlip) {
    const at = [...cuts.keys()].map(axis => call.perm().indexOf(axis));
    call.give(await call.emit('ReverseV2', [call.key(0), call.constant(at)]), call.perm());
    return;
  }
  call.give(await sliced(call, cuts), call.perm());
};

/** Ones of the shape, times the values: both are broadcast. */
export const expand: Rule = async call => {
  const entries = call.entries(1);
  const rank = call.rank();
  const isSame = entries.every((entry, i) => {
    const axis = i + rank - entries.length;
    return entry === 1 || (axis >= 0 && entry === call.size(0, axis));
  });
  if (isSame && entries.length <= rank) {
    call.give(call.key(0), call.perm());
    return;
  }
  const x = await call.plain();
  const isBool = call.dtype() === 'bool';
  const isFloat = call.dtype() === 'float32';
  const ones = await call.emit(
    'Fill',
    [await call.vector(entries), call.scalar(1, isFloat ? 'float32' : 'int32')],
    isFloat ? {} : INT,
  );
  const values = await call.emit('Mul', [isBool ? await cast(call, x, 'DT_INT32') : x, ones]);
  call.give(isBool ? await cast(call, values, 'DT_BOOL') : values);
};

export const constantOfShape: Rule = async call => {
  const stored = call.attribute('value')?.t;
  const [value = 0] = stored?.values() ?? [];
  const isFloat = (stored?.dtype ?? 'float32') === 'float32';
  const dims = await call.vector(call.entries(0));
  const filled = await call.emit('Fill', [dims, call.scalar(value, isFloat ? 'float32' : 'int32')], isFloat ? {} : INT);
  call.give(stored?.dtype === 'bool' ? await cast(call, filled, 'DT_BOOL') : filled);
};

export const tile: Rule = async call => {
  const multiples = await call.vector(call.entries(1));
  call.give(await call.emit('Tile', [await call.plain(), multiples]));
};

export const shape: Rule = async call => {
  const rank = call.rank();
  const bound = (name: string, fallback: number) => {
    const at = call.int(name, fallback);
    return Math.min(Math.max(at < 0 ? at + rank : at, 0), rank);
  };
  const entries: Entry[] = [];
  for (const axis of range(rank).slice(bound('start', 0), bound('end', rank))) {
    entries.push(await call.entry(0, axis));
  }
  call.give(await call.vector(entries));
};

export const sizeRule: Rule = async call => {
  const sizes = range(call.rank()).map(axis => call.size(0, axis));
  const isKnown = sizes.every(size => size !== undefined);
  call.give(isKnown ? call.scalar(sizeOf(sizes), 'int32') : await call.emit('Size', [call.key(0)]));
};

export const rangeRule: Rule = async call => {
  const isInt = call.dtype() === 'int32';
  const attr = {
    Tidx: attribute.type(isInt ? 'DT_INT32' : 'DT_FLOAT'),
    dtype: attribute.type(isInt ? 'DT_INT32' : 'DT_FLOAT'),
  };
  const [start, limit, step] = [0, 1, 2].map(i => call.key(i)) as [string, string, string];
  const pairs = [start, limit, step].map(key => call.planner.numbersAt(key)?.pair);
  const at = (i: number, p: 0 | 1) => pairs[i]?.[p][0] ?? Number.NaN;
  // Such a range is empty, but tfjs counts down.
  const isBackward = ([0, 1] as const).some(p => at(2, p) > 0 && at(2, p) <= 1 && at(1, p) < at(0, p));
  const end = isBackward ? await call.emit('Maximum', [start, limit]) : limit;
  call.give(await call.emit('Range', [start, end, step], attr));
};

/** Each repeated value of an edge is an operation. */
const MOST_EDGES = 32;

export const pad: Rule = async call => {
  const rank = call.rank();
  const isOld = call.version < 11;
  const given = (isOld ? call.ints('pads') : call.numbers(1)) ?? call.refuse('needs constant pads');
  const axes = call.has(3)
    ? (call.numbers(3) ?? call.refuse('needs constant axes')).map(axis => call.axis(axis))
    : range(rank);
  const value = isOld ? call.float('value', 0) : call.number(2, 0);
  const mode = call.text('mode', 'constant');
  const pads = call.perm().flatMap(axis => {
    const at = axes.indexOf(axis);
    return at < 0 ? [0, 0] : [given[at] ?? 0, given[axes.length + at] ?? 0];
  });
  if (pads.some(size => size < 0)) {
    call.refuse('has negative pads');
  }
  const paddings = call.constant(pads, [rank, 2]);
  if (mode === 'constant') {
    const type = call.dtype() === 'int32' ? ('int32' as const) : ('float32' as const);
    call.give(await call.emit('PadV2', [call.key(0), paddings, call.scalar(value, type)]), call.perm());
    return;
  }
  const isEdge = mode === 'edge';
  const largest = Math.max(0, ...pads);
  if ((mode !== 'reflect' && !isEdge) || (isEdge && largest > MOST_EDGES)) {
    call.refuse(`has the mode ${mode}${isEdge ? ` for ${largest} values, more than ${MOST_EDGES}` : ''}`);
  }
  if (!isEdge) {
    call.give(await call.emit('MirrorPad', [call.key(0), paddings], {mode: attribute.text('REFLECT')}), call.perm());
    return;
  }
  // A mirrored border of one value repeats the edge.
  let padded = call.key(0);
  for (let done = 0; done < largest; done++) {
    const once = call.constant(
      pads.map(size => (size > done ? 1 : 0)),
      [rank, 2],
    );
    padded = await call.emit('MirrorPad', [padded, once], {mode: attribute.text('SYMMETRIC')});
  }
  call.give(padded, call.perm());
};
