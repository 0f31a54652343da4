import * as tf from '@tensorflow/tfjs';
import {checkOptions, LoRAError, misfitError, unsupportedError} from '../../../platform/errors';
import {type CallOptions, checkCallOptions, type Step, stepsOf} from '../../../platform/signals';
import {checkNumbers, type FiniteOptions, type FloatType} from '../../../platform/formats/numbers';
import {encodeWeight, joinWeights, splitWeights, type WeightPart} from './graphWeights';
import {whileMerged} from '../../../core/model/whileMerged';
import {checkModel} from '../../../platform/tfjs/checkModel';
import {joinedWeights} from '../../../core/storage/weightBytes';
import {namedWeights} from '../../../platform/tfjs/weights';
import {chosenPart, type GraphPart, planned, RECORD} from '../import/fromGraphModel';
import {GraphRewrite} from './graphRewrite';
import {writeHead} from './writeHead';
import {type ReadGraph, readGraph} from '../import/readGraph';
import type {GraphPlan, PlannedCall} from '../import/values';

/** Options of `toGraphModel`. */
export interface ToGraphModelOptions extends FiniteOptions, CallOptions {
  /** The type in which changed weights are stored. Defaults to `'float32'`. */
  dtype?: 'float32' | 'float16';
}

/**
 * Writes a model that was imported by `fromGraphModel` and trained as a new `tf.GraphModel`. An adapted model is merged
 * first; it stays as it is. The names, inputs, outputs and signature are those of the graph, and it does not need this
 * library. Save it with its `save`.
 *
 * Weights that did not change keep their bytes, quantized or not. The others become new constants of 32 or 16 bits: 8
 * bits would lose the update. A new head is written as nodes, and the nodes that it replaced are left out. Its layers
 * are those that `toONNX` writes, except a few. Recurrent layers are written once for each step, of a fixed number.
 *
 * @param model an adapted or merged model, or an imported one that was trained as it was.
 * @param graph the graph that the model was imported from, or another copy of it. It is not changed.
 * @param options the type of changed weights, `allowNonFinite`, `signal` and `onProgress`.
 * @returns the new graph. The caller disposes of it.
 * @throws LoRAError `ERR_MISFIT` if the model was not imported from this graph, `ERR_UNSUPPORTED` if it has a layer
 *     that no nodes compute, `ERR_NUMERIC` if a changed weight is not finite or too large for the type, `ERR_ABORTED`
 *     if the signal is aborted.
 * @example
 *     const tuned = await toGraphModel(model, graph);
 *     await tuned.save('downloads://tuned');
 */
export async function toGraphModel(
  model: tf.LayersModel,
  graph: tf.GraphModel,
  options: ToGraphModelOptions = {},
): Promise<tf.GraphModel> {
  checkOptions(options, {dtype: true, allowNonFinite: true, signal: true, onProgress: true});
  checkCallOptions(options);
  const {dtype = 'float32'} = options;
  if ((dtype as unknown) !== 'float32' && (dtype as unknown) !== 'float16') {
    throw new LoRAError(
      `dtype must be 'float32' or 'float16', got ${dtype as string}. In 8 bits the update would be lost.`,
    );
  }
  checkModel(model);
  const read = await readGraph(graph);
  return whileMerged(model, merged => write(merged, read, options));
}

async function write(model: tf.LayersModel, read: ReadGraph, options: ToGraphModelOptions): Promise<tf.GraphModel> {
  const {dtype, signal: _, onProgress: __, ...finite} = options;
  const step = stepsOf(options);
  const plan = await planned(read, chosenPart(read, partOf(model)), step);
  try {
    const rewrite = new GraphRewrite(read);
    const isHeaded = hasHead(model, plan);
    const parts = await partsOfGraph(read);
    const target = {rewrite, parts, type: dtype === 'float16' ? ('F16' as const) : ('F32' as const), finite};
    await writeWeights(model, plan, target, step);
    const ends = isHeaded ? await writeHead(model, plan, rewrite) : [];
    await addConstants(target);
    const {topology, signature, dropped} = rewrite.finished(ends);
    dropped.forEach(name => parts.delete(name));
    return await load(read, {topology, signature}, parts.values());
  } finally {
    plan.dispose();
  }
}

/** Returns the part of the graph that the model was imported from. */
function partOf(model: tf.LayersModel): GraphPart {
  const metadata = model.getUserDefinedMetadata() as Record<string, GraphPart> | undefined;
  return metadata?.[RECORD] ?? {};
}

/**
 * Whether a model has layers that are not of the graph.
 *
 * @throws LoRAError if all are such layers.
 */
function hasHead(model: tf.LayersModel, {layers}: GraphPlan): boolean {
  const classOf = new Map(layers.map(({layer}) => [layer.name, layer.getClassName()]));
  if (!model.layers.some(({name}) => classOf.has(name))) {
    throw unsupportedError(
      'The model cannot be written as a graph: None of its layers is from the graph. Pass the graph that ' +
        'fromGraphModel imported.',
    );
  }
  const inputs = new Set(model.inputs.map(({sourceLayer}) => sourceLayer));
  return model.layers.some(layer => !inputs.has(layer) && classOf.get(layer.name) !== layer.getClassName());
}

/** Returns the graph's constants with their bytes, encoded again if the graph no longer holds them. */
async function partsOfGraph({artifacts, weights}: ReadGraph): Promise<Map<string, WeightPart>> {
  const {weightData, weightSpecs} = artifacts;
  if (weightData !== undefined && weightSpecs !== undefined) {
    const parts = splitWeights(weightSpecs, joinedWeights(weightData));
    if (parts !== undefined) {
      return parts;
    }
  }
  const list = await Promise.all(
    [...weights].map(async ([name, tensor]) => {
      const {shape, dtype} = tensor;
      return [name, encodeWeight({name, shape, dtype}, await tensor.data(), 'F32')] as const;
    }),
  );
  return new Map(list);
}

/** Where and how weights are written. */
interface Target {
  rewrite: GraphRewrite;
  parts: Map<string, WeightPart>;
  type: FloatType;
  finite: FiniteOptions;
}

/** Writes changed weights as new constants, and connects them to their nodes. */
async function writeWeights(
  model: tf.LayersModel,
  plan: GraphPlan,
  {rewrite, parts, type, finite}: Target,
  step: Step,
): Promise<void> {
  const [total, what] = [plan.layers.length, 'writing layers'];
  const layers = new Map(model.layers.map(layer => [layer.name, layer]));
  const written = new Map<tf.LayerVariable, string>();
  for (const [done, {layer, weights}] of plan.layers.entries()) {
    await step({done, total, what});
    const variables = namedWeights(layers.get(layer.name) ?? layer);
    for (const [name, weight] of Object.entries(layers.has(layer.name) ? weights : {})) {
      const variable = variables.get(name);
      if (variable === undefined) {
        throw misfitError(`Layer "${layer.name}" has no weight "${name}". The model was imported from another graph.`);
      }
      const writtenName = written.get(variable);
      if (writtenName === undefined && !(await differs(variable.read(), weight.tensor, layer))) {
        continue;
      }
      const constant = writtenName ?? rewrite.freeName(`${weight.source.node}/merged_${name}`);
      if (writtenName === undefined) {
        const {shape} = weight.source.transposedBy
          ? variable.read()
          : {shape: weight.source.shape ?? variable.read().shape};
        const values = (await variable.read().data()) as Float32Array;
        checkNumbers([[`${layer.name}/${name}`, {data: values}]], type, finite);
        parts.set(constant, encodeWeight({name: constant, shape, dtype: variable.read().dtype}, values, type));
        rewrite.addConstant(constant, variable.read().dtype);
        written.set(variable, constant);
      }
      rewrite.rewire(weight.source, constant);
    }
  }
  await step({done: total, total, what});
}

/** Whether a weight has changed, compared bit by bit. */
export async function differs(
  current: tf.Tensor,
  stored: Pick<tf.Tensor, 'shape'> & Partial<Pick<tf.Tensor, 'dataId'>> & {data(): Promise<ArrayLike<number>>},
  {name}: PlannedCall['layer'],
): Promise<boolean> {
  if (!tf.util.arraysEqual(current.shape, stored.shape)) {
    throw misfitError(`A weight of layer "${name}" has a different shape in the graph.`);
  }
  if (current.dataId === stored.dataId || current.dtype === 'string') {
    return false;
  }
  const [now, before] = await Promise.all([current.data(), stored.data()]);
  return now.some((value, i) => !Object.is(value, before[i]));
}

async function addConstants({rewrite: {constants}, parts, type, finite}: Target): Promise<void> {
  try {
    for (const [name, tensor] of constants) {
      const {shape, dtype} = tensor;
      const data = await tensor.data();
      checkNumbers([[name, {data}]], type, finite);
      parts.set(name, encodeWeight({name, shape, dtype}, data, type));
    }
  } finally {
    tf.dispose([...constants.values()]);
  }
}

async function load(
  {artifacts}: ReadGraph,
  {topology, signature}: {topology: object; signature: object | undefined},
  parts: Iterable<WeightPart>,
): Promise<tf.GraphModel> {
  const {entries, bytes} = joinWeights(parts);
  const {userDefinedMetadata, getWeightStream: _, ...otherArtifacts} = artifacts;
  const inMetadata = userDefinedMetadata?.signature !== undefined;
  return tf.loadGraphModel(
    tf.io.fromMemory({
      ...otherArtifacts,
      ...(userDefinedMetadata && {userDefinedMetadata: {...userDefinedMetadata, ...(inMetadata && {signature})}}),
      ...(!inMetadata && signature && {signature}),
      modelTopology: topology,
      weightSpecs: entries,
      weightData: bytes,
    }),
  );
}
