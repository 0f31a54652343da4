import * as tf from '@tensorflow/tfjs';
import {asLoRAError, LoRAError} from '../../errors';
import {type GraphNode, inputsOf, keyOf, shapeOf} from './graphDef';
import {reasonNotToRun, reasonNotToRunHere} from '../layers/graphOp';
import {keepsRows} from './batch';
import {neededNodes} from './order';
import {checkSize, materialize, planOp, runProbe} from './planOp';
import {Planner} from './planner';
import type {ReadGraph} from './readGraph';
import {refusal} from './refuse';
import {planStock} from './stockLayers';
import type {Constant, Flow, GraphPlan, Pair, Shaped, Value} from './values';

/** What of a graph is planned, with every choice made. */
export interface GraphRequest {
  inputs: {node: string; shape?: (number | null)[]}[];
  outputs: string[];
  /** Whether a fixed batch size of the graph becomes any batch size. */
  batch: 'free' | 'fixed';
}

/** Says that a graph would not compute each example by itself if its batch size were free. */
export class BakedBatch extends Error {}

/** Ops that hand on what they are given. */
const HANDS_ON = new Set(['Identity', 'StopGradient', 'Snapshot', 'CheckNumerics', 'PreventGradient', 'EnsureShape']);

/** Sizes that stand for one that is not known: of the batch, and of other axes. */
const BATCHES: Pair<number> = [2, 3];
const LENGTHS: Pair<number> = [64, 96];

/** Up to so many numbers of a constant are read. */
const FEW = 4096;

/**
 * Plans the layers of a model that computes what a graph computes.
 *
 * @throws LoRAError if the graph has nodes that no layer can compute; then nothing is left behind.
 * @throws BakedBatch
 */
export async function planGraph(graph: ReadGraph, request: GraphRequest): Promise<GraphPlan> {
  const cut = {inputs: request.inputs.map(({node}) => node), outputs: request.outputs};
  const order = neededNodes(graph, cut);
  const planner = new Planner(graph, order, cut, materialize);
  try {
    planner.frees = planInputs(planner, request);
    await readConstants(planner, order);
    for (const node of order) {
      await planNode(planner, node);
      if (planner.frees) {
        prove(planner, node);
      }
    }
    if (request.outputs.some(output => planner.values.get(keyOf(output)) === undefined)) {
      throw refusal(planner, order, cut);
    }
    const outputs = request.outputs.map(output => planner.flowing(output).key);
    return planner.finished(outputs);
  } catch (error) {
    planner.dispose();
    throw error;
  }
}

/** Plans the inputs. Tells whether the graph has a batch size of its own, so that it must be proved that any will do. */
function planInputs(planner: Planner, {inputs, batch}: GraphRequest): boolean {
  const own = planner.graph.inputs.map(({node}) => shapeAt(planner, node));
  const baked = own.some(shape => shape === undefined || (shape.length > 0 && shape[0] !== null));
  for (const {node: name, shape: given} of inputs) {
    const node = planner.graph.nodes.get(name) as GraphNode;
    const known = given ?? shapeAt(planner, name);
    if (known === undefined) {
      throw new LoRAError(
        `The shape of input "${name}" is not known. Give it, without the batch axis: {inputShapes: {'${name}': [224, 224, 3]}}.`,
      );
    }
    const [size = null, ...rest] = known;
    const first = batch === 'fixed' && baked ? (size ?? shapeAt(planner, name)?.[0] ?? 1) : null;
    planner.addInput(node, known.length === 0 ? [] : [first, ...rest], [BATCHES, LENGTHS]);
  }
  return baked && batch === 'free';
}

function shapeAt({graph}: Planner, name: string): (number | null)[] | undefined {
  const node = graph.nodes.get(name);
  return node && shapeOf(node, 'shape');
}

/** Takes up the graph's constants, and reads those that may say how something is computed. */
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

async function planNode(planner: Planner, node: GraphNode): Promise<void> {
  const {values, fates} = planner;
  if (values.has(`${node.name}:0`)) {
    return; // an input, a constant, or part of a layer before it
  }
  const names = inputsOf(node);
  const inputs = names.map(name => values.get(keyOf(name)));
  const reason = reasonNotToRun(node.op) ?? reasonNotToRunHere(node.op);
  if (reason !== undefined) {
    planner.problems.set(node.name, reason);
    return;
  }
  if (inputs.some(value => value === undefined)) {
    return; // behind a node that cannot be computed
  }
  const known = inputs as Value[];
  if (node.op.startsWith('Placeholder') && known.length === 0) {
    throw new LoRAError(
      `The outputs need "${node.name}", which is not among the inputs. Name it, too: {inputs: [${[...planner.cut.inputs, node.name].map(name => `'${name}'`).join(', ')}]}.`,
    );
  }
  if (HANDS_ON.has(node.op) || node.op === 'PlaceholderWithDefault') {
    values.set(`${node.name}:0`, known[0] as Value);
    fates.set(node.name, 'skipped');
    return;
  }
  try {
    if (known.every(({kind}) => kind === 'constant') && known.length > 0) {
      await fold(planner, node, known as Constant[]);
      fates.set(node.name, 'folded');
    } else if (isShape(node, known) || known.every(({kind}) => kind !== 'flow')) {
      await foldShapes(planner, node, known);
      fates.set(node.name, 'shape');
    } else if (planStock(node, planner)) {
      fates.set(node.name, 'stock');
    } else {
      planOp(planner, node);
      fates.set(node.name, 'op');
    }
  } catch (error) {
    if (error instanceof BakedBatch) {
      throw error;
    }
    planner.problems.set(node.name, `cannot be computed here: ${asLoRAError(error, node.op).message.slice(0, 200)}`);
  }
}

function isShape({op}: GraphNode, [x]: readonly Value[]): boolean {
  return (op === 'Shape' || op === 'Size' || op === 'Rank') && x?.kind === 'flow';
}

/** Computes a node of constants. */
async function fold(planner: Planner, node: GraphNode, inputs: readonly Constant[]): Promise<void> {
  planner.reserve(checkSize(node, inputs));
  const keys = planner.keysOf(node);
  const results = runProbe(planner, node, inputs.map(({tensor}) => tensor)); // prettier-ignore
  for (const [i, key] of keys.entries()) {
    planner.values.set(key, await constantOf(planner.keep(results[i] as tf.Tensor)));
  }
}

/** Computes a node that hangs on shapes alone, for either size. Where both give the same, it is a constant. */
async function foldShapes(planner: Planner, node: GraphNode, inputs: readonly Value[]): Promise<void> {
  const keys = planner.keysOf(node);
  const [one, other] = await Promise.all(
    ([0, 1] as const).map(async p => {
      checkSize(node, inputs, p);
      const results = isShape(node, inputs)
        ? [shapeTensor(node, (inputs[0] as Flow).shapes[p])]
        : runProbe(planner, node, (inputs as (Constant | Shaped)[]).map(value => constantAt(value, p).tensor)); // prettier-ignore
      return Promise.all(results.map(result => constantOf(planner.keep(result))));
    }),
  );
  keys.forEach((key, i) => {
    const pair = [one?.[i], other?.[i]] as unknown as Pair<Required<Constant>>;
    const [a, b] = pair;
    const same =
      tf.util.arraysEqual(a.tensor.shape, b.tensor.shape) &&
      tf.util.arraysEqual(Array.from(a.values), Array.from(b.values));
    planner.values.set(key, same ? a : {kind: 'shaped', pair, key});
  });
}

function constantAt(value: Constant | Shaped, p: 0 | 1): Constant {
  return value.kind === 'shaped' ? value.pair[p] : value;
}

function shapeTensor({op}: GraphNode, shape: number[]): tf.Tensor {
  return op === 'Shape'
    ? tf.tensor1d(shape, 'int32')
    : tf.scalar(op === 'Rank' ? shape.length : tf.util.sizeFromShape(shape), 'int32');
}

/** @throws BakedBatch if a node mixes examples, or takes the number of them for granted. */
function prove(planner: Planner, node: GraphNode): void {
  const fate = planner.fates.get(node.name);
  if ((fate === 'stock' || fate === 'op') && !keepsRows(planner, node, BATCHES)) {
    throw new BakedBatch(`${node.op} "${node.name}"`);
  }
}
