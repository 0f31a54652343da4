import {sizeOf} from '../../../platform/formats/layout';
import {flagOf, type GraphNode, inputsOf, numberOf, numbersOf, textOf} from '../graphDef';
import {BATCH, KNOWN} from './openSizes';
import type {Planner} from './planner';
import type {Value} from './values';

/** The input of a rule: a node, what is known of its inputs, and how many axes each has. */
interface Subject {
  node: GraphNode;
  values: readonly Value[];
  ranks: readonly number[];
  /** The values of an input that is a small constant. */
  numbers: (index: number) => number[] | undefined;
}

type Rule = (subject: Subject) => boolean;

/**
 * Whether a node computes each row of its outputs from the same row of its inputs, for any batch size (the first axis
 * of both). A rule for the op and its attributes proves it; an op without a rule counts as mixing rows.
 */
export function keepsRows(planner: Planner, node: GraphNode): boolean {
  const names = inputsOf(node);
  const values = names.map(name => planner.valueOf(name) as Value);
  const rule = Object.hasOwn(RULES, node.op) ? RULES[node.op] : undefined;
  return (
    rule !== undefined &&
    values.some(({kind}) => kind === 'flow') &&
    values.every(value => (value.kind === 'flow' ? value.sizes[0] === BATCH : !isFreed(planner, value))) &&
    rule({
      node,
      values,
      ranks: values.map(value => shapeOf(value).length),
      numbers: index => planner.numbers(names[index]),
    })
  );
}

function isFreed({open}: Planner, value: Value): boolean {
  return value.kind === 'shaped' && open.isFreed(value.sizes);
}

const isFlow = (value: Value | undefined) => value?.kind === 'flow';

/** Whether only the first input depends on the inputs of the graph. The others are parameters. */
const ofFirst: Rule = ({values}) => isFlow(values[0]) && !values.slice(1).some(isFlow);

/** By broadcasting: an input without rows must not reach the batch axis. */
const elementwise: Rule = ({values, ranks}) => {
  const rank = Math.max(...ranks);
  return values.every((value, i) =>
    isFlow(value) ? ranks[i] === rank : (ranks[i] ?? 0) < rank || shapeOf(value)[0] === 1,
  );
};

/** An op along axes that are its second input. */
const alongAxes: Rule = ({values, ranks, numbers}) => {
  const axes = numbers(1) ?? [];
  return isFlow(values[0]) && axes.length > 0 && axes.every(axis => isInside(axis, ranks[0]));
};

const alongLast: Rule = subject => ofFirst(subject) && (subject.ranks[0] ?? 0) > 1;

/** Whether an axis is not the first one. */
function isInside(axis: number | undefined, rank = 0): boolean {
  return axis !== undefined && axis !== 0 && axis !== -rank;
}

/** Kernels of products repeat the matrices of a smaller operand, so each row must have all of the result's. */
const product: Rule = ({node, values, ranks}) => {
  const [a, b, ...more] = values;
  const [left = 0, right = 0] = ranks;
  const rank = Math.max(left, right);
  const transposes = flagOf(node, 'transpose_a') || (flagOf(node, 'adj_x') && left === 2);
  // The fused bias and slopes.
  const areUnder = more.every((value, i) => {
    const itsRank = ranks[i + 2] ?? 0;
    return !isFlow(value) && (itsRank < rank || (itsRank === rank && shapeOf(value)[0] === 1));
  });
  return areUnder && (isFlow(b) ? right > 2 && goesInto(a, b) : !transposes && goesInto(b, a));
};

/** Whether an operand of a product has the same matrices in each row as the other, or one constant for several. */
function goesInto(value: Value | undefined, flow: Value | undefined): boolean {
  const [ours, other] = [matricesOf(value), matricesOf(flow)];
  const lead = other.length - ours.length;
  return isFlow(value)
    ? ours.join() === other.join()
    : lead >= 0 && ours.every((size, i) => size === ONE || (i + lead > 0 && size === other[i + lead]));
}

/** The sizes of the axes before a tensor's matrices. */
function matricesOf(value: Value | undefined): string[] {
  const sizes = value?.kind === 'flow' ? value.sizes : [];
  return shapeOf(value)
    .slice(0, -2)
    .map((size, axis) => `${size} ${sizes[axis] ?? KNOWN}`);
}

const ONE = `1 ${KNOWN}`;

const einsum: Rule = ({node, values, ranks}) => {
  const [left = '', result = ''] = textOf(node, 'equation').replace(/\s/g, '').split('->');
  const batch = result[0] ?? '';
  return (
    /[a-z]/i.test(batch) &&
    result.lastIndexOf(batch) === 0 &&
    left
      .split(',')
      .every((letters, i) =>
        isFlow(values[i]) ? letters.length === ranks[i] && letters.lastIndexOf(batch) === 0 : !letters.includes(batch),
      )
  );
};

const gather: Rule = ({node, values, ranks, numbers}) => {
  const [table, rows] = values;
  const [axis] = values.length > 2 ? (numbers(2) ?? []) : [0];
  const hasBatches = numberOf(node, 'batch_dims', 0) !== 0;
  if (isFlow(table)) {
    return isInside(axis, ranks[0]) && isFlow(rows) === hasBatches;
  }
  return isFlow(rows) && !hasBatches && axis === 0;
};

/** The whole batch, in order. */
const stridedSlice: Rule = subject => {
  const {node, numbers} = subject;
  const has = (mask: string) => (numberOf(node, mask, 0) & 1) === 1;
  const [begin] = numbers(1) ?? [];
  const [step] = numbers(3) ?? [];
  return (
    ofFirst(subject) &&
    step === 1 &&
    (begin === 0 || has('begin_mask')) &&
    has('end_mask') &&
    numberOf(node, 'ellipsis_mask', 0) === 0 &&
    !has('shrink_axis_mask') &&
    !has('new_axis_mask')
  );
};

const slice: Rule = subject => ofFirst(subject) && subject.numbers(1)?.[0] === 0 && subject.numbers(2)?.[0] === -1;

const pad: Rule = subject =>
  ofFirst(subject) &&
  subject
    .numbers(1)
    ?.slice(0, 2)
    .every(size => size === 0) === true;

const tile: Rule = subject => ofFirst(subject) && subject.numbers(1)?.[0] === 1;

/** The open size is the batch, if all others are known. */
const reshape: Rule = subject => {
  const [x] = subject.values;
  const [first, ...rest] = subject.numbers(1) ?? [];
  if (!ofFirst(subject) || x?.kind !== 'flow' || first !== -1 || x.sizes.slice(1).some(size => size !== KNOWN)) {
    return false;
  }
  return sizeOf(rest) === sizeOf(x.shapes[0].slice(1));
};

const squeeze: Rule = subject => {
  const {node, ranks} = subject;
  const axes = ['axis', 'squeeze_dims'].flatMap(key => numbersOf(node, key));
  return ofFirst(subject) && axes.length > 0 && axes.every(axis => isInside(axis, ranks[0]));
};

const expandDims: Rule = subject => ofFirst(subject) && isInside(subject.numbers(1)?.[0], (subject.ranks[0] ?? 0) + 1);

/** A concatenation of flows along an axis that is an attribute. */
const pack: Rule = ({node, values, ranks}) =>
  values.every(isFlow) && isInside(numberOf(node, 'axis', 0), (ranks[0] ?? 0) + 1);

const unpack: Rule = ({node, ranks}) => isInside(numberOf(node, 'axis', 0), ranks[0]);

const concat: Rule = ({values, ranks, numbers}) =>
  values.slice(0, -1).every(isFlow) && isInside(numbers(values.length - 1)?.[0], ranks[0]);

const transpose: Rule = subject => ofFirst(subject) && subject.numbers(1)?.[0] === 0;

const split: Rule = ({values, ranks, numbers}) => isFlow(values[1]) && isInside(numbers(0)?.[0], ranks[1]);

const splitSizes: Rule = subject => ofFirst(subject) && isInside(subject.numbers(2)?.[0], subject.ranks[0]);

const RULES: Readonly<Record<string, Rule>> = {
  ...rules(
    'Identity Relu Relu6 Elu Selu Sigmoid Tanh Softplus Softsign LeakyRelu Neg Abs Exp Expm1 Log Log1p Sqrt Rsqrt ' +
      'Square Reciprocal Inv Sin Cos Tan Asin Acos Atan Sinh Cosh Asinh Acosh Atanh Erf Floor Ceil Round Rint Sign ' +
      'Cast LogicalNot IsNan IsInf IsFinite ZerosLike OnesLike _FusedHardSwish _FusedSwish ClipByValue',
    ofFirst,
  ),
  ...rules(
    'Conv2D _FusedConv2D DepthwiseConv2dNative FusedDepthwiseConv2dNative MaxPool AvgPool FusedBatchNorm ' +
      'FusedBatchNormV2 FusedBatchNormV3 ResizeBilinear ResizeNearestNeighbor DepthToSpace SpaceToDepth LRN Conv3D ' +
      'MaxPool3D AvgPool3D',
    ofFirst,
  ),
  ...rules(
    'Add AddV2 Sub Mul Div RealDiv DivNoNan FloorDiv FloorMod Mod Maximum Minimum Pow SquaredDifference Atan2 ' +
      'Prelu BiasAdd Equal NotEqual Greater GreaterEqual Less LessEqual LogicalAnd LogicalOr SelectV2',
    elementwise,
  ),
  AddN: subject => subject.values.every(isFlow) && elementwise(subject),
  ...rules('Mean Sum Max Min Prod All Any ArgMax ArgMin Cumsum Cumprod ReverseV2', alongAxes),
  ...rules('Softmax LogSoftmax TopKV2', alongLast),
  ...rules('MatMul _FusedMatMul BatchMatMul BatchMatMulV2', product),
  ...rules('Pad PadV2 MirrorPad', pad),
  Reshape: reshape,
  Squeeze: squeeze,
  ExpandDims: expandDims,
  Slice: slice,
  StridedSlice: stridedSlice,
  Tile: tile,
  Einsum: einsum,
  GatherV2: gather,
  Transpose: transpose,
  ConcatV2: concat,
  Pack: pack,
  Unpack: unpack,
  Split: split,
  SplitV: splitSizes,
  OneHot: subject => ofFirst(subject) && isInside(numberOf(subject.node, 'axis', -1), (subject.ranks[0] ?? 0) + 1),
};

function rules(ops: string, rule: Rule): Record<string, Rule> {
  return Object.fromEntries(ops.split(' ').map(op => [op, rule]));
}

function shapeOf(value: Value | undefined): readonly number[] {
  switch (value?.kind) {
    case 'flow':
      return value.shapes[0];
    case 'shaped':
      return value.pair[0].tensor.shape;
    case 'constant':
      return value.tensor.shape;
    case undefined:
      return [];
  }
}
