import * as tf from '@tensorflow/tfjs';
import {asLoRAError, checkOptions, misfitError, showShape, throwFaults, tooLargeError} from '../../../platform/errors';
import {withoutResidue} from '../../../platform/tfjs/engine';
import {namedWeights, replaceValue} from '../../../platform/tfjs/weights';
import {inputsOf} from '../graphDef';
import {type GraphRequest, planGraph} from './planGraph';
import {BakedBatch, UncheckedShape} from './planner';
import {findNode, type ReadGraph, readGraph} from './readGraph';
import type {GraphPlan, PlannedCall} from './values';

/**
 * Which part of a graph is imported. Nodes may be named without the calls that they are nested in,
 * `StatefulPartitionedCall/…`.
 */
export interface GraphModelOptions {
  /**
   * The nodes that become the model's inputs. Default: the graph's inputs, without single bools that have a default,
   * such as whether the graph trains.
   */
  inputs?: readonly string[];
  /** The nodes that become its outputs. Default: the graph's outputs. */
  outputs?: readonly string[];
  /** The shapes of inputs, without the batch axis; `null` for a size that is open. Default: what the graph says. */
  inputShapes?: Readonly<Record<string, readonly (number | null)[]>>;
}

/** Which part of a graph is planned. */
type GraphPart = Pick<GraphRequest, 'inputs' | 'outputs'>;

/** The key of a model's metadata under which it is recorded which part of a graph it is. */
export const RECORD = 'tfjsLoRAGraph';

/**
 * A `tf.GraphModel`, which tfjs cannot train, as a `tf.LayersModel`, which it can: adapt it with `applyLoRA`, give it a
 * new head with `replaceHead`, and turn it back into a graph with `toGraphModel`.
 *
 * A node that says the same as a layer of tfjs becomes that layer, with the bias and the activation that follow it:
 * convolutions, products, normalizations, pools, activations. Every other node becomes a `GraphOp`, which runs it as
 * the graph does. The weights share their buffers with the graph's, and live on when the graph is disposed. A batch
 * size that the graph was made for is freed, where each example is then computed as before; else it stays.
 *
 *     const base = await fromGraphModel(await tf.loadGraphModel(url));
 *     const model = applyLoRA(base, {rank: 8});
 *
 * To load a file of the model, or of one that is merged from it, import `tfjs-lora/graph`. To deploy it, `toGraphModel`
 * is the way, which needs nothing of this library.
 *
 * @throws LoRAError if the graph has nodes that no layer can compute: control flow, state, texts. The message names
 *     them, and the part of the graph that can be imported. Then nothing is left behind.
 */
export async function fromGraphModel(graph: tf.GraphModel, options: GraphModelOptions = {}): Promise<tf.LayersModel> {
  const read = await readGraph(graph);
  const request = requestOf(read, options);
  const plan = await planned(read, request);
  try {
    const model = withoutResidue(() => build(plan));
    if (plan.advice !== undefined) {
      console.warn(plan.advice);
    }
    model.setUserDefinedMetadata({[RECORD]: recorded(options)});
    return model;
  } finally {
    plan.dispose();
  }
}

/** The plan of the layers of a graph, with its batch size freed where that may be. */
export async function planned(graph: ReadGraph, request: GraphPart): Promise<GraphPlan> {
  try {
    return await plannedFor(graph, {...request, batch: 'free'});
  } catch (error) {
    if (!(error instanceof BakedBatch)) {
      throw error;
    }
    return plannedFor(graph, {...request, batch: 'fixed'});
  }
}

async function plannedFor(graph: ReadGraph, request: Omit<GraphRequest, 'isStrict'>): Promise<GraphPlan> {
  try {
    return await planGraph(graph, {...request, isStrict: false});
  } catch (error) {
    if (!(error instanceof UncheckedShape)) {
      throw error;
    }
    return planGraph(graph, {...request, isStrict: true});
  }
}

/**
 * What options ask for, with every choice made.
 *
 * @throws LoRAError with a line for each that names nothing, or is malformed.
 */
export function requestOf(graph: ReadGraph, options: GraphModelOptions): GraphPart {
  checkOptions(options, {inputs: true, outputs: true, inputShapes: true});
  const {inputs, outputs, inputShapes = {}} = options;
  const faults: string[] = [];
  const found = (name: unknown): string => {
    try {
      return findNode(graph, String(name));
    } catch (error) {
      faults.push((error as Error).message);
      return '';
    }
  };
  const listOf = (key: string, list: readonly string[]) => {
    if (!Array.isArray(list) || list.length === 0) {
      faults.push(`${key} must be a list of names of nodes, such as ['${graph.outputs[0]?.node ?? 'dense/MatMul'}'].`);
      return [];
    }
    const named = list.map(found);
    const twice = named.find((name, i) => name !== '' && named.indexOf(name) < i);
    if (twice !== undefined) {
      faults.push(`${key} names "${twice}" twice.`);
    }
    return named;
  };
  const starts = listOf('inputs', inputs ?? graph.inputs.map(({node}) => node).filter(node => !isFlag(graph, node)));
  const ends = listOf('outputs', outputs ?? graph.outputs.map(({node}) => node));
  const shapes = new Map<string, (number | null)[]>();
  for (const [name, shape] of Object.entries(inputShapes)) {
    const node = found(name);
    if (node !== '' && !starts.includes(node)) {
      faults.push(`inputShapes names "${name}", which is not among the inputs: ${starts.join(', ')}.`);
    }
    if (
      !Array.isArray(shape) ||
      !shape.every(size => size === null || (Number.isInteger(size) && (size as number) > 0))
    ) {
      faults.push(`The shape of "${name}" must be a list of sizes without the batch axis, such as [224, 224, 3].`);
    } else {
      shapes.set(node, [null, ...(shape as (number | null)[])]);
    }
  }
  throwFaults(faults);
  return {
    inputs: starts.map(node => ({node, ...(shapes.has(node) && {shape: shapes.get(node)})})),
    outputs: ends,
  };
}

/** Whether an input says how to compute rather than what: a single bool with a default, which it then has. */
function isFlag({nodes, weights}: ReadGraph, name: string): boolean {
  const node = nodes.get(name);
  const [value] = node?.op === 'PlaceholderWithDefault' ? inputsOf(node) : [];
  const tensor = weights.get(value ?? '');
  return tensor?.dtype === 'bool' && tensor.rank === 0;
}

/** Options as a model remembers them. */
function recorded({inputs, outputs, inputShapes}: GraphModelOptions): GraphModelOptions {
  return {...(inputs && {inputs}), ...(outputs && {outputs}), ...(inputShapes && {inputShapes})};
}

/** Makes the layers of a plan, and gives them their weights. */
function build({inputs, layers, outputs}: GraphPlan): tf.LayersModel {
  const symbols = new Map<string, tf.SymbolicTensor>();
  const starts = inputs.map(({key, name, shape, dtype}) => {
    const input = tf.input({batchShape: shape, dtype: dtype, name});
    symbols.set(key, input);
    return input;
  });
  for (const call of layers) {
    apply(call, symbols);
  }
  const ends = outputs.map(key => symbols.get(key) as tf.SymbolicTensor);
  try {
    return tf.model({inputs: starts, outputs: ends, name: 'graph'});
  } catch (error) {
    if (!(error instanceof RangeError)) {
      throw error;
    }
    throw tooLargeError(
      `${layers.length} layers in a row are more than tfjs can connect: it goes through them by a recursion, for ` +
        'which the stack is too small. Import a part of the graph: {outputs} names where it ends.',
      {cause: error},
    );
  }
}

function apply(call: PlannedCall, symbols: Map<string, tf.SymbolicTensor>): void {
  const {layer, inputs, outputs, weights} = call;
  const given = inputs.map(key => symbols.get(key) as tf.SymbolicTensor);
  const isNew = !layer.built;
  let results: tf.SymbolicTensor[];
  try {
    layer.setFastWeightInitDuringBuild(true);
    results = [layer.apply(given.length === 1 ? (given[0] as tf.SymbolicTensor) : given)].flat() as tf.SymbolicTensor[];
  } catch (error) {
    throw asLoRAError(error, `Layer "${layer.name}" (${layer.getClassName()})`, 'ERR_UNSUPPORTED');
  }
  outputs.forEach((key, i) => symbols.set(key, results[i] as tf.SymbolicTensor));
  const variables = namedWeights(layer);
  for (const [name, {tensor}] of Object.entries(isNew ? weights : {})) {
    const variable = variables.get(name);
    if (variable === undefined || !tf.util.arraysEqual(variable.shape as number[], tensor.shape)) {
      throw misfitError(
        `Layer "${layer.name}" (${layer.getClassName()}) has no weight "${name}" of shape ${showShape(tensor.shape)}.`,
      );
    }
    replaceValue(variable, tensor);
  }
}
