import * as tf from '@tensorflow/tfjs';
import {kernelsLoaded} from '../../../backends/shared/backendParts';
import {
  asLoRAError,
  checkOptions,
  LoRAError,
  misfitError,
  showShape,
  throwFaults,
  tooLargeError,
} from '../../../platform/errors';
import {type CallOptions, checkCallOptions, type Step, stepsOf} from '../../../platform/signals';
import {withoutResidue} from '../../../platform/tfjs/engine';
import {buildWithValues} from '../../../platform/tfjs/buildWithValues';
import {namedWeights, replaceValue} from '../../../platform/tfjs/weights';
import {type GraphNode, inputsOf, shapeOf} from '../graphDef';
import {type GraphRequest, planGraph} from './planGraph';
import {FixedBatchError, UncheckedShape} from './planner';
import {findNode, type ReadGraph, readGraph} from './readGraph';
import type {GraphPlan, PlannedCall} from './values';

/** The part of a graph to import. Names may leave out the calls around a node, `StatefulPartitionedCall/…`. */
export interface GraphPart {
  /** The nodes that become inputs. Default: the graph's inputs, without single bools that have a default. */
  inputs?: readonly string[];
  /** The nodes that become outputs. Defaults to the graph's outputs. */
  outputs?: readonly string[];
  /** The shapes of inputs without the batch axis, `null` for an open size. Defaults to those of the graph. */
  inputShapes?: Readonly<Record<string, readonly (number | null)[]>>;
}

/** Options of `fromGraphModel`. */
export interface GraphModelOptions extends GraphPart, CallOptions {}

/** A part of a graph, with all options resolved. */
export type ChosenPart = Pick<GraphRequest, 'inputs' | 'outputs' | 'start' | 'lower' | 'decide'>;

/** The metadata key under which a model records its part of a graph. */
export const RECORD = 'tfjsLoRAGraph';

/**
 * Imports a `tf.GraphModel`, which tfjs cannot train, as a `tf.LayersModel`, which it can. Adapt it with `applyLoRA`,
 * give it a new head with `replaceHead`, and write it back with `toGraphModel`.
 *
 * A node that a tfjs layer can compute becomes that layer, with the bias and activation that follow it: convolutions,
 * products, normalizations, pools, activations. Every other node becomes a `GraphOp`, which runs it as the graph does.
 * The weights share their buffers with the graph's, and stay when the graph is disposed of. A fixed batch size becomes
 * any batch size if each example is still computed as before.
 *
 * To load a file of the model, or of one that was merged from it, import `tfjs-lora/graph`. To deploy the model without
 * this library, use `toGraphModel`.
 *
 * @param graph the graph. It is not changed.
 * @param options the part to import, `signal` and `onProgress`. Progress counts nodes; the count starts again if the
 *     graph turns out to need another plan.
 * @returns the model, with the inputs and outputs of the graph or those that the options name.
 * @throws LoRAError `ERR_UNSUPPORTED` if the graph has nodes that no layer can compute: control flow, state, strings.
 *     The message names them, and the part of the graph that can be imported. `ERR_OPTION` if an option names nothing,
 *     `ERR_DISPOSED` if the graph was disposed of, `ERR_ABORTED` if the signal is aborted, `ERR_IO` if the kernels of
 *     the backend could not be loaded. Nothing is left behind.
 * @example
 *     const base = await fromGraphModel(await tf.loadGraphModel(url));
 *     const model = applyLoRA(base, {rank: 8});
 */
export async function fromGraphModel(graph: tf.GraphModel, options: GraphModelOptions = {}): Promise<tf.LayersModel> {
  checkOptions(options, {inputs: true, outputs: true, inputShapes: true, signal: true, onProgress: true});
  checkCallOptions(options);
  await kernelsLoaded();
  const read = await readGraph(graph);
  const plan = await planned(read, chosenPart(read, options), stepsOf(options));
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

/** Plans the layers of a graph, for any batch size if possible. */
export async function planned(graph: ReadGraph, selection: ChosenPart, step: Step): Promise<GraphPlan> {
  try {
    return await plannedFor(graph, {...selection, batch: 'free'}, step);
  } catch (error) {
    if (!(error instanceof FixedBatchError)) {
      throw error;
    }
    return plannedFor(graph, {...selection, batch: 'fixed'}, step);
  }
}

async function plannedFor(graph: ReadGraph, request: Omit<GraphRequest, 'isStrict'>, step: Step): Promise<GraphPlan> {
  try {
    return await planGraph(graph, {...request, isStrict: false}, step);
  } catch (error) {
    if (error instanceof UncheckedShape) {
      return planGraph(graph, {...request, isStrict: true}, step);
    }
    if (request.lengths === undefined && error instanceof LoRAError && error.code === 'ERR_UNSUPPORTED') {
      const longer = {...request, lengths: LONG};
      // A plan for the usual lengths works for most inputs.
      return await (leavesOneLength(graph, request)
        ? plannedFor(graph, longer, step).catch(() => Promise.reject(error))
        : Promise.reject(error));
    }
    throw error;
  }
}

/** Sizes for audio, whose windows can be longer than usual. */
const LONG = [2048, 3072] as const;

/** Whether inputs have a single open size besides the batch, so that longer ones stay small. */
function leavesOneLength({nodes}: ReadGraph, {inputs}: Pick<GraphRequest, 'inputs'>): boolean {
  const shapes = inputs.map(({node, shape}) => shape ?? shapeOf(nodes.get(node) as GraphNode, 'shape') ?? []);
  return shapes.flatMap(shape => shape.slice(1).filter(size => size === null)).length === 1;
}

/**
 * Resolves the options to a part of the graph.
 *
 * @throws LoRAError with a line for each name that matches nothing, and for each malformed shape.
 */
export function chosenPart(
  graph: ReadGraph,
  {inputs, outputs, inputShapes = {}}: GraphPart,
  find: (graph: ReadGraph, name: string) => string = findNode,
): ChosenPart {
  const faults: string[] = [];
  const nodeNamed = (name: unknown): string => {
    try {
      return find(graph, String(name));
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
    const named = list.map(nodeNamed);
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
    const node = nodeNamed(name);
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

/** Whether an input is a setting rather than data: a single bool with a default, which then applies. */
function isFlag({nodes, weights}: ReadGraph, name: string): boolean {
  const node = nodes.get(name);
  const [value] = node?.op === 'PlaceholderWithDefault' ? inputsOf(node) : [];
  const tensor = weights.get(value ?? '');
  return tensor?.dtype === 'bool' && tensor.rank === 0;
}

/** The options that a model records. */
export function recorded({inputs, outputs, inputShapes}: GraphPart): GraphPart {
  return {...(inputs && {inputs}), ...(outputs && {outputs}), ...(inputShapes && {inputShapes})};
}

/** Makes the layers of a plan, and sets their weights. */
export function build({inputs, layers, outputs, sizes}: GraphPlan, name = 'graph'): tf.LayersModel {
  const symbols = new Map<string, tf.SymbolicTensor>();
  const starts = inputs.map(({key, name, shape, dtype}) => {
    const input = tf.input({batchShape: shape, dtype: dtype, name});
    symbols.set(key, input);
    return input;
  });
  for (const call of layers) {
    apply(call, symbols, sizes);
  }
  const ends = outputs.map(key => symbols.get(key) as tf.SymbolicTensor);
  try {
    return tf.model({inputs: starts, outputs: ends, name});
  } catch (error) {
    if (!(error instanceof RangeError)) {
      throw error;
    }
    throw tooLargeError(
      `tfjs cannot connect ${layers.length} layers in a row: its recursion overflows the stack. Import a part of ` +
        'the graph that ends at {outputs}.',
      {cause: error},
    );
  }
}

function apply(call: PlannedCall, symbols: Map<string, tf.SymbolicTensor>, sizes: readonly string[] = []): void {
  const {layer, inputs, outputs, weights} = call;
  const symbolic = inputs.map(key => symbols.get(key) as tf.SymbolicTensor);
  const values = new Map(layer.built ? [] : Object.entries(weights).map(([name, {tensor}]) => [name, tensor]));
  let results: tf.SymbolicTensor[];
  try {
    layer.setFastWeightInitDuringBuild(true);
    const call = () => layer.apply(symbolic.length === 1 ? (symbolic[0] as tf.SymbolicTensor) : symbolic);
    results = [buildWithValues(layer, values, call)].flat() as tf.SymbolicTensor[];
  } catch (error) {
    const fault = asLoRAError(error, `Layer "${layer.name}" (${layer.getClassName()})`, 'ERR_UNSUPPORTED');
    fault.message = [fault.message, ...sizes].join('\n');
    throw fault;
  }
  outputs.forEach((key, i) => symbols.set(key, results[i] as tf.SymbolicTensor));
  // Recurrent layers take their states as inputs. Files refer to those by name, and here they are tensors.
  delete layer.inboundNodes.at(-1)?.callArgs?.initialState;
  const variables = namedWeights(layer);
  for (const [name, tensor] of values) {
    const variable = variables.get(name);
    if (variable === undefined || !tf.util.arraysEqual(variable.shape as number[], tensor.shape)) {
      throw misfitError(
        `Layer "${layer.name}" (${layer.getClassName()}) has no weight "${name}" of shape ${showShape(tensor.shape)}.`,
      );
    }
    replaceValue(variable, tensor);
  }
}
