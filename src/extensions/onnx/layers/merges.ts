import {type GraphWriter, type Tensor} from '../write/graphWriter';
import type {Write} from './call';
import {concatenatedMask, mergedMask} from './masks';

/**
 * The names of tensors with their axes in the order of the largest one, and that order. Tensors with fewer axes get
 * axes of size 1 after the batch.
 */
function aligned(out: GraphWriter, tensors: readonly Tensor[]): {names: string[]; order: readonly number[]} {
  const most = Math.max(...tensors.map(({rank}) => rank));
  const sizeOf = ({shape}: Tensor) => shape.reduce<number>((size, length) => size * (length ?? 1000), 1);
  const fullRank = tensors.filter(({rank}) => rank === most);
  const [largest] = [...fullRank].sort((one, other) => sizeOf(other) - sizeOf(one)) as [Tensor];
  if (fullRank.length === tensors.length) {
    return {names: tensors.map(tensor => out.held(tensor, largest.order)), order: largest.order};
  }
  const names = tensors.map(tensor => {
    const axes = Array.from({length: most - tensor.rank}, (_, i) => i + 1);
    return axes.length === 0 ? out.plain(tensor) : out.unsqueeze(out.plain(tensor), axes);
  });
  return {names, order: largest.shape.map((_, axis) => axis)};
}

function merged(op: string): Write {
  return (out, call) => {
    const {names, order} = aligned(out, call.inputs);
    call.outputMask = mergedMask(call);
    return call.output(out.node(op, names), order);
  };
}

/** `Mul`, which takes two at a time. */
const multiply: Write = (out, call) => {
  const {names, order} = aligned(out, call.inputs);
  call.outputMask = mergedMask(call);
  return call.output(
    names.reduce((product, name) => out.node('Mul', [product, name])),
    order,
  );
};

const concatenate: Write = (out, call) => {
  const {axis} = call.fields<{axis: number}>();
  const {names, order} = aligned(out, call.inputs);
  const place = axis < 0 ? axis + call.input.rank : axis;
  call.outputMask = concatenatedMask(out, call, place);
  return call.output(out.node('Concat', names, {axis: order.indexOf(place)}), order);
};

/** Rows of length 1. */
function normalized(out: GraphWriter, x: string, axis: number): string {
  const squares = out.reduce('ReduceSum', out.node('Mul', [x, x]), [axis], true);
  return out.node('Div', [x, out.node('Sqrt', [out.node('Max', [squares, out.float(1e-7)])])]);
}

const dot: Write = (out, call) => {
  const {axes, normalize} = call.fields<{axes: number | [number, number]; normalize: boolean}>();
  const [a, b] = call.inputs as [Tensor, Tensor];
  const pair = Array.isArray(axes) ? axes : [axes, axes];
  const [axisA, axisB] = [a, b].map(({rank}, i) => ((pair[i] ?? -1) + rank) % rank) as [number, number];
  const [x, y] = [out.plain(a), out.plain(b)];
  const [left, right] = normalize ? [normalized(out, x, axisA), normalized(out, y, axisB)] : [x, y];
  call.outputMask = undefined;
  if (axisA === 0 || axisB === 0) {
    out.refuse('A product over the batch cannot be written.');
  }
  if (a.rank === 2 && b.rank === 2) {
    return call.output(out.reduce('ReduceSum', out.node('Mul', [left, right]), [1], true));
  }
  // Rows of a, columns of b. A vector is a matrix of one row or one column.
  const rows =
    a.rank === 2 ? out.unsqueeze(left, [1]) : axisA === 2 ? left : out.node('Transpose', [left], {perm: [0, 2, 1]});
  const columns =
    b.rank === 2 ? out.unsqueeze(right, [2]) : axisB === 1 ? right : out.node('Transpose', [right], {perm: [0, 2, 1]});
  const product = out.node('MatMul', [rows, columns]);
  return call.output(a.rank === 2 ? out.squeeze(product, [1]) : b.rank === 2 ? out.squeeze(product, [2]) : product);
};

export const MERGE_LAYERS: Readonly<Record<string, Write>> = {
  Add: merged('Sum'),
  Average: merged('Mean'),
  Maximum: merged('Max'),
  Minimum: merged('Min'),
  Multiply: multiply,
  'tfjs-lora>Subtract': merged('Sub'),
  Concatenate: concatenate,
  Dot: dot,
};
