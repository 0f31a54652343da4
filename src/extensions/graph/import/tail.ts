import * as tf from '@tensorflow/tfjs';
import {type GraphNode, inputsOf, keyOf, numberOf, textsOf} from '../graphDef';
import type {NewLayer, Planner} from './planner';
import type {PlannedWeight} from './values';

/** The activations of tfjs layers, by their ops. */
export const ACTIVATION_OPS: Readonly<Record<string, string>> = {
  Relu: 'relu',
  Relu6: 'relu6',
  Elu: 'elu',
  Selu: 'selu',
  Sigmoid: 'sigmoid',
  Tanh: 'tanh',
  Softplus: 'softplus',
  Softsign: 'softsign',
  Softmax: 'softmax',
};

/** What follows a convolution or a product, and becomes part of its layer or a separate layer. */
interface Tail {
  bias?: PlannedWeight;
  /** The activation of the layer itself. */
  activation: string;
  /** The input of a separate Add layer: a bias that is not constant, or not one value for each channel. */
  added?: number;
  /** An activation that is a separate layer. */
  after?: LayerAfter | {op: string};
  /** The following nodes that its layer computes too. */
  absorbed: GraphNode[];
}

interface LayerAfter {
  className: string;
  config: tf.serialization.ConfigDict;
  weights?: Record<string, PlannedWeight>;
}

/** A node with a kernel, as far as its tail depends on it. */
interface LinearNode {
  filters: number;
  /** The index of the first input of fused operations. */
  from: number;
  /** Whether the channels are the last axis. */
  channelsLast?: boolean;
}

/** The bias and activation of a node, fused or in nodes that it alone feeds. `undefined` for unknown ones. */
export function tailOf(node: GraphNode, linear: LinearNode, planner: Planner): Tail | undefined {
  const fused = textsOf(node, 'fused_ops').map(op => op.toLowerCase());
  if (fused.length === 0) {
    return following(node, {activation: 'linear', absorbed: []}, linear, planner);
  }
  const tail = fusedTail(node, fused, linear, planner);
  const isOpen = tail?.activation === 'linear' && tail.added === undefined && tail.after === undefined;
  return isOpen ? following(node, tail, linear, planner) : tail;
}

function fusedTail(
  node: GraphNode,
  ops: readonly string[],
  {filters, from}: LinearNode,
  planner: Planner,
): Tail | undefined {
  const isBiased = ops[0] === 'biasadd';
  const [activation, ...laterOps] = isBiased ? ops.slice(1) : ops;
  if (laterOps.length > 0) {
    return undefined;
  }
  const tensor = isBiased ? planner.constant(inputsOf(node)[from]) : undefined;
  const bias = tensor && asBias(node, from, tensor, filters, planner);
  const added = isBiased && bias === undefined;
  const tail: Tail = {activation: 'linear', absorbed: [], ...(bias && {bias}), ...(added && {added: from})};
  switch (activation) {
    case undefined:
      return tail;
    case 'leakyrelu':
      return {...tail, after: {className: 'LeakyReLU', config: {alpha: numberOf(node, 'leakyrelu_alpha', 0.2)}}};
    case 'prelu': {
      const after = preluOf(node, from + Number(isBiased), planner);
      return after && {...tail, after};
    }
    case '_fusedhardswish':
      return {...tail, after: {op: '_FusedHardSwish'}};
    case '_fusedswish':
      return {...tail, after: {op: '_FusedSwish'}};
    default: {
      const stockActivation = Object.values(ACTIVATION_OPS).find(name => name === activation);
      if (stockActivation === undefined) {
        return undefined;
      }
      return added
        ? {...tail, after: {className: 'Activation', config: {activation: stockActivation}}}
        : {...tail, activation: stockActivation};
    }
  }
}

/** A bias with one value for each channel, `[channels]` or `[1, 1, 1, channels]`. */
function asBias(
  node: GraphNode,
  index: number,
  tensor: tf.Tensor,
  filters: number,
  planner: Planner,
): PlannedWeight | undefined {
  if (tensor.size !== filters || (filters > 1 && tensor.shape.at(-1) !== filters) || tensor.dtype !== 'float32') {
    return undefined;
  }
  const flat = tensor.rank === 1 ? tensor : planner.derive(tensor, 'flat', () => flattened(tensor));
  return {tensor: flat, source: {node: node.name, index, shape: tensor.shape}};
}

/** A copy, since the wasm backend keeps the old shape of shared data, and fuses only biases of one axis. */
function flattened(tensor: tf.Tensor): tf.Tensor {
  return tf.tidy(() => tf.slice(tf.reshape(tensor, [tensor.size]), [0], [tensor.size]));
}

/** A Prelu as a layer, if its slopes fit one. */
export function preluOf(node: GraphNode, index: number, planner: Planner): LayerAfter | undefined {
  const names = inputsOf(node);
  const alpha = planner.constant(names[index]);
  const rank = planner.floats(names[0])?.shapes[0].length ?? 0;
  if (alpha === undefined || alpha.dtype !== 'float32' || alpha.rank > rank - 1 || alpha.rank === 0) {
    return undefined;
  }
  const shape = [...new Array<number>(rank - 1 - alpha.rank).fill(1), ...alpha.shape];
  const fitting = alpha.rank === rank - 1 ? alpha : planner.derive(alpha, shape.join(), () => tf.reshape(alpha, shape));
  const sharedAxes = shape.flatMap((size, i) => (size === 1 ? [i + 1] : []));
  return {
    className: 'PReLU',
    config: sharedAxes.length > 0 ? {sharedAxes} : {},
    weights: {alpha: {tensor: fitting, source: {node: node.name, index, shape: alpha.shape}}},
  };
}

/** Adds an adjacent bias and activation. */
function following(node: GraphNode, tail: Tail, {filters, channelsLast = true}: LinearNode, planner: Planner): Tail {
  const absorbed: GraphNode[] = [];
  let {bias} = tail;
  let last = node;
  const adds = bias === undefined ? planner.follower(node) : undefined;
  if (adds && ['BiasAdd', 'Add', 'AddV2'].includes(adds.op)) {
    const names = inputsOf(adds);
    const index = names.findIndex(name => keyOf(name) !== `${node.name}:0`);
    const tensor = index < 0 ? undefined : planner.constant(names[index]);
    const fits = tensor !== undefined && (channelsLast || adds.op === 'BiasAdd');
    bias = fits ? asBias(adds, index, tensor, filters, planner) : undefined;
    if (bias !== undefined) {
      absorbed.push(adds);
      last = adds;
    }
  }
  const next = planner.follower(last);
  const activation = next && Object.hasOwn(ACTIVATION_OPS, next.op) ? ACTIVATION_OPS[next.op] : undefined;
  // Layers fuse elementwise activations. For others a separate layer is as good.
  const joins = activation !== undefined && activation !== 'softmax';
  return {
    ...tail,
    ...(bias && {bias}),
    activation: joins ? activation : 'linear',
    absorbed: joins ? [...absorbed, next as GraphNode] : absorbed,
  };
}

/** Plans a layer with the bias and the activation of a tail, and what follows it. */
export function planWithTail(node: GraphNode, tail: Tail, layer: NewLayer, planner: Planner): true {
  const {bias, activation} = tail;
  planner.addLayer(node, {
    ...layer,
    config: {...layer.config, useBias: bias !== undefined, activation},
    weights: {...layer.weights, bias},
  });
  finishTail(node, tail, planner);
  return true;
}

/** Plans the separate layers of a tail, and records what is done. */
function finishTail(node: GraphNode, {added, after, absorbed}: Tail, planner: Planner): void {
  const {name} = node;
  if (added !== undefined) {
    const bias = inputsOf(node)[added] as string;
    planner.addOp({name, op: 'AddV2', input: [name, bias]}, {suffix: 'bias', sources: [0, added]});
  }
  if (after !== undefined && 'op' in after) {
    planner.addOp({name, op: after.op, input: [name]}, {suffix: 'activation'});
  } else if (after !== undefined) {
    planner.addLayer(node, {...after, suffix: after.className, inputs: [name]});
  }
  planner.absorb(node, absorbed);
}
