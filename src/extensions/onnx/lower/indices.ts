import {sizeOf} from '../../../platform/formats/layout';
import type {Rule} from './activations';
import {range} from './lowering';
import {attribute, type ShapeEntry, type OnnxCall} from './onnxCall';
import {withoutAxes} from './reductions';
import {sliced} from './shapes';

/** The positions below a size: 0, 1, … */
export async function positionsBelow(call: OnnxCall, size: ShapeEntry): Promise<string> {
  if (typeof size === 'number') {
    return call.constant(call.indicesBelow(size));
  }
  const limit = await call.emit('Reshape', [await call.vector([size]), call.constant([], [0])]);
  const attr = {Tidx: attribute.type('DT_INT32'), dtype: attribute.type('DT_INT32')};
  return call.emit('Range', [call.scalar(0, 'int32'), limit, call.scalar(1, 'int32')], attr);
}

/** Indices with negative ones resolved: they count from the end of axes of these sizes. */
async function nonNegativeIndices(
  call: OnnxCall,
  index: number,
  sizes: readonly ShapeEntry[],
  perm?: readonly number[],
): Promise<string> {
  const indices = perm ? await call.inputIn(index, perm) : await call.input(index);
  if (call.numbers(index)?.every(place => place >= 0)) {
    return indices;
  }
  const isNegative = await call.emit('Less', [indices, call.scalar(0, 'int32')]);
  return call.emit('SelectV2', [isNegative, await call.emit('AddV2', [indices, await call.vector(sizes)]), indices]);
}

/** The sizes of the leading data axes that an index tuple of GatherND or ScatterND addresses. */
async function indexedSizes(call: OnnxCall): Promise<ShapeEntry[]> {
  const depth = call.size(1, call.rank(1) - 1) ?? call.refuse('The node takes indices of dynamic length.');
  return call.sizeEntries(range(depth));
}

export const gather: Rule = async call => {
  const axis = call.axis(call.int('axis', 0));
  const indices = call.numbers(1);
  if (indices?.length === 1 && call.rank(1) === 0) {
    const [begin = 0] = indices;
    const cut = {begin, end: begin === -1 ? 2 ** 31 : begin + 1, step: 1, isDropped: true};
    call.setOutput(await sliced(call, new Map([[axis, cut]])), withoutAxes(call.perm(), [axis]));
    return;
  }
  const weight = call.lowering.weight(call.node.name, 0);
  // An embedding layer: token ids are not negative.
  const isTable = weight !== undefined && axis === 0 && indices === undefined;
  const at = isTable ? await call.input(1) : await nonNegativeIndices(call, 1, [await call.sizeEntry(0, axis)]);
  const table = weight ?? (await call.input());
  call.setOutput(await call.emit('GatherV2', [table, at, call.scalar(axis, 'int32')]));
};

/** Gathers single values along an axis, which is moved to the end. */
export const gatherElements: Rule = async call => {
  const rank = call.rank();
  const axis = call.axis(call.int('axis', 0));
  const shapesAt = (index: number) => [0, 1].map(p => call.shapeAt(index, p as 0 | 1).filter((_, at) => at !== axis));
  if (JSON.stringify(shapesAt(0)) !== JSON.stringify(shapesAt(1))) {
    call.refuse('The node takes indices of other sizes than its data.');
  }
  const perm = [...range(rank).filter(dataAxis => dataAxis !== axis), axis];
  const attr = {batch_dims: attribute.int(rank - 1)};
  const indices = await nonNegativeIndices(call, 1, [await call.sizeEntry(0, axis)], perm);
  const inputs = [await call.inputIn(0, perm), indices, call.scalar(rank - 1, 'int32')];
  call.setOutput(await call.emit('GatherV2', inputs, attr), perm);
};

export const gatherND: Rule = async call => {
  const batchAxes = call.int('batch_dims', 0);
  if (batchAxes !== 0) {
    await gatherRows(call, batchAxes);
    return;
  }
  call.setOutput(
    await call.emit('GatherNd', [await call.input(0), await nonNegativeIndices(call, 1, await indexedSizes(call))]),
  );
};

/** GatherND with batch axes: the indexed axes are flattened into one, which is gathered for each example. */
async function gatherRows(call: OnnxCall, batchAxes: number): Promise<void> {
  const depth = call.size(1, call.rank(1) - 1) ?? call.refuse('The node takes indices of dynamic length.');
  const sizes = range(depth).map(
    i =>
      call.size(0, batchAxes + i) ??
      call.refuse('The node takes indices of an axis of dynamic size: fix it by inputShapes.'),
  );
  const steps = sizes.map((_, i) => sizeOf(sizes.slice(i + 1)));
  const flatIndices = await call.emit('Mul', [await nonNegativeIndices(call, 1, sizes), call.constant(steps)]);
  const indices = await call.emit('Sum', [flatIndices, call.constant([call.rank(1) - 1])]);
  const entries = await call.sizeEntries(range(call.rank()));
  const rows = await call.reshaped(await call.input(), [
    ...entries.slice(0, batchAxes),
    sizeOf(sizes),
    ...entries.slice(batchAxes + depth),
  ]);
  const attr = {batch_dims: attribute.int(batchAxes)};
  call.setOutput(await call.emit('GatherV2', [rows, indices, call.scalar(batchAxes, 'int32')], attr));
}

export const scatterND: Rule = async call => {
  if (call.text('reduction', 'none') !== 'none') {
    call.refuse('The node has a reduction.');
  }
  const indices = await nonNegativeIndices(call, 1, await indexedSizes(call));
  call.setOutput(await call.emit('TensorScatterUpdate', [await call.input(0), indices, await call.input(2)]));
};

export const oneHot: Rule = async call => {
  const axis = call.int('axis', -1);
  const rank = call.rank();
  const [off = 0, on = 1] = call.numbers(2) ?? call.refuse('The node needs constant values.');
  const isInt = call.dtype(2) === 'int32';
  const type = isInt ? ('int32' as const) : ('float32' as const);
  const depth = call.number(1, 1);
  const inputs = [
    await nonNegativeIndices(call, 0, [depth]),
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
  const perm = [...range(rank + 1).filter(outputAxis => outputAxis !== at), at];
  call.setOutput(await call.emit('OneHot', inputs, attr), perm);
};
