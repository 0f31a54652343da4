import {sizeOf} from '../../../platform/formats/layout';
import type {Rule} from './activations';
import {range} from './lowering';
import {attribute, type Entry, type OnnxCall} from './onnxCall';
import {withoutAxes} from './reductions';
import {sliced} from './shapes';

/** Indices, of which negative ones count from the end of the axes that have these sizes. */
async function fromStart(
  call: OnnxCall,
  index: number,
  sizes: readonly Entry[],
  perm?: readonly number[],
): Promise<string> {
  const indices = perm ? await call.as(index, perm) : await call.plain(index);
  if (call.numbers(index)?.every(place => place >= 0)) {
    return indices;
  }
  const isNegative = await call.emit('Less', [indices, call.scalar(0, 'int32')]);
  return call.emit('SelectV2', [isNegative, await call.emit('AddV2', [indices, await call.vector(sizes)]), indices]);
}

/** The sizes of the axes of a tensor that an index of several places names. */
async function indexed(call: OnnxCall): Promise<Entry[]> {
  const depth = call.size(1, call.rank(1) - 1) ?? call.refuse('takes indices of dynamic length');
  const sizes: Entry[] = [];
  for (const axis of range(depth)) {
    sizes.push(await call.entry(0, axis));
  }
  return sizes;
}

export const gather: Rule = async call => {
  const axis = call.axis(call.int('axis', 0));
  const indices = call.numbers(1);
  if (indices?.length === 1 && call.rank(1) === 0) {
    const [begin = 0] = indices;
    const cut = {begin, end: begin === -1 ? 2 ** 31 : begin + 1, step: 1, isDropped: true};
    call.give(await sliced(call, new Map([[axis, cut]])), withoutAxes(call.perm(), [axis]));
    return;
  }
  const weight = call.low.weight(call.node.name, 0);
  // A table of embeddings is one of tokens.
  const isTable = weight !== undefined && axis === 0 && indices === undefined;
  const at = isTable ? await call.plain(1) : await fromStart(call, 1, [await call.entry(0, axis)]);
  const table = weight ?? (await call.plain());
  call.give(await call.emit('GatherV2', [table, at, call.scalar(axis, 'int32')]));
};

/** For each index the value that it names, along an axis that is held as the last one. */
export const gatherElements: Rule = async call => {
  const rank = call.rank();
  const axis = call.axis(call.int('axis', 0));
  const shapesAt = (index: number) => [0, 1].map(p => call.shapeAt(index, p as 0 | 1).filter((_, at) => at !== axis));
  if (JSON.stringify(shapesAt(0)) !== JSON.stringify(shapesAt(1))) {
    call.refuse('takes indices of other sizes than its data');
  }
  const perm = [...range(rank).filter(each => each !== axis), axis];
  const attr = {batch_dims: attribute.int(rank - 1)};
  const indices = await fromStart(call, 1, [await call.entry(0, axis)], perm);
  const inputs = [await call.as(0, perm), indices, call.scalar(rank - 1, 'int32')];
  call.give(await call.emit('GatherV2', inputs, attr), perm);
};

export const gatherND: Rule = async call => {
  const batchAxes = call.int('batch_dims', 0);
  if (batchAxes !== 0) {
    await gatherRows(call, batchAxes);
    return;
  }
  call.give(await call.emit('GatherNd', [await call.plain(0), await fromStart(call, 1, await indexed(call))]));
};

/** A gather for each example, along axes that become one. */
async function gatherRows(call: OnnxCall, batchAxes: number): Promise<void> {
  const depth = call.size(1, call.rank(1) - 1) ?? call.refuse('takes indices of dynamic length');
  const sizes = range(depth).map(
    i => call.size(0, batchAxes + i) ?? call.refuse('takes indices of an axis of dynamic size: fix it by inputShapes'),
  );
  const steps = sizes.map((_, i) => sizeOf(sizes.slice(i + 1)));
  const places = await call.emit('Mul', [await fromStart(call, 1, sizes), call.constant(steps)]);
  const indices = await call.emit('Sum', [places, call.constant([call.rank(1) - 1])]);
  const entries: Entry[] = [];
  for (const axis of range(call.rank())) {
    entries.push(await call.entry(0, axis));
  }
  const rows = await call.reshaped(await call.plain(), [
    ...entries.slice(0, batchAxes),
    sizeOf(sizes),
    ...entries.slice(batchAxes + depth),
  ]);
  const attr = {batch_dims: attribute.int(batchAxes)};
  call.give(await call.emit('GatherV2', [rows, indices, call.scalar(batchAxes, 'int32')], attr));
}

export const scatterND: Rule = async call => {
  if (call.text('reduction', 'none') !== 'none') {
    call.refuse('has a reduction');
  }
  const indices = await fromStart(call, 1, await indexed(call));
  call.give(await call.emit('TensorScatterUpdate', [await call.plain(0), indices, await call.plain(2)]));
};

export const oneHot: Rule = async call => {
  const axis = call.int('axis', -1);
  const rank = call.rank();
  const [off = 0, on = 1] = call.numbers(2) ?? call.refuse('needs constant values');
  const isInt = call.dtype(2) === 'int32';
  const type = isInt ? ('int32' as const) : ('float32' as const);
  const depth = call.number(1, 1);
  const inputs = [
    await fromStart(call, 0, [depth]),
    call.scalar(depth, 'int32'),
    call.scalar(on, type),
    call.scalar(off, type),
  ];
  const attr = {
    axis: attribute.int(-1),
    T: attribute.type(isInt ? 'DT_INT32' : 'DT_FLOAT'),
    dtype: attribute.type(isInt ? 'DT_INT32' : 'DT_FLOAT'),
  };
  const at = axis < 0 ? axis + rank + 1 : axis;
  const perm = [...range(rank + 1).filter(each => each !== at), at];
  call.give(await call.emit('OneHot', inputs, attr), perm);
};
