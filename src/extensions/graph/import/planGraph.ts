import * as tf from '@tensorflow/tfjs';
import {asLoRAError, LoRAError} from '../../../platform/errors';
import type {Step} from '../../../platform/signals';
import {asksForShape, type GraphNode, inputsOf, keyOf, nodeAndOutput, shapeOf} from '../graphDef';
import {reasonNotToRun, reasonNotToRunHere} from './graphOp';
import {operationOf} from './operations';
import {neededNodes} from './order';
import {BATCH, KNOWN} from './openSizes';
import {trialKey, checkSize, materialize, planAlias, planOp, runProbe, spendOn, tensorAt} from './planOp';
import {FixedBatchError, once, Planner, Refusal} from './planner';
import type {ReadGraph} from './readGraph';
import {adviceOn, adviceOnSizes, FAILED, refusedImport} from './refuse';
import {shapeOf as shapeOfValue} from './rowRules';
import {sizesOf} from './sizeNumbers';
import type {Constant, Flow, Folded, GraphPlan, Pair, Shaped, SizeId, Value} from './values';

/** The part of a graph that is planned, with all options resolved. */
export interface GraphRequest {
  inputs: {node: string; shape?: (number | null)[]}[];
  outputs: string[];
  /** Whether a fixed batch size of the graph becomes any batch size. */
  batch: 'free' | 'fixed';
  /** Whether only proved sizes count as known. */
  isStrict: boolean;
  /** The trial values of open sizes other than the batch. */
  lengths?: Pair<number>;
  /** Called when a plan begins, which may be several times. */
  start?: (planner: Planner) => void;
  /** Plans a node of another format by nodes and layers that a planner knows. */
  lower?: (planner: Planner, node: GraphNode) => Promise<void>;
  /** Whether a constant has decided about such a node: it passes on a value, or is not computed. */
  decide?: (planner: Planner, node: GraphNode) => boolean;
}

/** The trial values of open sizes: of the batch, and of other axes. */
const BATCHES: Pair<number> = [2, 3];
const LENGTHS: Pair<number> = [64, 96];

/** No file that is known has tensors of more axes. Each takes time in each node. */
const MAX_AXES = 32;

/** Constants with up to this many values are read. */
const FEW = 4096;

/**
 * Plans the layers of a model that computes what a graph computes, for all values of its open sizes.
 *
 * @throws LoRAError if the graph has nodes that no layer can compute; then nothing is left behind.
 * @throws FixedBatchError if its batch size cannot be freed.
 * @throws UncheckedShape if it can only be planned strictly.
 */
export async function planGraph(graph: ReadGraph, request: GraphRequest, step: Step): Promise<GraphPlan> {
  const cut = {inputs: request.inputs.map(({node}) => node), outputs: request.outputs};
  const order = neededNodes(graph, cut);
  const graphBatch = graphBatchOf(graph);
  const planner = new Planner(
    graph,
    order,
    cut,
    {planOp, materialize},
    request.batch === 'free' && graphBatch !== undefined,
    request.isStrict,
  );
  try {
    planInputs(planner, request, graphBatch);
    await readConstants(planner, order);
    request.start?.(planner);
    const [total, what] = [order.length, 'planning nodes'];
    for (const [done, node] of order.entries()) {
      await step({done, total, what});
      await planNode(planner, node, request);
    }
    await step({done: total, total, what});
    for (const output of request.outputs.filter(name => planner.dead.has(keyOf(name)))) {
      planner.problems.set(nodeAndOutput(output)[0], 'The node is in a branch that a constant does not take.');
    }
    if (request.outputs.some(output => planner.values.get(keyOf(output)) === undefined)) {
      throw refusedImport(planner, order, cut);
    }
    const plan = planner.finished(outputsOf(planner, request.outputs));
    const sizes = planner.inputs.flatMap(input => adviceOnSizes(input, planner.values));
    return {...plan, sizes, advice: adviceOn(planner, request.outputs, cut)};
  } catch (error) {
    planner.dispose();
    throw error;
  }
}

/** The batch size that a graph was made for, if there is one: the first size of its inputs. */
function graphBatchOf(graph: ReadGraph): number | 'several' | undefined {
  const shapes = graph.inputs.flatMap(({node}) => [shapeAt(graph, node) ?? []]);
  const sizes = new Set(shapes.flatMap(([size]) => (typeof size === 'number' ? [size] : [])));
  return sizes.size > 1 ? 'several' : [...sizes][0];
}

function planInputs(
  planner: Planner,
  {inputs, batch, lengths = LENGTHS}: GraphRequest,
  graphBatch: number | 'several' | undefined,
): void {
  for (const {node: name, shape: requestedShape} of inputs) {
    const node = planner.graph.nodes.get(name) as GraphNode;
    const inputShape = requestedShape ?? shapeAt(planner.graph, name);
    if (inputShape === undefined) {
      throw new LoRAError(
        `The shape of input "${name}" is not known. Pass it without the batch axis: {inputShapes: {'${name}': ` +
          '[224, 224, 3]}}.',
      );
    }
    const [size = null, ...rowShape] = inputShape;
    if (planner.freesBatch && (inputShape.length === 0 || graphBatch === 'several')) {
      throw new FixedBatchError(`input "${name}"`);
    }
    const fixed = size ?? shapeAt(planner.graph, name)?.[0] ?? (graphBatch === 'several' ? null : (graphBatch ?? null));
    const first = batch === 'fixed' ? fixed : null;
    const stand = planner.freesBatch ? ([graphBatch, graphBatch] as Pair<number>) : BATCHES;
    // `predict` gives lists a second axis.
    const shape = inputShape.length === 1 ? [first, 1] : inputShape.length === 0 ? [] : [first, ...rowShape];
    planner.addInput(node, shape, [stand, lengths]);
    if (inputShape.length === 1) {
      planList(planner, node);
    }
  }
}

/** Plans a layer that makes a list of an input of one column, and leaves lists as they are. */
function planList(planner: Planner, {name}: GraphNode): void {
  const key = `${name}:0`;
  const {shapes, sizes, shape, dtype} = planner.values.get(key) as Flow;
  const layer = once({className: 'Reshape', config: {targetShape: [], name: planner.nameOf(name, 'list')}});
  const pair: Pair<number[]> = [shapes[0].slice(0, 1), shapes[1].slice(0, 1)];
  const list = {shapes: pair, sizes: sizes.slice(0, 1), shape: shape.slice(0, 1), dtype};
  planner.addCall({layer, inputs: [key], outputs: [key], weights: {}}, [list]);
}

function shapeAt({nodes}: ReadGraph, name: string): (number | null)[] | undefined {
  const node = nodes.get(name);
  return node && shapeOf(node, 'shape');
}

/** The keys of the outputs: one for each, since a tfjs model returns no result twice. */
function outputsOf(planner: Planner, names: readonly string[]): string[] {
  const taken = new Set<string>();
  return names.map(name => {
    const flow = planner.flowing(name);
    if (planner.freesBatch && flow.sizes[0] !== BATCH) {
      throw new FixedBatchError(`output "${name}"`);
    }
    const {key} = taken.has(flow.key) ? planAlias(planner, name) : flow;
    taken.add(key);
    return key;
  });
}

/** Registers the graph's constants, and reads the small ones. */
async function readConstants(planner: Planner, order: readonly GraphNode[]): Promise<void> {
  const constants = order.flatMap(({name}) => {
    const tensor = planner.values.has(`${name}:0`) ? undefined : planner.graph.weights.get(name);
    return tensor === undefined ? [] : [{name, tensor}];
  });
  await Promise.all(constants.map(async ({name, tensor}) => planner.values.set(`${name}:0`, await constantOf(tensor))));
}

async function constantOf(tensor: tf.Tensor): Promise<Constant> {
  const few = tensor.size <= FEW && tensor.dtype !== 'string';
  return {kind: 'constant', tensor, ...(few && {values: await tensor.data()})};
}

async function planNode(planner: Planner, node: GraphNode, {lower, decide}: GraphRequest): Promise<void> {
  const {values, fates} = planner;
  const isConstant = planner.graph.weights.has(node.name);
  if (values.has(`${node.name}:0`) && !isConstant) {
    return; // an input, or part of a layer before it
  }
  if (isDead(planner, node)) {
    for (const key of planner.keysOf(node)) {
      values.delete(key);
      planner.dead.add(key);
    }
    return;
  }
  if (isConstant || decide?.(planner, node) === true || (await planDecided(planner, node))) {
    return;
  }
  const names = inputsOf(node);
  const inputs = names.map(name => values.get(keyOf(name)));
  const reason = lower === undefined ? (reasonNotToRun(node.op) ?? reasonNotToRunHere(node.op)) : undefined;
  if (reason !== undefined) {
    planner.problems.set(node.name, reason);
    return;
  }
  if (inputs.some(value => value === undefined)) {
    return; // after a node that cannot be computed
  }
  if (node.op.startsWith('Placeholder') && inputs.length === 0) {
    throw new LoRAError(
      `The outputs need "${node.name}", which is not among the inputs. Name it too: {inputs: ` +
        `[${[...planner.cut.inputs, node.name].map(name => `'${name}'`).join(', ')}]}.`,
    );
  }
  if (operationOf(node).passes) {
    values.set(`${node.name}:0`, inputs[0] as Value);
    fates.set(node.name, 'skipped');
    return;
  }
  try {
    await (lower ?? planComputed)(planner, node);
  } catch (error) {
    if (error instanceof FixedBatchError) {
      throw error;
    }
    const failure = () => `${FAILED}: ${asLoRAError(error, node.op).message.slice(0, 200)}`;
    planner.problems.set(node.name, error instanceof Refusal ? error.message : failure());
  }
}

/** Plans a TensorFlow node from the values of its inputs. */
export async function planComputed(planner: Planner, node: GraphNode): Promise<void> {
  const {fates} = planner;
  const values = inputsOf(node).map(name => planner.valueOf(name) as Value);
  const isConstant = values.length > 0 && values.every(({kind}) => kind === 'constant');
  // The tensor of a constant that becomes a weight is made when it is needed.
  const axes = Math.max(
    0,
    ...values.map(value => (value.kind === 'constant' && !isConstant ? 0 : shapeOfValue(value).length)),
  );
  if (axes > MAX_AXES) {
    throw new Refusal(`The node takes a tensor of ${axes} axes, more than ${MAX_AXES}.`);
  }
  if (isConstant) {
    await fold(planner, node, values as Constant[]);
    fates.set(node.name, 'folded');
  } else if (
    (isShape(node, values) || values.every(({kind}) => kind !== 'flow')) &&
    (await foldShapes(planner, node, values))
  ) {
    fates.set(node.name, 'shape');
  } else if (operationOf(node).layer?.(node, planner)) {
    fates.set(node.name, 'stock');
  } else {
    planOp(planner, node);
    fates.set(node.name, 'op');
  }
}

/** Whether a constant decides that something this node needs is not computed. */
function isDead({dead, graph}: Planner, {op, input = []}: GraphNode): boolean {
  const isGone = (name: string) =>
    name.startsWith('^')
      ? dead.has(`${name.slice(1)}:0`) && graph.nodes.get(name.slice(1))?.op !== 'Switch'
      : dead.has(keyOf(name));
  return op === 'Merge' ? input.every(isGone) : input.some(isGone);
}

/** Plans a `Switch` or `Merge` whose branch a constant decides. `false` if none does. */
async function planDecided(planner: Planner, node: GraphNode): Promise<boolean> {
  const {dead, fates} = planner;
  const names = inputsOf(node);
  const taken = node.op === 'Switch' ? planner.numbers(names[1])?.[0] : undefined;
  const live = node.op === 'Merge' ? names.filter(name => !dead.has(keyOf(name))) : [];
  if (taken !== undefined) {
    handOn(planner, names[0], `${node.name}:${taken === 0 ? 0 : 1}`);
    dead.add(`${node.name}:${taken === 0 ? 1 : 0}`);
  } else if (live.length === 1 && names.length > 1) {
    handOn(planner, live[0], `${node.name}:0`);
    const index = tf.scalar(names.indexOf(live[0] as string), 'int32');
    planner.values.set(`${node.name}:1`, await constantOf(planner.keep(index)));
  } else {
    return false;
  }
  fates.set(node.name, 'skipped');
  return true;
}

/** Sets an output to the value of another, if that is known. */
function handOn(planner: Planner, from: string | undefined, to: string): void {
  const value = planner.valueOf(from);
  if (value !== undefined) {
    planner.values.set(to, value);
  }
}

function isShape(node: GraphNode, [x]: readonly Value[]): boolean {
  return asksForShape(node) && x?.kind === 'flow';
}

/** Computes a node of constants. */
async function fold(planner: Planner, node: GraphNode, inputs: readonly Constant[]): Promise<void> {
  planner.reserve(checkSize(node, inputs));
  spendOn(planner, node, inputs);
  const keys = planner.keysOf(node);
  const results = runProbe(
    planner,
    node,
    inputs.map(({tensor}) => tensor),
  );
  for (const [i, key] of keys.entries()) {
    planner.values.set(key, await constantOf(planner.keep(results[i] as tf.Tensor)));
  }
}

/** Computes a node that depends only on shapes, for both trial sizes. `false` if the result is too large. */
async function foldShapes(planner: Planner, node: GraphNode, inputs: readonly Value[]): Promise<boolean> {
  const keys = planner.keysOf(node);
  const shape = isShape(node, inputs) ? (inputs[0] as Flow) : undefined;
  const operands = inputs as (Constant | Shaped)[];
  if (([0, 1] as const).some(p => shape === undefined && checkSize(node, inputs, p) > FEW)) {
    return false;
  }
  const foldKey = shape === undefined ? trialKey(node, inputs, keys.length) : '';
  const folded = planner.folded.get(foldKey) ?? (await foldedShapes(planner, node, operands, shape));
  // Floats may be weights; equal ones must not become tied.
  if (shape === undefined && folded.every(({pair}) => pair[0].tensor.dtype !== 'float32')) {
    planner.folded.set(foldKey, folded);
  }
  folded.forEach(({pair, sizes}, i) => {
    const key = keys[i] as string;
    planner.values.set(key, planner.open.isOpen(sizes) ? {kind: 'shaped', pair, sizes, key} : pair[0]);
  });
  return true;
}

async function foldedShapes(
  planner: Planner,
  node: GraphNode,
  operands: readonly (Constant | Shaped)[],
  shape: Flow | undefined,
): Promise<Folded[]> {
  if (shape === undefined) {
    ([0, 1] as const).forEach(p => spendOn(planner, node, operands, p));
  }
  const [one, other] = (await Promise.all(
    ([0, 1] as const).map(p => {
      const results = shape
        ? [shapeTensor(node, shape.shapes[p])]
        : runProbe(
            planner,
            node,
            operands.map(value => tensorAt(node, value, p)),
          );
      return Promise.all(results.map(result => constantOf(planner.keep(result))));
    }),
  )) as [Required<Constant>[], Required<Constant>[]];
  const pairs = one.map((result, i): Pair<Required<Constant>> => [result, other[i] as Required<Constant>]);
  const sizes = shape
    ? [sizesOfShape(planner, node, shape)]
    : await sizesOf(planner.open, {
        node,
        inputs: operands,
        counts: pairs.map(([{tensor: a}, {tensor: b}]) => (tf.util.arraysEqual(a.shape, b.shape) ? a.size : undefined)),
        run: tensors => runProbe(planner, node, tensors),
      });
  return pairs.map((pair, i) => ({pair, sizes: sizes[i] as SizeId[]}));
}

function sizesOfShape(planner: Planner, {op}: GraphNode, flow: Flow): SizeId[] {
  const {open} = planner;
  const {sizes} = flow;
  planner.measure(flow);
  return op === 'Shape' ? sizes : [op === 'Rank' ? KNOWN : open.madeOf(sizes)];
}

function shapeTensor({op}: GraphNode, shape: number[]): tf.Tensor {
  return op === 'Shape'
    ? tf.tensor1d(shape, 'int32')
    : tf.scalar(op === 'Rank' ? shape.length : tf.util.sizeFromShape(shape), 'int32');
}
