import type * as tf from '@tensorflow/tfjs';
import {flagOf, type GraphNode, inputsOf, numberOf, numbersOf, textOf} from '../graphDef';
import {planConv2D, planConv2DTranspose, planDepthwise} from './convolutions';
import {planEinsum, planMatMul} from './products';
import type {Planner} from './planner';
import {planReshape, planResize, planSqueeze, planTranspose} from './shaping';
import {ACTIVATION_OPS, preluOf} from './tail';

/** Plans a node as a tfjs layer. `false` if no such layer computes the same. */
type StockRule = (node: GraphNode, planner: Planner) => boolean;

/** Plans a node as tfjs layers, if there are any that compute the same. */
export function planStock(node: GraphNode, planner: Planner): boolean {
  const row = Object.hasOwn(ROWS, node.op) ? ROWS[node.op] : undefined;
  return row?.(node, planner) ?? false;
}

const batchNorm: StockRule = (node, planner) => {
  const names = inputsOf(node);
  const [gamma, beta, mean, variance] = names.slice(1).map(name => planner.constant(name));
  const x = planner.floats(names[0]);
  const channelsLast = textOf(node, 'data_format', 'NHWC') === 'NHWC';
  if (!x || !gamma || !beta || !mean || !variance || flagOf(node, 'is_training') || !channelsLast) {
    return false;
  }
  const weight = (tensor: tf.Tensor, index: number) => ({tensor, source: {node: node.name, index}});
  planner.addLayer(node, {
    className: 'BatchNormalization',
    config: {axis: -1, epsilon: numberOf(node, 'epsilon', 1e-4)},
    inputs: [names[0] as string],
    weights: {
      gamma: weight(gamma, 1),
      beta: weight(beta, 2),
      moving_mean: weight(mean, 3),
      moving_variance: weight(variance, 4),
    },
  });
  return true;
};

/** A pool of channels-last images. */
function pool(className: string): StockRule {
  return (node, planner) => {
    const padding = textOf(node, 'padding', 'VALID');
    const [x = ''] = inputsOf(node);
    const sizes = [numbersOf(node, 'ksize'), numbersOf(node, 'strides')];
    const onImages = sizes.every(([batch = 1, , , channels = 1]) => batch === 1 && channels === 1);
    const known = textOf(node, 'data_format', 'NHWC') === 'NHWC' && ['SAME', 'VALID'].includes(padding);
    if (!planner.floats(x) || !known || !onImages) {
      return false;
    }
    const [poolSize, strides] = sizes.map(list => list.slice(1, 3));
    planner.addLayer(node, {
      className,
      config: {poolSize: poolSize ?? [], strides: strides ?? [], padding: padding.toLowerCase()},
      inputs: [x],
    });
    return true;
  };
}

const activation: StockRule = (node, planner) => {
  const [x = ''] = inputsOf(node);
  if (!planner.floats(x)) {
    return false;
  }
  planner.addLayer(node, {
    className: 'Activation',
    config: {activation: ACTIVATION_OPS[node.op] as string},
    inputs: [x],
  });
  return true;
};

/** A sum, product, minimum or maximum of tensors of one shape. */
function merge(className: string): StockRule {
  return (node, planner) => {
    const names = inputsOf(node);
    const flows = names.map(name => planner.floats(name));
    const shapes = new Set(flows.map(flow => JSON.stringify(flow?.shapes)));
    // A layer called with one tensor twice would receive it once.
    const keys = new Set(
      names.map(name => planner.valueOf(name)).map(value => (value?.kind === 'flow' ? value.key : '')),
    );
    if (names.length < 2 || flows.includes(undefined) || shapes.size > 1 || keys.size < names.length) {
      return false;
    }
    planner.addLayer(node, {className, inputs: names});
    return true;
  };
}

const concat: StockRule = (node, planner) => {
  const names = inputsOf(node);
  const parts = names.slice(0, -1);
  const [axis] = planner.numbers(names.at(-1)) ?? [];
  const flows = parts.map(name => planner.floats(name));
  const rank = flows[0]?.shapes[0].length ?? 0;
  const alike = flows.every(flow => flow !== undefined && flow.shapes[0][0] === flows[0]?.shapes[0][0]);
  const keys = new Set(flows.map(flow => flow?.key));
  if (axis === undefined || axis === 0 || axis === -rank || parts.length < 2 || !alike || keys.size < parts.length) {
    return false;
  }
  // The layer treats every negative axis as the last one.
  planner.addLayer(node, {className: 'Concatenate', config: {axis: axis < 0 ? axis + rank : axis}, inputs: parts});
  return true;
};

/** The mean over all pixels of an image. */
const mean: StockRule = (node, planner) => {
  const [x = '', axes] = inputsOf(node);
  const flow = planner.floats(x);
  const list = planner.numbers(axes)?.map(axis => (axis < 0 ? axis + 4 : axis));
  if (flow?.shapes[0].length !== 4 || list === undefined || list.sort().join() !== '1,2') {
    return false;
  }
  planner.addLayer(node, {className: 'GlobalAveragePooling2D', inputs: [x]});
  if (flagOf(node, 'keep_dims')) {
    const channels = flow.shapes[0][3] ?? 1;
    planner.addLayer(node, {
      part: 'Reshape',
      className: 'Reshape',
      config: {targetShape: [1, 1, channels]},
      inputs: [node.name],
    });
  }
  return true;
};

const pad: StockRule = (node, planner) => {
  const [x = '', paddings, constant] = inputsOf(node);
  const pads = planner.numbers(paddings) ?? [];
  const value = constant === undefined ? 0 : planner.numbers(constant)?.[0];
  const [n0, n1, top = 0, bottom = 0, left = 0, right = 0, c0, c1] = pads;
  const onImages = pads.length === 8 && [n0, n1, c0, c1].every(size => size === 0);
  if (!planner.floats(x) || !onImages || value !== 0) {
    return false;
  }
  planner.addLayer(node, {
    className: 'ZeroPadding2D',
    config: {
      padding: [
        [top, bottom],
        [left, right],
      ],
    },
    inputs: [x],
  });
  return true;
};

const prelu: StockRule = (node, planner) => {
  const after = preluOf(node, 1, planner);
  if (after !== undefined) {
    planner.addLayer(node, {...after, inputs: inputsOf(node).slice(0, 1)});
  }
  return after !== undefined;
};

const leakyRelu: StockRule = (node, planner) => {
  const [x = ''] = inputsOf(node);
  if (!planner.floats(x)) {
    return false;
  }
  planner.addLayer(node, {className: 'LeakyReLU', config: {alpha: numberOf(node, 'alpha', 0.2)}, inputs: [x]});
  return true;
};

/** An embedding look-up. */
const gather: StockRule = (node, planner) => {
  const [table, rows = '', axis] = inputsOf(node);
  const tensor = planner.constant(table);
  const at = axis === undefined ? 0 : planner.numbers(axis)?.[0];
  const indices = planner.valueOf(rows);
  const known = indices?.kind === 'flow' && indices.shapes[0].length > 0;
  if (tensor?.rank !== 2 || tensor.dtype !== 'float32' || at !== 0 || !known || numberOf(node, 'batch_dims', 0) !== 0) {
    return false;
  }
  const [inputDim = 0, outputDim = 0] = tensor.shape;
  planner.addLayer(node, {
    className: 'Embedding',
    config: {inputDim, outputDim},
    inputs: [rows],
    weights: {embeddings: {tensor, source: {node: node.name, index: 0}}},
  });
  return true;
};

/** A row for each op that tfjs layers compute. Every other op is a `GraphOp`. */
const ROWS: Readonly<Record<string, StockRule>> = {
  Conv2D: planConv2D,
  _FusedConv2D: planConv2D,
  DepthwiseConv2dNative: planDepthwise,
  FusedDepthwiseConv2dNative: planDepthwise,
  Conv2DBackpropInput: planConv2DTranspose,
  MatMul: planMatMul,
  _FusedMatMul: planMatMul,
  BatchMatMul: planMatMul,
  BatchMatMulV2: planMatMul,
  Einsum: planEinsum,
  FusedBatchNorm: batchNorm,
  FusedBatchNormV2: batchNorm,
  FusedBatchNormV3: batchNorm,
  ...Object.fromEntries(Object.keys(ACTIVATION_OPS).map(op => [op, activation])),
  Prelu: prelu,
  LeakyRelu: leakyRelu,
  MaxPool: pool('MaxPooling2D'),
  AvgPool: pool('AveragePooling2D'),
  Mean: mean,
  Pad: pad,
  PadV2: pad,
  Add: merge('Add'),
  AddV2: merge('Add'),
  AddN: merge('Add'),
  Mul: merge('Multiply'),
  Maximum: merge('Maximum'),
  Minimum: merge('Minimum'),
  ConcatV2: concat,
  Reshape: planReshape,
  Squeeze: planSqueeze,
  ExpandDims: planSqueeze,
  Transpose: planTranspose,
  GatherV2: gather,
  ResizeBilinear: planResize('bilinear'),
  ResizeNearestNeighbor: planResize('nearest'),
};
