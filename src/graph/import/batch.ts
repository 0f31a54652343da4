import {flagOf, type GraphNode, inputsOf, numberOf, textOf} from './graphDef';
import type {Planner} from './planner';
import type {Pair, Value} from './values';

/** What a rule looks at: the node, and what is known of its inputs. */
interface Subject {
  node: GraphNode;
  values: readonly Value[];
  /** The numbers of an input that is a small constant. */
  numbers: (index: number) => number[] | undefined;
}

type Rule = (subject: Subject) => boolean;

/**
 * Whether a node computes each row of the batch from the same row of its inputs, whatever the size of the batch. Told by the kind of op and
 * its attributes, so that it is proved and not tried; an op that no rule knows is taken to mix rows.
 */
export function keepsRows(planner: Planner, node: GraphNode, [one, other]: Pair<number>): boolean {
  const values = inputsOf(node).map(name => planner.valueOf(name) as Value);
  const leads = (value: Value | undefined) =>
    value?.kind !== 'flow' || (value.shapes[0][0] === one && value.shapes[1][0] === other);
  const outputs = planner.keysOf(node).map(key => planner.values.get(key));
  const rule = Object.hasOwn(RULES, node.op) ? RULES[node.op] : undefined;
  if (rule === undefined || ![...values, ...outputs].every(leads)) {
    return false;
  }
  return rule({node, values, numbers: index => planner.numbers(inputsOf(node)[index])});
}

const always: Rule = () => true;

/** Elementwise, by the rules of broadcasting: what has no row for each example must not be met by the batch axis. */
const elementwise: Rule = ({values}) => {
  const rank = Math.max(...values.map(value => shapeOf(value).length));
  return values.every(value =>
    value.kind === 'flow' ? shapeOf(value).length === rank : shapeOf(value).length < rank || shapeOf(value)[0] === 1,
  );
};

/** An op along axes that are its second input, or an attribute, or the last. */
function alongAxes(index: number): Rule {
  return ({values, numbers}) => {
    const rank = shapeOf(values[0]).length;
    const axes = numbers(index);
    return axes?.every(axis => (axis < 0 ? axis + rank : axis) !== 0) ?? false;
  };
}

const alongLast: Rule = ({values}) => shapeOf(values[0]).length > 1;

const product: Rule = ({node, values}) => {
  const [a, b] = values;
  const [left, right] = [shapeOf(a).length, shapeOf(b).length];
  if (b?.kind !== 'flow') {
    const turned = flagOf(node, 'transpose_a') || (flagOf(node, 'adj_x') && left === 2);
    return !turned && (right < left || right === 2 || shapeOf(b)[0] === 1);
  }
  return right > 2 && (a?.kind === 'flow' ? left === right : left < right || shapeOf(a)[0] === 1);
};

const einsum: Rule = ({node, values}) => {
  const [left = '', result = ''] = textOf(node, 'equation').replace(/\s/g, '').split('->');
  const batch = result[0];
  return (
    batch !== undefined &&
    left.split(',').every((letters, i) => {
      return values[i]?.kind === 'flow' ? letters.indexOf(batch) === 0 : !letters.includes(batch);
    })
  );
};

const gather: Rule = ({node, values, numbers}) => {
  const [table, rows] = values;
  const [axis = 0] = numbers(2) ?? [];
  if (table?.kind === 'flow') {
    const along = axis < 0 ? axis + shapeOf(table).length : axis;
    return along !== 0 && (rows?.kind !== 'flow' || numberOf(node, 'batch_dims', 0) > 0);
  }
  return rows?.kind === 'flow' && axis === 0 && shapeOf(rows).length > 0;
};

const stridedSlice: Rule = ({node, numbers}) => {
  const [step] = numbers(3) ?? [];
  const has = (mask: string) => (numberOf(node, mask, 0) & 1) === 1;
  return step === 1 && !has('shrink_axis_mask') && !has('new_axis_mask');
};

/** A piece of each input, whose axis is an attribute. */
const packed: Rule = ({node, values}) => {
  const axis = numberOf(node, 'axis', 0);
  const rank = shapeOf(values[0]).length;
  return values.every(({kind}) => kind === 'flow') && axis !== 0 && axis !== -rank && axis !== -rank - 1;
};

const concat: Rule = ({node, values, numbers}) => {
  const parts = values.slice(0, -1);
  const rank = shapeOf(values[0]).length;
  const [axis = 0] = numbers(inputsOf(node).length - 1) ?? [];
  return axis !== 0 && axis !== -rank && parts.every(({kind}) => kind === 'flow');
};

const transpose: Rule = ({numbers}) => numbers(1)?.[0] === 0;

/** The size of the batch stays, so the pieces of a Reshape are whole rows. */
const whole: Rule = ({values}) => values[0]?.kind === 'flow';

const split: Rule = ({values, numbers}) => {
  const rank = shapeOf(values[1]).length;
  const axis = numbers(0)?.[0] ?? 0;
  return axis !== 0 && axis !== -rank;
};

const splitSizes: Rule = ({values, numbers}) => {
  const axis = numbers(2)?.[0] ?? 0;
  return axis !== 0 && axis !== -shapeOf(values[0]).length;
};

const RULES: Readonly<Record<string, Rule>> = {
  ...rules(
    'Relu Relu6 Elu Selu Sigmoid Tanh Softplus Softsign LeakyRelu Neg Abs Exp Expm1 Log Log1p Sqrt Rsqrt Square Reciprocal Inv Sin Cos Tan ' +
      'Asin Acos Atan Sinh Cosh Asinh Acosh Atanh Erf Floor Ceil Round Rint Sign Cast LogicalNot IsNan IsInf IsFinite ZerosLike OnesLike ' +
      '_FusedHardSwish _FusedSwish',
    always,
  ),
  ...rules(
    'Add AddV2 AddN Sub Mul Div RealDiv DivNoNan FloorDiv FloorMod Mod Maximum Minimum Pow SquaredDifference Atan2 Prelu BiasAdd Equal ' +
      'NotEqual Greater GreaterEqual Less LessEqual LogicalAnd LogicalOr SelectV2 ClipByValue',
    elementwise,
  ),
  ...rules(
    'Conv2D _FusedConv2D DepthwiseConv2dNative FusedDepthwiseConv2dNative MaxPool AvgPool FusedBatchNorm FusedBatchNormV2 ' +
      'FusedBatchNormV3 ResizeBilinear ResizeNearestNeighbor DepthToSpace SpaceToDepth LRN Conv3D MaxPool3D AvgPool3D',
    whole,
  ),
  Conv2DBackpropInput: ({values}) => values[1]?.kind !== 'flow' && values[2]?.kind === 'flow',
  ...rules('Mean Sum Max Min Prod All Any ArgMax ArgMin Cumsum Cumprod ReverseV2', alongAxes(1)),
  ...rules('Softmax LogSoftmax TopKV2', alongLast),
  ...rules('MatMul _FusedMatMul BatchMatMul BatchMatMulV2', product),
  ...rules('Reshape Squeeze ExpandDims Slice Pad PadV2 MirrorPad Tile BroadcastTo', whole),
  Einsum: einsum,
  GatherV2: gather,
  StridedSlice: stridedSlice,
  Transpose: transpose,
  ConcatV2: concat,
  Pack: packed,
  Unpack: packed,
  Split: split,
  SplitV: splitSizes,
  OneHot: ({node, values}) => values[0]?.kind === 'flow' && numberOf(node, 'axis', -1) !== 0,
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
