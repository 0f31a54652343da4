import * as tf from '@tensorflow/tfjs';
import {LoRAError} from '../../errors';
import {type GraphNode, type GraphType, inputsOf, keyOf, partsOf} from './graphDef';
import {largestOutput} from './graphSize';
import {GraphOp, type GraphFragment, graphOf, MOST_NUMBERS, runNode} from '../layers/graphOp';
import type {Planner} from './planner';
import type {Flow, Pair, PlannedWeight, Shaped, Value} from './values';

/** Constants of more numbers are weights: of floats, of others. */
const FEW_FLOATS = 1;
const FEW_INTEGERS = 64;

/** A node that is part of one in the graph. */
interface NodePart {
  /** Its name within that of the node. */
  part?: string;
  /** Which inputs of the node its own are. */
  sources?: number[];
}

/** Plans a node as a `GraphOp`. */
export function planOp(planner: Planner, node: GraphNode, {part, sources}: NodePart = {}): void {
  const parts = partsOfFragment(planner, node, sources);
  const {inputs, weights, fragment, values} = parts;
  const keys = planner.keysOf(node);
  const results = ([0, 1] as const).map(p =>
    tf.tidy(() => {
      checkSize(node, values, p);
      const tensors = values.map(value => tensorAt(value, p));
      return probed(planner, node, tensors, p).map(({shape, dtype}) => ({shape, dtype}));
    }),
  ) as unknown as Pair<{shape: number[]; dtype: GraphType}[]>;
  const open = (one: number[], other: number[] | undefined) =>
    one.map((size, axis) => (size === other?.[axis] ? size : null));
  const flows = inputs.map(key => planner.flowing(key));
  const types = results[0].map(({dtype}) => dtype);
  const whole: GraphFragment = {
    ...fragment,
    outputs: types.map((dtype, index) => ({index, dtype})),
    shapes: {
      inputs: flows.map(({shapes}) => open(...shapes)),
      outputs: results[0].map(({shape}, i) => open(shape, results[1][i]?.shape)),
    },
  };
  const layer = new GraphOp({name: planner.nameOf(node.name, part), fragment: {name: JSON.stringify(whole)}});
  planner.addCall(
    {layer, inputs: flows.map(({key}) => key), outputs: keys, weights},
    types.map((dtype, i) => ({dtype, shapes: [results[0][i]?.shape ?? [], results[1][i]?.shape ?? []]})),
  );
}

/** Plans a layer for what is known when a graph is planned: where another layer has to be called with it, or the model to return it. */
export function materialize(planner: Planner, {key}: Shaped): Map<string, Flow> {
  const origin = planner.graph.nodes.get(partsOf(key)[0]) as GraphNode;
  const keys = planner.keysOf(origin);
  const known = keys.map(each => planner.values.get(each));
  planOp(planner, origin);
  const flows = new Map(keys.map(each => [each, planner.values.get(each) as Flow]));
  // To the plan the numbers stay known.
  keys.forEach((each, i) => planner.values.set(each, known[i] as Value));
  return flows;
}

/** What a node is called with, sorted: flows, constants that are written down, constants that are weights. */
function partsOfFragment(
  planner: Planner,
  node: GraphNode,
  sources: readonly number[] = [],
): {
  inputs: string[];
  weights: Record<string, PlannedWeight>;
  fragment: Omit<GraphFragment, 'outputs' | 'shapes'>;
  values: Value[];
} {
  const inputs: string[] = [];
  const weights: Record<string, PlannedWeight> = {};
  const fragment: Omit<GraphFragment, 'outputs' | 'shapes'> = {node, inputs: [], weights: [], constants: []};
  const values: Value[] = [];
  const local = inputsOf(node).map((name, index) => {
    const value = planner.valueOf(name) as Value;
    values.push(value);
    if (value.kind !== 'constant') {
      const key = keyOf(name);
      const at = inputs.includes(key) ? inputs.indexOf(key) : inputs.push(key) - 1;
      const dtype = value.kind === 'flow' ? value.dtype : (value.pair[0].tensor.dtype as GraphType);
      fragment.inputs[at] = {name: `x${at}`, dtype};
      return `x${at}`;
    }
    const {tensor, values: numbers} = value;
    const {shape, dtype, size} = tensor;
    if (dtype === 'string') {
      throw new LoRAError('it works on texts');
    }
    const type = dtype as GraphType;
    // In JSON there is no infinity.
    const few = size <= (dtype === 'float32' ? FEW_FLOATS : FEW_INTEGERS);
    if (few && numbers !== undefined && Array.from(numbers).every(Number.isFinite)) {
      fragment.constants.push({name: `c${index}`, shape, dtype: type, values: Array.from(numbers)});
      return `c${index}`;
    }
    fragment.weights.push({name: `w${index}`, shape, dtype: type});
    weights[`w${index}`] = {tensor, source: {node: node.name, index: sources[index] ?? index}};
    return `w${index}`;
  });
  const {name, op, attr} = node;
  return {inputs, weights, values, fragment: {...fragment, node: {name, op, input: local, ...(attr && {attr})}}};
}

/** What stands for a value when a node is tried. */
function tensorAt(value: Value, p: 0 | 1): tf.Tensor {
  switch (value.kind) {
    case 'constant':
      return value.tensor;
    case 'shaped':
      return value.pair[p].tensor;
    case 'flow':
      return tf.zeros(value.shapes[p], value.dtype);
  }
}

/**
 * How many numbers a node gives, at most.
 *
 * @throws LoRAError if that is more than any tensor of a graph has.
 */
export function checkSize(node: GraphNode, values: readonly Value[], p: 0 | 1 = 0): number {
  const sized = values.map(value => {
    const known = value.kind === 'shaped' ? value.pair[p] : value;
    return known.kind === 'flow' ? {shape: known.shapes[p]} : {shape: known.tensor.shape, values: known.values};
  });
  const size = largestOutput(node, sized) ?? 0;
  if (size > MOST_NUMBERS) {
    throw new LoRAError(`it would give up to ${size} numbers, more than ${MOST_NUMBERS}`);
  }
  return size;
}

/** What a node gives for tensors that stand for others. */
function probed(planner: Planner, node: GraphNode, tensors: readonly tf.Tensor[], p: 0 | 1): tf.Tensor[] {
  // How many a Where finds hangs on the numbers.
  return node.op === 'Where'
    ? [tf.zeros([[7, 5][p] as number, tensors[0]?.rank ?? 1], 'int32')]
    : runProbe(planner, node, tensors);
}

/** What a node gives for tensors, in the order of its used outputs. */
export function runProbe(planner: Planner, node: GraphNode, tensors: readonly tf.Tensor[]): tf.Tensor[] {
  const outputs = planner.keysOf(node).map((_, index) => ({index, dtype: 'float32' as const}));
  const names = tensors.map((_, i) => `x${i}`);
  const {name, op, attr} = node;
  const own = {name, op, input: names, ...(attr && {attr})};
  const feed = Object.fromEntries(names.map((local, i) => [local, tensors[i] as tf.Tensor]));
  return tf.tidy(() => runNode(graphOf(own), {node: own, outputs}, feed));
}
