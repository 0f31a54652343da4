import type * as tf from '@tensorflow/tfjs';
import {checkOptions, LoRAError, notFoundError} from '../../../platform/errors';
import {withoutResidue} from '../../../platform/tfjs/engine';
import {type CallOptions, checkCallOptions, stepsOf} from '../../../platform/signals';
import {bytesOf, fetched, type StreamSource} from '../../../core/storage/sources';
import {checkLimits, type LoadOptions} from '../../../core/storage/limits';
import {build, type ChosenPart, chosenPart, type GraphPart, planned, recorded} from '../../graph/import/fromGraphModel';
import {neededNodes} from '../../graph/import/order';
import type {Planner} from '../../graph/import/planner';
import type {GraphPlan} from '../../graph/import/values';
import {type GraphNode, keyOf} from '../../graph/graphDef';
import {typeOf} from '../file/onnxTensor';
import {type OnnxModel, readOnnx} from '../file/readOnnx';
import {Lowering} from '../lower/lowering';
import {OnnxCall} from '../lower/onnxCall';
import {ruleFor} from '../lower/operations';
import {graphOfOnnx, type OnnxGraphModel} from './onnxGraph';

/** Where an ONNX file comes from: bytes, a Blob, a Response, a URL; in Node a path too. */
export type ONNXSource = StreamSource | PromiseLike<StreamSource>;

/** How an ONNX file is imported. */
export interface FromONNXOptions extends GraphPart, LoadOptions, CallOptions {
  /** The files beside it that hold its tensors, by the names that it has for them, such as `model.onnx_data`. */
  externalData?: Readonly<Record<string, ONNXSource>>;
}

/** The key of a model's metadata under which it is recorded which part of a file it is. */
export const RECORD = 'tfjsLoRAONNX';

/**
 * Loads an ONNX file as a `tf.LayersModel`, which can be adapted with `applyLoRA`, trained, merged, and written back
 * into the file with `toONNX`.
 *
 * Operations with weights become layers of tfjs: convolutions, products, normalizations, embeddings. Every other
 * operation becomes a `GraphOp` of `tfjs-lora/graph`. Inputs and outputs keep the layout of the file, such as channels
 * first; inside, images have their channels last.
 *
 * @param source the file: bytes, a Blob, a Response or a URL; in Node a path too.
 * @param options which part of the graph to import, and progress.
 * @returns the model. Its inputs have the file's names; whole numbers are int32.
 * @throws LoRAError with the code ERR_DAMAGED if it is no whole ONNX file, ERR_UNSUPPORTED if it has operations that
 *     no layer can compute: the message names them, and the part of the file that can be imported.
 * @example
 *     const base = await fromONNX('https://example.com/model.onnx');
 *     const model = applyLoRA(base, {rank: 8});
 */
export async function fromONNX(source: ONNXSource, options: FromONNXOptions = {}): Promise<tf.LayersModel> {
  checkOptions(options, {
    inputs: true,
    outputs: true,
    inputShapes: true,
    externalData: true,
    signal: true,
    maxBytes: true,
    onProgress: true,
  });
  checkCallOptions(options);
  const file = await loadOnnx(source, options);
  const part = recorded(options);
  const {plan} = await planOnnx(file, part, options);
  try {
    const model = withoutResidue(() => build(plan, 'onnx'));
    if (plan.advice !== undefined) {
      console.warn(plan.advice);
    }
    model.setUserDefinedMetadata({[RECORD]: part});
    return model;
  } finally {
    plan.dispose();
  }
}

/** Reads a file and those beside it. */
export async function loadOnnx(
  source: ONNXSource,
  options: Omit<FromONNXOptions, keyof GraphPart>,
): Promise<OnnxModel> {
  const {externalData = {}, signal, maxBytes} = options;
  const limits = {...(signal && {signal}), ...(maxBytes !== undefined && {maxBytes})};
  checkLimits(limits);
  const model = readOnnx(await bytesAt(source, limits));
  const outside = [...model.graph.initializers.values()].filter(({external}) => external !== undefined);
  const places = [...new Set(outside.map(({external}) => external?.location ?? ''))];
  const missing = places.filter(place => !Object.hasOwn(externalData, place));
  if (missing.length > 0) {
    const entries = missing.map(place => `${JSON.stringify(place)}: file`).join(', ');
    throw notFoundError(`The ONNX file has tensors in files beside it. Pass them: {externalData: {${entries}}}.`);
  }
  for (const place of places) {
    const bytes = await bytesAt(externalData[place] as ONNXSource, limits);
    outside.filter(({external}) => external?.location === place).forEach(tensor => tensor.supply(bytes));
  }
  return model;
}

async function bytesAt(source: ONNXSource, limits: LoadOptions): Promise<Uint8Array> {
  const given = await source;
  // What is in memory already is not copied.
  if (given instanceof Uint8Array && given.length <= (limits.maxBytes ?? Infinity)) {
    return given;
  }
  return bytesOf(typeof given === 'string' || given instanceof URL ? await fetched(given, limits) : given, limits);
}

/** The plan of the layers of a file, and how its weights were arranged. */
export async function planOnnx(
  model: OnnxModel,
  part: GraphPart,
  options: CallOptions,
): Promise<{plan: GraphPlan; lowering: Lowering; file: OnnxGraphModel}> {
  const file = graphOfOnnx(model);
  const request = requestOf(file, part);
  let lowering: Lowering | undefined;
  const lower = async (planner: Planner, node: GraphNode) => {
    const own = lowering as Lowering;
    const proto = file.nodes.get(node.name);
    const rule = proto && ruleFor(proto);
    if (rule !== undefined && !planner.problems.has(node.name)) {
      const call = new OnnxCall(own, node);
      await rule(call);
      await call.settle();
      planner.fates.set(node.name, 'op');
    }
  };
  const start = (planner: Planner) => {
    lowering = new Lowering(planner, file);
    const ends = {inputs: request.inputs.map(({node}) => node), outputs: request.outputs};
    prepare(lowering, neededNodes(file.read, ends));
  };
  const plan = await planned(file.read, {...request, lower, start}, stepsOf(options));
  return {plan, lowering: lowering as unknown as Lowering, file};
}

/** Takes up the constants, and names all operations that are not supported, not only the first ones on each way. */
function prepare(lowering: Lowering, order: readonly GraphNode[]): void {
  const {planner, file} = lowering;
  for (const {name, op} of order) {
    const tensor = file.tensors.get(keyOf(name));
    const proto = file.nodes.get(name);
    const [type] = tensor?.dtype === undefined ? [tensor?.type] : [];
    if (type !== undefined) {
      planner.problems.set(name, `is a tensor of ${typeOf(type).name}`);
    } else if (tensor !== undefined) {
      const {size, shape, dtype} = tensor;
      planner.values.set(
        keyOf(name),
        lowering.lazy(size, () => ({data: tensor.values(), shape}), dtype),
      );
    } else if (proto !== undefined && ruleFor(proto) === undefined && !planner.cut.inputs.includes(name)) {
      planner.problems.set(name, `${proto.domain === '' ? '' : `of ${proto.domain} `}is not supported`);
    } else if (op === 'Constant' && proto === undefined && !planner.values.has(keyOf(name))) {
      planner.problems.set(name, 'is of a kind that is not supported');
    }
  }
}

/**
 * The part of a file that options name, with every choice made. Outputs become nodes that give them as the file has
 * them.
 *
 * @throws LoRAError with a line for each name that names nothing, and for each shape that is malformed.
 */
function requestOf(file: OnnxGraphModel, part: GraphPart): ChosenPart {
  const {read, keys, nodes} = file;
  const {inputs, outputs} = chosenPart(read, part, (_, name) => findValue(file, name));
  const ends = outputs.map((key, i) => {
    const plain = (part.outputs?.[i] ?? read.outputs[i]?.key ?? key).replaceAll(':', '_');
    let name = plain;
    for (let copy = 0; read.nodes.has(name); copy++) {
      name = `${plain}/output${copy || ''}`;
    }
    read.nodes.set(name, {name, op: 'Output', input: [key]});
    nodes.set(name, {name, op: 'Output', domain: 'tfjs-lora', inputs: [name], outputs: [], attributes: new Map()});
    keys.set(name, keyOf(key));
    return name;
  });
  return {inputs, outputs: ends};
}

/** The node that gives a value, and which of its outputs it is. */
function findValue({read, keys}: OnnxGraphModel, name: string): string {
  const node = read.nodes.get(name);
  const key = node?.op === 'Placeholder' ? name : (keys.get(name) ?? node?.name);
  if (key === undefined) {
    const near = [...keys.keys()].filter(each => each.includes(name)).slice(0, 5);
    const ways = near.length > 0 ? ` It has ${near.map(each => `"${each}"`).join(', ')}.` : '';
    throw new LoRAError(`The file has no value "${name}".${ways}`);
  }
  return key.replace(/:0$/, '');
}
