import {sizeOf} from '../../../platform/formats/layout';
import {FixedBatchError} from '../../graph/import/planner';
import type {Rule} from './activations';
import {alignInputs, cast} from './elementwise';
import {range} from './lowering';
import {attribute, type ShapeEntry, type OnnxCall} from './onnxCall';
import {withoutAxes} from './reductions';

const INT = {T: attribute.type('DT_INT32')};

/** An input with its values in the order of the file. Axes of size 1 may be anywhere. */
async function inValueOrder(call: OnnxCall): Promise<string> {
  const wide = call.perm().filter(axis => call.size(0, axis) !== 1);
  return wide.every((axis, i) => i === 0 || axis > (wide[i - 1] ?? 0)) ? call.key(0) : call.input();
}

async function reshape(call: OnnxCall, entries: readonly ShapeEntry[]): Promise<string> {
  return call.emit('Reshape', [await inValueOrder(call), await call.vector(entries)]);
}

export const reshapeTo: Rule = async call => {
  const target = call.version < 5 ? (call.ints('shape') ?? []) : call.entries(1);
  const keepsZeros = call.int('allowzero', 0) === 1;
  const copiesSize = (entry: ShapeEntry | undefined) => entry === 0 && !keepsZeros;
  // Leading axes whose sizes are copied may keep their layout if the axes after them are in the order of the file.
  const count = target.findIndex(entry => !copiesSize(entry));
  const leadingCopies = count < 0 ? target.length : count;
  const perm = call.perm();
  const keepsLayout = leadingCopies > 1 && perm.every((axis, place) => place < leadingCopies || axis === place);
  const lead = keepsLayout ? perm.slice(0, leadingCopies) : range(leadingCopies);
  const entries = await call.sizeEntries(lead);
  for (const [i, entry] of target.slice(leadingCopies).entries()) {
    entries.push(copiesSize(entry) ? await call.sizeEntry(0, leadingCopies + i) : entry);
  }
  const x = keepsLayout ? call.key(0) : await inValueOrder(call);
  const trailing = range(target.length).slice(leadingCopies);
  call.setOutput(
    await call.emit('Reshape', [x, await call.vector(entries)]),
    keepsLayout ? [...lead, ...trailing] : undefined,
  );
};

export const flatten: Rule = async call => {
  const rank = call.rank();
  const axisInFile = call.int('axis', 1);
  const axis = axisInFile < 0 ? axisInFile + rank : axisInFile;
  const sizesOf = (from: number, to: number) =>
    range(rank)
      .slice(from, to)
      .map(at => call.size(0, at));
  const [lead, trailing] = [sizesOf(0, axis), sizesOf(axis, rank)];
  const product = (sizes: readonly (number | undefined)[]) =>
    sizes.every(size => size !== undefined) ? sizeOf(sizes) : undefined;
  const first = axis === 1 ? await call.sizeEntry(0, 0) : product(lead);
  const second = product(trailing);
  call.setOutput(
    await reshape(
      call,
      first !== undefined ? [first, -1] : [-1, second ?? call.refuse('The node flattens dynamic sizes on both sides.')],
    ),
  );
};

/** Only changes the layout of a value. The transpose is computed where an operation needs another layout. */
export const transpose: Rule = async call => {
  const rank = call.rank();
  const order = (call.ints('perm') ?? range(rank).reverse()).map(axis => call.axis(axis));
  if (call.value(0).kind === 'flow') {
    call.setOutput(
      call.key(0),
      call.perm().map(axis => order.indexOf(axis)),
    );
  } else {
    call.setOutput(await call.emit('Transpose', [call.key(0), call.constant(order)]));
  }
};

export const squeeze: Rule = async call => {
  const rank = call.rank();
  const listed = call.list('axes', 1)?.map(axis => call.axis(axis));
  if (listed === undefined && call.isExportedBatch(0, 1)) {
    throw new FixedBatchError(`Squeeze "${call.node.name}", which drops it`);
  }
  if (listed === undefined && range(rank).some(axis => axis > 0 && call.size(0, axis) === undefined)) {
    call.refuse('The node drops axes of size 1 among dynamic sizes.');
  }
  const axes = listed ?? range(rank).filter(axis => call.size(0, axis) === 1);
  const perm = call.perm();
  const dims = attribute.ints(axes.map(axis => perm.indexOf(axis)).sort((a, b) => a - b));
  const name = axes.length === 0 ? call.key(0) : await call.emit('Squeeze', [call.key(0)], {squeeze_dims: dims});
  call.setOutput(name, withoutAxes(perm, axes));
};

export const unsqueeze: Rule = async call => {
  const newAxes = call.list('axes', 1) ?? [];
  const rank = call.rank() + newAxes.length;
  const axes = newAxes.map(axis => call.axis(axis, rank)).sort((a, b) => a - b);
  let x = await call.input();
  for (const axis of axes) {
    x = await call.emit('ExpandDims', [x, call.scalar(axis, 'int32')]);
  }
  call.setOutput(x);
};

export const concat: Rule = async call => {
  if (call.count === 1) {
    call.setOutput(call.key(0), call.perm());
    return;
  }
  const {names, perm} = await alignInputs(call);
  const axis = perm.indexOf(call.axis(call.int('axis', 1), perm.length));
  call.setOutput(await call.emit('ConcatV2', [...names, call.scalar(axis, 'int32')]), perm);
};

export const split: Rule = async call => {
  const axis = call.axis(call.int('axis', 0));
  const perm = call.perm();
  const at = call.scalar(perm.indexOf(axis), 'int32');
  const count = call.proto.outputs.length;
  const size = call.size(0, axis);
  const largestPart = size === undefined ? undefined : Math.ceil(size / count);
  const equal =
    size !== undefined && largestPart !== undefined
      ? range(count).map(i => Math.min(largestPart, size - i * largestPart))
      : undefined;
  const sizes = call.list('split', 1) ?? equal;
  const name = sizes
    ? await call.emit('SplitV', [call.key(0), call.constant(sizes), at], {}, count)
    : await call.emit('Split', [at, call.key(0)], {num_split: attribute.int(count)}, count);
  call.setOutput(name, perm);
  range(count).forEach(i => call.lowering.setOutput(call.node.name, i, `${name}:${i}`, perm));
};

/** The slice of one axis. */
interface AxisSlice {
  begin: ShapeEntry;
  end: ShapeEntry;
  step: number;
  isDropped?: boolean;
}

/** Slices an input in its present layout. `cuts` is by axis of the file. */
export async function sliced(call: OnnxCall, cuts: ReadonlyMap<number, AxisSlice>): Promise<string> {
  const order = call.perm().map(axis => cuts.get(axis));
  const bits = (fits: (cut: AxisSlice | undefined) => boolean) =>
    attribute.int(order.reduce((mask, cut, i) => mask + (fits(cut) ? 2 ** i : 0), 0));
  // Whether a bound lies beyond the end at which a slice in this direction begins or ends.
  const isBeyondEnd = ({step}: AxisSlice, entry: ShapeEntry, isEnd: boolean) =>
    typeof entry === 'number' && Math.abs(entry) >= OPEN_END && entry > 0 === (step > 0 === isEnd);
  const list = (pick: (cut: AxisSlice) => ShapeEntry, other: number) =>
    call.vector(
      order.map(cut => {
        const entry = cut === undefined ? other : pick(cut);
        return typeof entry === 'number' ? Math.min(Math.max(entry, -OPEN_END), OPEN_END) : entry;
      }),
    );
  const inputs = [
    call.key(0),
    await list(cut => cut.begin, 0),
    await list(cut => cut.end, 0),
    await list(cut => cut.step, 1),
  ];
  return call.emit('StridedSlice', inputs, {
    begin_mask: bits(cut => cut === undefined || isBeyondEnd(cut, cut.begin, false)),
    end_mask: bits(cut => cut === undefined || isBeyondEnd(cut, cut.end, true)),
    shrink_axis_mask: bits(cut => cut?.isDropped === true),
  });
}

/** A bound of at least this size means the end of the axis in the direction of the step. */
const OPEN_END = 2 ** 31 - 1;

/** Clamps a slice to an axis of known size. */
function clampSlice({begin, end, step}: AxisSlice, size: number | undefined): AxisSlice {
  if (size === undefined || typeof begin !== 'number' || typeof end !== 'number') {
    return {begin, end, step};
  }
  const [least, most] = step > 0 ? [0, size] : [-1, size - 1];
  const within = (place: number, low: number) => Math.min(Math.max(place < 0 ? place + size : place, low), most);
  const from = within(begin, 0);
  // ONNX Runtime reads the largest integer as the open end, even if the step is negative.
  const to = end >= OPEN_END && step < 0 ? -1 : within(end, least);
  const isEmpty = step > 0 ? to <= from : to >= from;
  // No index names the position before the first one.
  return isEmpty ? {begin: 0, end: 0, step: 1} : {begin: from, end: to < 0 ? -(2 ** 31) : to, step};
}

export const slice: Rule = async call => {
  const isOld = call.version < 10;
  const starts: ShapeEntry[] = isOld ? (call.ints('starts') ?? []) : call.entries(1);
  const ends: ShapeEntry[] = isOld ? (call.ints('ends') ?? []) : call.entries(2);
  const axes = (isOld ? call.ints('axes') : call.list('axes', 3)) ?? range(starts.length);
  const steps = (isOld ? undefined : call.list('steps', 4)) ?? axes.map(() => 1);
  const cuts = new Map(
    axes.map((axisInFile, i) => {
      const axis = call.axis(axisInFile);
      const cut = {begin: starts[i] ?? 0, end: ends[i] ?? 0, step: steps[i] ?? 1};
      return [axis, clampSlice(cut, call.size(0, axis))];
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
    call.setOutput(await call.emit('ReverseV2', [call.key(0), call.constant(at)]), call.perm());
    return;
  }
  call.setOutput(await sliced(call, cuts), call.perm());
};

/** Broadcasts by a product with ones of the target shape. */
export const expand: Rule = async call => {
  const entries = call.entries(1);
  const rank = call.rank();
  const isSame = entries.every((entry, i) => {
    const axis = i + rank - entries.length;
    return entry === 1 || (axis >= 0 && entry === call.size(0, axis));
  });
  if (isSame && entries.length <= rank) {
    call.setOutput(call.key(0), call.perm());
    return;
  }
  const x = await call.input();
  const isBool = call.dtype() === 'bool';
  const isFloat = call.dtype() === 'float32';
  const ones = await call.emit(
    'Fill',
    [await call.vector(entries), call.scalar(1, isFloat ? 'float32' : 'int32')],
    isFloat ? {} : INT,
  );
  const values = await call.emit('Mul', [isBool ? await cast(call, x, 'DT_INT32') : x, ones]);
  call.setOutput(isBool ? await cast(call, values, 'DT_BOOL') : values);
};

export const constantOfShape: Rule = async call => {
  const stored = call.attribute('value')?.t;
  const [value = 0] = stored?.values() ?? [];
  const isFloat = (stored?.dtype ?? 'float32') === 'float32';
  const dims = await call.vector(call.entries(0));
  const filled = await call.emit('Fill', [dims, call.scalar(value, isFloat ? 'float32' : 'int32')], isFloat ? {} : INT);
  call.setOutput(stored?.dtype === 'bool' ? await cast(call, filled, 'DT_BOOL') : filled);
};

export const tile: Rule = async call => {
  const multiples = await call.vector(call.entries(1));
  call.setOutput(await call.emit('Tile', [await call.input(), multiples]));
};

export const shape: Rule = async call => {
  const rank = call.rank();
  const bound = (name: string, fallback: number) => {
    const at = call.int(name, fallback);
    return Math.min(Math.max(at < 0 ? at + rank : at, 0), rank);
  };
  const axes = range(rank).slice(bound('start', 0), bound('end', rank));
  call.setOutput(await call.vector(await call.sizeEntries(axes)));
};

export const sizeRule: Rule = async call => {
  const sizes = range(call.rank()).map(axis => call.size(0, axis));
  const isKnown = sizes.every(size => size !== undefined);
  call.setOutput(isKnown ? call.scalar(sizeOf(sizes), 'int32') : await call.emit('Size', [call.key(0)]));
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
  // tfjs counts down here; ONNX returns an empty range.
  const isBackward = ([0, 1] as const).some(p => at(2, p) > 0 && at(2, p) <= 1 && at(1, p) < at(0, p));
  const end = isBackward ? await call.emit('Maximum', [start, limit]) : limit;
  call.setOutput(await call.emit('Range', [start, end, step], attr));
};

/** The largest edge padding: each value of it is an operation. */
const MAX_EDGE_WIDTH = 32;

export const pad: Rule = async call => {
  const rank = call.rank();
  const isOld = call.version < 11;
  const sizes = (isOld ? call.ints('pads') : call.numbers(1)) ?? call.refuse('The node needs constant pads.');
  const axes = call.has(3)
    ? (call.numbers(3) ?? call.refuse('The node needs constant axes.')).map(axis => call.axis(axis))
    : range(rank);
  const value = isOld ? call.float('value', 0) : call.number(2, 0);
  const mode = call.text('mode', 'constant');
  const pads = call.perm().flatMap(axis => {
    const at = axes.indexOf(axis);
    return at < 0 ? [0, 0] : [sizes[at] ?? 0, sizes[axes.length + at] ?? 0];
  });
  if (pads.some(size => size < 0)) {
    call.refuse('The node has negative pads.');
  }
  const paddings = call.constant(pads, [rank, 2]);
  if (mode === 'constant') {
    const type = call.dtype() === 'int32' ? ('int32' as const) : ('float32' as const);
    call.setOutput(await call.emit('PadV2', [call.key(0), paddings, call.scalar(value, type)]), call.perm());
    return;
  }
  const isEdge = mode === 'edge';
  const largest = Math.max(0, ...pads);
  if ((mode !== 'reflect' && !isEdge) || (isEdge && largest > MAX_EDGE_WIDTH)) {
    call.refuse(`The node has the mode ${mode}${isEdge ? ` for ${largest} values, more than ${MAX_EDGE_WIDTH}` : ''}.`);
  }
  if (!isEdge) {
    call.setOutput(
      await call.emit('MirrorPad', [call.key(0), paddings], {mode: attribute.text('REFLECT')}),
      call.perm(),
    );
    return;
  }
  // A symmetric border of one value repeats the edge.
  let padded = call.key(0);
  for (let done = 0; done < largest; done++) {
    const once = call.constant(
      pads.map(size => (size > done ? 1 : 0)),
      [rank, 2],
    );
    padded = await call.emit('MirrorPad', [padded, once], {mode: attribute.text('SYMMETRIC')});
  }
  call.setOutput(padded, call.perm());
};
