import * as tf from '@tensorflow/tfjs';
import {tooLargeError, unsupportedError} from '../../../platform/errors';
import {type GraphNode, type GraphType, inputsOf, keyOf, nodeAndOutput} from '../graphDef';
import {blank, GraphOp, type GraphFragment, graphOf, runNode} from './graphOp';
import {BATCH, KNOWN} from './openSizes';
import type {SizedInput} from './operation';
import {keepsRows, largestOutput, shapeByRule, stepsOf} from './operations';
import {FixedBatchError, type Planner} from './planner';
import {
  constantAt,
  type Flow,
  MAX_NUMBERS,
  type NodeOverrides,
  type Pair,
  type PlannedWeight,
  type Shaped,
  type TensorSignature,
  type Value,
} from './values';

/** Larger constants are weights: of floats, of others. */
const FEW_FLOATS = 1;
const FEW_INTEGERS = 64;

/**
 * Plans a node as a `GraphOp`.
 *
 * @throws FixedBatchError if the batch size is being freed, and the node does not compute each row independently.
 */
export function planOp(planner: Planner, node: GraphNode, overrides: NodeOverrides = {}): void {
  const isRows = keepsRows(planner, node);
  if (planner.freesBatch && !isRows) {
    throw new FixedBatchError(`${node.op} "${node.name}"`);
  }
  addOp(planner, node, isRows, overrides);
}

function addOp(
  planner: Planner,
  node: GraphNode,
  isRows: boolean,
  {suffix, sources, keys = planner.keysOf(node)}: NodeOverrides,
): void {
  const {inputs, weights, fragment, values} = partsOfFragment(planner, node, sources);
  const trial = trialKey(fragment.node, values, keys.length);
  const [first, second] = planner.trials.get(trial) ?? tryOut(planner, fragment.node, values, keys.length);
  planner.trials.set(trial, [first, second]);
  const isProved = hasProvedShape(node, values, isRows);
  const results = first.map(({shape, dtype}, i): Omit<Flow, 'kind' | 'key'> => {
    const shapes: Pair<number[]> = [shape, second[i]?.shape ?? []];
    // A size that is the same in both runs is assumed to be fixed. The layer checks it.
    const open = shape.map((size, axis) => ((isRows && axis === 0) || size !== shapes[1][axis] ? null : size));
    const sizes = open.map((size, axis) =>
      isRows && axis === 0 ? BATCH : size !== null && (isProved || !planner.isStrict) ? KNOWN : planner.open.another(),
    );
    return {shapes, sizes, shape: open, dtype};
  });
  const completeFragment: GraphFragment = {
    ...fragment,
    outputs: results.map(({dtype}, index) => ({index, dtype})),
    shapes: {inputs: inputs.map(({shape}) => shape), outputs: results.map(({shape}) => shape)},
  };
  if (!isProved && !planner.isStrict) {
    planner.check(keys[0] as string);
  }
  const name = planner.nameOf(node.name, suffix);
  const layer = () => new GraphOp({name, fragment: {name: JSON.stringify(completeFragment)}});
  planner.addCall({layer, inputs: inputs.map(({key}) => key), outputs: [...keys], weights}, results);
}

/** Equal for nodes with tensors of the same shapes and the same values of integers and booleans. */
export function trialKey({op, attr}: GraphNode, values: readonly Value[], count: number): string {
  return JSON.stringify([op, attr, count, values.map(signature)]);
}

function signature(value: Value): unknown {
  switch (value.kind) {
    case 'constant':
      return value.values === undefined || value.tensor.size > FEW_INTEGERS
        ? value.tensor.id
        : [value.tensor.dtype, value.tensor.shape, Array.from(value.values, String)];
    case 'shaped':
      return [value.pair[0].tensor.id, value.pair[1].tensor.id];
    case 'flow':
      return [value.dtype, value.shapes];
  }
}

/** Trials of fewer steps are run, even if a rule tells the shape: they show that tfjs computes the node. */
const FEW_STEPS = 2 ** 16;

/** The results of a node for both trial sizes. */
function tryOut(planner: Planner, node: GraphNode, values: readonly Value[], count: number): Pair<TensorSignature[]> {
  const signaturesAt = (p: 0 | 1): TensorSignature[] => {
    checkSize(node, values, p);
    if (node.op === 'Where') {
      // The number of indices that it finds depends on the values.
      return [{shape: [[7, 5][p] as number, sizedAt(values[0] as Value, p).shape.length], dtype: 'int32'}];
    }
    const sized = values.map(value => sizedAt(value, p));
    const steps = stepsOf(node, sized);
    const shape = steps > FEW_STEPS && count === 1 ? shapeByRule(node, sized) : undefined;
    if (shape !== undefined) {
      return [{shape, dtype: 'float32'}];
    }
    planner.spend(steps);
    return tf.tidy(() =>
      run(
        planner,
        node,
        values.map(value => tensorAt(node, value, p)),
        count,
      ).map(({shape, dtype}) => ({shape, dtype: dtype as GraphType})),
    );
  };
  const first = signaturesAt(0);
  const isSame = node.op !== 'Where' && values.every(value => value.kind === 'constant' || hasOneShape(value));
  return [first, isSame ? first : signaturesAt(1)];
}

/** Whether both trials of a node get the same of an input. */
function hasOneShape(value: Shaped | Flow): boolean {
  return value.kind === 'flow' && tf.util.arraysEqual(...(value.shapes as [number[], number[]]));
}

/** Whether a node's output shapes follow from shapes that are constant except for the batch. */
function hasProvedShape({op}: GraphNode, values: readonly Value[], isRows: boolean): boolean {
  const isKnown = ({sizes}: Flow) => sizes.every((size, axis) => size === KNOWN || (isRows && axis === 0));
  // Integers that depend on the inputs may determine the shape.
  const isData = ({dtype}: Flow, i: number) => dtype !== 'int32' || (i === 0 && op !== 'Fill' && op !== 'Range');
  return (
    op !== 'Where' &&
    values.every(
      (value, i) => value.kind === 'constant' || (value.kind === 'flow' && isKnown(value) && isData(value, i)),
    )
  );
}

/** Plans a layer that passes on an output of a node. */
export function planAlias(planner: Planner, name: string): Flow {
  const [node] = nodeAndOutput(name);
  const key = `${keyOf(name)}+${planner.layers.length}`;
  planOp(planner, {name: node, op: 'Identity', input: [name]}, {suffix: 'output', keys: [key]});
  return planner.values.get(key) as Flow;
}

/**
 * Plans a layer for a value that is known to the plan, so that another layer can be called with it or the model can
 * return it.
 *
 * While the batch size is being freed, the value may depend on it. Callers check that.
 */
export function materialize(planner: Planner, {key}: Shaped): Map<string, Flow> {
  const origin = planner.graph.nodes.get(nodeAndOutput(key)[0]) as GraphNode;
  const keys = planner.keysOf(origin);
  const plannedValues = keys.map(output => planner.values.get(output));
  addOp(planner, origin, false, {});
  const flows = new Map(keys.map(output => [output, planner.values.get(output) as Flow]));
  // The plan still knows the values.
  keys.forEach((output, i) => planner.values.set(output, plannedValues[i] as Value));
  return flows;
}

/** The inputs of a node, sorted: flows, small constants for its config, and large ones that become weights. */
function partsOfFragment(
  planner: Planner,
  node: GraphNode,
  sources: readonly number[] = [],
): {
  inputs: Flow[];
  weights: Record<string, PlannedWeight>;
  fragment: Omit<GraphFragment, 'outputs' | 'shapes'>;
  values: Value[];
} {
  const inputs: Flow[] = [];
  const places = new Map<string, number>();
  const weights: Record<string, PlannedWeight> = {};
  const fragment: Omit<GraphFragment, 'outputs' | 'shapes'> = {node, inputs: [], weights: [], constants: []};
  const values: Value[] = [];
  const local = inputsOf(node).map((name, index) => {
    const value = planner.valueOf(name) as Value;
    values.push(value);
    if (value.kind !== 'constant') {
      // Deduplicated: a layer called with one tensor twice would receive it once.
      const flow = planner.flowing(name);
      const at = places.get(flow.key) ?? inputs.push(flow) - 1;
      places.set(flow.key, at);
      fragment.inputs[at] = {name: `x${at}`, dtype: flow.dtype};
      return `x${at}`;
    }
    const {tensor, values: numbers} = value;
    const {shape, dtype, size} = tensor;
    if (dtype === 'string') {
      throw unsupportedError('it uses strings');
    }
    const type = dtype as GraphType;
    // JSON has no infinity.
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

/** The trial value of an input. */
export function tensorAt(node: GraphNode, value: Value, p: 0 | 1): tf.Tensor {
  return value.kind === 'flow' ? blank(node, value.shapes[p], value.dtype) : constantAt(value, p).tensor;
}

/**
 * Returns the maximum size of a node's result.
 *
 * @throws LoRAError if no tensor of a graph is that large.
 */
export function checkSize(node: GraphNode, values: readonly Value[], p: 0 | 1 = 0): number {
  const size =
    largestOutput(
      node,
      values.map(value => sizedAt(value, p)),
    ) ?? 0;
  if (size > MAX_NUMBERS) {
    throw tooLargeError(`it would return up to ${size} values, more than ${MAX_NUMBERS}`);
  }
  return size;
}

/** Reserves the time for computing a node of constants, or of shapes. */
export function spendOn(planner: Planner, node: GraphNode, values: readonly Value[], p: 0 | 1 = 0): void {
  planner.spend(
    stepsOf(
      node,
      values.map(value => sizedAt(value, p)),
    ),
  );
}

/** An input at one of the trial sizes. */
function sizedAt(value: Value, p: 0 | 1): SizedInput & {dtype: tf.DataType} {
  if (value.kind === 'flow') {
    return {shape: value.shapes[p], dtype: value.dtype};
  }
  const {tensor, values} = constantAt(value, p);
  return {shape: tensor.shape, dtype: tensor.dtype, values};
}

/** Computes a node for tensors; results are in the order of its used outputs. */
export function runProbe(planner: Planner, node: GraphNode, tensors: readonly tf.Tensor[]): tf.Tensor[] {
  return tf.tidy(() => run(planner, node, tensors, planner.keysOf(node).length));
}

function run(planner: Planner, {op, attr}: GraphNode, tensors: readonly tf.Tensor[], count: number): tf.Tensor[] {
  const outputs = Array.from({length: count}, (_, index) => ({index, dtype: 'float32' as const}));
  const input = tensors.map((_, i) => `x${i}`);
  const node = {name: op, op, input, ...(attr && {attr})};
  const key = JSON.stringify([node, count]);
  const graph = planner.graphs.get(key) ?? graphOf(node);
  planner.graphs.set(key, graph);
  return runNode(graph, {node, outputs}, Object.fromEntries(input.map((name, i) => [name, tensors[i] as tf.Tensor])));
}
