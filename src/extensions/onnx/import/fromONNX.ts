import {kernelsLoaded} from '../../../backends/shared/backendParts';
import type * as tf from '@tensorflow/tfjs';
import {checkOptions, LoRAError, notFoundError, throwFaults} from '../../../platform/errors';
import {sizeOf} from '../../../platform/formats/layout';
import {withoutResidue} from '../../../platform/tfjs/engine';
import {tensorOfBytes} from '../../../platform/tfjs/tensorOfBytes';
import {type CallOptions, checkCallOptions, stepsOf} from '../../../platform/signals';
import {withHubName} from '../../../core/storage/hubName';
import {checkLimits, type LoadOptions} from '../../../core/storage/limits';
import {build, type ChosenPart, chosenPart, type GraphPart, planned, recorded} from '../../graph/import/fromGraphModel';
import {FreeNames, neededNodes} from '../../graph/import/order';
import {KNOWN} from '../../graph/import/openSizes';
import type {Planner} from '../../graph/import/planner';
import type {GraphPlan} from '../../graph/import/values';
import {type GraphNode, keyOf, resultTypeOf, shapeOf} from '../../graph/graphDef';
import {typeOf} from '../file/onnxTensor';
import {bytesAt, type ONNXSource} from '../file/onnxSource';
import {openOnnx, type OnnxModel, type OnnxNode} from '../file/readOnnx';
import {supplyExternal} from '../file/supplyExternal';
import {Lowering} from '../lower/lowering';
import {OnnxCall} from '../lower/onnxCall';
import {ruleFor} from '../lower/operations';
import {graphOfOnnx, type OnnxGraphModel} from './onnxGraph';

/** The part of an ONNX file that is imported, as the metadata of saved models records it. */
export interface OnnxPart extends GraphPart {
  /** The option `constantInputs`. */
  inputValues?: FromONNXOptions['constantInputs'];
}

/** How an ONNX file is imported. */
export interface FromONNXOptions extends GraphPart, LoadOptions, CallOptions {
  /**
   * Inputs of the file that become constants, each with the number that fills it. The model does not have these inputs.
   * For example `{sr: 16000}`, on which an `If` depends, or `{state: 0}`.
   */
  constantInputs?: Readonly<Record<string, number>>;
  /** The files with its external data, under the names that the model has for them, such as `model.onnx_data`. */
  externalData?: Readonly<Record<string, ONNXSource>>;
}

/** How an ONNX file is read, whichever part of it is imported. */
export type LoadONNXOptions = Omit<FromONNXOptions, keyof GraphPart | 'constantInputs'>;

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
 *     no layer can compute: the message names them, and the part of the file that can be imported. ERR_IO if the
 *     kernels of the backend could not be loaded.
 * @example
 *     const base = await fromONNX('https://example.com/model.onnx');
 *     const model = applyLoRA(base, {rank: 8});
 * @experimental
 */
export async function fromONNX(source: ONNXSource, options: FromONNXOptions = {}): Promise<tf.LayersModel> {
  checkOptions(options, {
    inputs: true,
    outputs: true,
    inputShapes: true,
    constantInputs: true,
    externalData: true,
    signal: true,
    maxBytes: true,
    onProgress: true,
  });
  checkCallOptions(options);
  await kernelsLoaded();
  const file = await loadOnnx(source, options);
  const {constantInputs} = options;
  const selection: OnnxPart = {...recorded(options), ...(constantInputs && {inputValues: constantInputs})};
  const {plan} = await planOnnx(file, selection, options);
  try {
    const model = withoutResidue(() => build(plan, 'onnx'));
    if (plan.advice !== undefined) {
      console.warn(plan.advice);
    }
    model.setUserDefinedMetadata({[RECORD]: selection});
    return model;
  } finally {
    plan.dispose();
  }
}

/** Reads a file and its external data. */
export async function loadOnnx(source: ONNXSource, options: LoadONNXOptions): Promise<OnnxModel> {
  const {externalData = {}, signal, maxBytes} = options;
  const limits = {...(signal && {signal}), ...(maxBytes !== undefined && {maxBytes}), revisions: new Map()};
  checkLimits(limits);
  const bytes = await bytesAt(source, limits).catch((error: unknown) => {
    throw withHubName(error, source);
  });
  const model = await openOnnx(bytes);
  const places = [...model.graph.initializers.values()].flatMap(({external}) => external?.location ?? []);
  const missing = [...new Set(places)].filter(place => !Object.hasOwn(externalData, place));
  if (missing.length > 0) {
    const entries = missing.map(place => `${JSON.stringify(place)}: file`).join(', ');
    throw notFoundError(`The ONNX file has tensors in separate files. Pass them: {externalData: {${entries}}}.`);
  }
  await supplyExternal(model, place => bytesAt(externalData[place] as ONNXSource, limits));
  return model;
}

/** The plan of the layers of a file, and how its weights were arranged. */
export async function planOnnx(
  model: OnnxModel,
  selection: OnnxPart,
  options: CallOptions,
): Promise<{plan: GraphPlan; lowering: Lowering; file: OnnxGraphModel}> {
  const file = graphOfOnnx(model);
  const fixed = fixedInputs(file, selection);
  const request = requestOf(file, selection);
  let lowering: Lowering | undefined;
  const lower = async (planner: Planner, node: GraphNode) => {
    const startedLowering = lowering as Lowering;
    const proto = file.nodes.get(node.name);
    const rule = proto && ruleFor(proto);
    if (rule === undefined && proto !== undefined) {
      planner.problems.set(node.name, unsupported(proto));
    } else if (rule !== undefined && !planner.problems.has(node.name)) {
      const call = new OnnxCall(startedLowering, node);
      await rule(call);
      await call.restoreConstantOrder();
      planner.fates.set(node.name, 'op');
    }
  };
  const start = (planner: Planner) => {
    const newLowering = new Lowering(planner, file);
    lowering = newLowering;
    const ends = {inputs: request.inputs.map(({node}) => node), outputs: request.outputs};
    fixed.forEach((value, node) => fix(newLowering, node, value));
    prepare(newLowering, file, neededNodes(file.read, ends));
  };
  const decide = (planner: Planner, node: GraphNode) => decided(planner, file, node);
  const plan = await planned(file.read, {...request, lower, start, decide}, stepsOf(options));
  return {plan, lowering: lowering as unknown as Lowering, file};
}

/** Node → the number that fills a constant input, which is no longer an input of the file. */
function fixedInputs({read}: OnnxGraphModel, {inputValues = {}}: OnnxPart): Map<string, number> {
  const fixed = new Map<string, number>();
  const faults: string[] = [];
  for (const [name, value] of Object.entries(inputValues)) {
    const input = read.inputs.find(({key}) => key === name);
    if (input === undefined) {
      faults.push(
        `constantInputs names "${name}", which is not an input. The file has ` +
          `${read.inputs.map(({key}) => key).join(', ')}.`,
      );
    } else if (typeof value !== 'number' || !Number.isFinite(value)) {
      faults.push(`The value of "${name}" must be a number.`);
    } else {
      fixed.set(input.node, value);
    }
  }
  throwFaults(faults);
  read.inputs = read.inputs.filter(({node}) => !fixed.has(node));
  return fixed;
}

/** Makes a constant of an input. An open size, such as that of the batch, is 1, to be broadcast. */
function fix(lowering: Lowering, name: string, value: number): void {
  const node = lowering.planner.graph.nodes.get(name) as GraphNode;
  const shape = (shapeOf(node, 'shape') ?? []).map(size => size ?? 1);
  const dtype = resultTypeOf(node);
  const kind = dtype === 'float32' ? Float32Array : dtype === 'bool' ? Uint8Array : Int32Array;
  const size = sizeOf(shape);
  lowering.planner.reserve(size);
  const constant = lowering.lazy(size, () => ({data: new kind(size).fill(value), shape}), dtype);
  lowering.planner.values.set(keyOf(name), constant);
}

/** Hands on what the taken branch of an `If` gives. Nodes of the other branch are not planned. */
function decided(planner: Planner, {branches, nodes}: OnnxGraphModel, node: GraphNode): boolean {
  const takes = (condition: string | undefined) => {
    const constant = planner.numbersAt(condition);
    return constant?.sizes[0] === KNOWN ? constant.pair[0][0] !== 0 : undefined;
  };
  const branch = branches.get(node.name);
  if (branch !== undefined && takes(branch.condition) === !branch.isTaken) {
    return true;
  }
  if (node.op !== 'If' || nodes.get(node.name)?.domain !== '') {
    return false;
  }
  const [condition, ...ends] = node.input ?? [];
  const isThen = takes(condition);
  if (isThen === undefined) {
    planner.problems.set(node.name, 'The node decides at run time what is computed.');
    return true;
  }
  ends.slice(...(isThen ? [0, ends.length / 2] : [ends.length / 2])).forEach((end, i) => {
    const value = planner.valueOf(end);
    if (value !== undefined) {
      planner.values.set(`${node.name}:${i}`, value);
    }
  });
  planner.fates.set(node.name, 'skipped');
  return true;
}

function unsupported({domain}: OnnxNode): string {
  return domain === '' ? 'The operation is not supported.' : `The operation is of ${domain}, which is not supported.`;
}

/** Takes up the constants, and names all operations that are not supported, not only the first ones on each way. */
function prepare(lowering: Lowering, file: OnnxGraphModel, order: readonly GraphNode[]): void {
  const {planner} = lowering;
  for (const {name, op} of order) {
    const tensor = file.tensors.get(keyOf(name));
    const proto = file.nodes.get(name);
    const [type] = tensor?.dtype === undefined ? [tensor?.type] : [];
    if (type !== undefined) {
      planner.problems.set(name, `The node is a tensor of ${typeOf(type).name}.`);
    } else if (tensor !== undefined) {
      const {size, shape, dtype, bytes} = tensor;
      planner.values.set(
        keyOf(name),
        lowering.lazy(
          size,
          () => ({data: tensor.values(), shape}),
          dtype,
          bytes && (() => tensorOfBytes(bytes, shape)),
        ),
      );
    } else if (
      proto !== undefined &&
      ruleFor(proto) === undefined &&
      !(proto.op === 'If' && proto.domain === '') &&
      !file.branches.has(name) &&
      !planner.cut.inputs.includes(name)
    ) {
      planner.problems.set(name, unsupported(proto));
    } else if (op === 'Constant' && proto === undefined && !planner.values.has(keyOf(name))) {
      planner.problems.set(name, 'The node is of a kind that is not supported.');
    }
  }
}

/**
 * The part of a file that options name, with every choice made. Outputs become nodes that give them as the file has
 * them.
 *
 * @throws LoRAError with a line for each name that names nothing, and for each shape that is malformed.
 */
function requestOf(file: OnnxGraphModel, selection: GraphPart): ChosenPart {
  const {read, keys, nodes} = file;
  const {inputs, outputs} = chosenPart(read, selection, (_, name) => findValue(file, name));
  const free = new FreeNames(read.nodes);
  const ends = outputs.map((key, i) => {
    const plain = (selection.outputs?.[i] ?? read.outputs[i]?.key ?? key).replaceAll(':', '_');
    const name = read.nodes.has(plain) ? free.next(`${plain}/output`) : plain;
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
    const near = [...keys.keys()].filter(value => value.includes(name)).slice(0, 5);
    const ways = near.length > 0 ? ` It has ${near.map(value => `"${value}"`).join(', ')}.` : '';
    throw new LoRAError(`The file has no value "${name}".${ways}`);
  }
  return key.replace(/:0$/, '');
}
