import type * as tf from '@tensorflow/tfjs';
import {throwFaults, tooLargeError} from '../../../platform/errors';
import {type CallOptions, stepsOf} from '../../../platform/signals';
import type {FiniteOptions} from '../../../platform/formats/numbers';
import {field, fieldHeader, joined, type Part} from '../file/protobuf';
import {GraphWriter, Tensor, typeNumberOf} from '../write/graphWriter';
import {nodeMessages, TYPE, typeOf, valueMessage} from '../write/messages';
import {type Known, type Rules, writeCalls} from '../layers/layers';
import {OPSET_OF_MEANS, takesMeans} from '../layers/windows';
import {sitesOf} from '../../../core/rewire/walk';
import {range} from '../lower/lowering';

/** The version of operations that is written: the first that has `LayerNormalization`. */
const OPSET = 17;
/** The version of the format that came with it. */
const IR_VERSION = 8;
/** Protocol buffers are no larger. */
const MAX_BYTES = 2 ** 31 - 1;

/** How a model is written. */
export interface WriteModelOptions extends FiniteOptions, CallOptions {
  dtype?: 'float32' | 'float16';
}

/** Inputs and outputs as a convention has them. */
export interface Interface {
  /** The tensors of the model that are the inputs. Default: those of the model. */
  from?: readonly tf.SymbolicTensor[];
  /** Index of an input → its name, the type of its values, and the names of its dynamic sizes, by axis. */
  inputs?: readonly {
    name: string;
    type?: number;
    axes: readonly string[];
    /** Whether its channels come before its images or positions. */
    channelsFirst?: boolean;
    /** Writes what the model takes of it. Default: all. */
    read?: (out: GraphWriter, name: string) => string;
  }[];
  outputs?: readonly NamedOutput[];
  /** What writes some layers, inputs and outputs that they have besides those of the model. */
  rules?: Rules;
  more?: {inputs: readonly MoreValue[]; outputs: readonly MoreValue[]};
  /** The file next to this one that has the weights. Default: this one. */
  dataFile?: string;
}

interface MoreValue {
  name: string;
  type: number;
  shape: readonly (number | string)[];
}

/** An ONNX file, and the one that has its weights if they are apart. */
interface ModelFiles {
  file: Uint8Array<ArrayBuffer>;
  data: Uint8Array<ArrayBuffer>;
}

/** Tensors of fewer bytes stay in the graph. */
const MIN_BYTES_APART = 1024;

interface NamedOutput {
  name: string;
  tensor: tf.SymbolicTensor;
  /** Which entry of the last axis it is. Default: all. */
  index?: number;
  /** Whether its first axis is another than the batch of the inputs. */
  isPaired?: boolean;
}

/**
 * Writes a plain model as an ONNX file.
 *
 * @throws LoRAError with a line for each layer that cannot be written.
 */
export async function writeModel(
  model: tf.LayersModel,
  {dtype = 'float32', signal, onProgress, ...finite}: WriteModelOptions,
  interfaceNames: Interface = {},
): Promise<ModelFiles> {
  const {rules, more = {inputs: [], outputs: []}, dataFile} = interfaceNames;
  if (!model.built) {
    model.countParams(); // a Sequential lays out its graph when it is first used
  }
  const inputs = (interfaceNames.from ?? model.inputs).map((input, i) => {
    const {name, type, channelsFirst, axes, read} = {
      ...{name: model.inputNames[i] ?? '', type: typeNumberOf(input.dtype), channelsFirst: false, axes: ['batch']},
      read: (_: GraphWriter, name: string) => name,
      ...interfaceNames.inputs?.[i],
    };
    const axesInOrder = range(input.shape.length);
    const order = channelsFirst ? [0, input.shape.length - 1, ...axesInOrder.slice(1, -1)] : axesInOrder;
    const sizes = input.shape.map((size, axis) => size ?? axes[axis] ?? `${name}_${axis}`);
    return {input, name, type, order, read, shape: order.map(axis => sizes[axis] ?? null)};
  });
  const outputs = interfaceNames.outputs ?? outputsOf(model);
  const opset = sitesOf(model).some(({layer}) => takesMeans(layer)) ? OPSET_OF_MEANS : OPSET;
  const out = new GraphWriter(
    opset,
    new Set([...inputs, ...outputs, ...more.inputs, ...more.outputs].map(({name}) => name)),
    dtype === 'float16',
  );
  const tensorOf: Known = new Map(
    inputs.map(({input, name, type, order, read}) => {
      out.layer = name;
      return [input, new Tensor(input.shape, type, read(out, name), order)];
    }),
  );
  inputs.forEach(({input, name}) => {
    if (input.dtype === 'string') {
      out.layer = name;
      out.refuse('An input of strings cannot be written.');
    }
  });
  writeCalls(out, model, tensorOf, {rules});
  throwFaults([...out.faults], 'ERR_UNSUPPORTED', 'The model cannot be written as ONNX:');
  const inputNames = new Set(inputs.map(({name}) => name));
  const named = outputs.map(output => nameOutput(out, tensorOf.get(output.tensor) as Tensor, output, inputNames));
  const step = stepsOf({...(signal && {signal}), ...(onProgress && {onProgress})});
  const total = out.initializers.length;
  const apart: Part[] = [];
  let offset = 0;
  const tensors = out.tensors(finite).flatMap(({name, type, shape, bytes}, done): Part[] => {
    const about = [...shape.map(size => field(1, size)), field(2, type), field(8, name)];
    const read = async () => {
      await step({done, total, what: 'writing tensors'});
      return bytes instanceof Uint8Array ? bytes : bytes.read();
    };
    const values = {length: bytes.length, read};
    if (dataFile !== undefined && bytes.length >= MIN_BYTES_APART) {
      const place = Object.entries({location: dataFile, offset: String(offset), length: String(bytes.length)});
      apart.push(values);
      offset += bytes.length;
      return [
        field(5, [...about, ...place.map(([key, text]) => field(13, [field(1, key), field(2, text)])), field(14, 1)]),
      ];
    }
    const head = [...about, fieldHeader(9, [bytes])];
    return [fieldHeader(5, [...head, bytes]), ...head, values];
  });
  const graph = [
    ...nodeMessages(out.nodes),
    field(2, model.name),
    ...tensors,
    ...[...inputs, ...more.inputs].map(({name, type, shape}) => field(11, valueMessage(name, type, shape))),
    ...named.map(({name, shape}) => field(12, valueMessage(name, TYPE.float, shape))),
    ...more.outputs.map(({name, type, shape}) => field(12, valueMessage(name, type, shape))),
  ];
  const domains = [...new Set(out.nodes.map(({op}) => typeOf(op).domain))].filter(domain => domain !== '');
  const parts = [
    field(1, IR_VERSION),
    field(2, 'tfjs-lora'),
    fieldHeader(7, graph),
    ...graph,
    field(8, [field(1, ''), field(2, opset)]),
    ...domains.map(domain => field(8, [field(1, domain), field(2, 1)])),
  ];
  if (offset > MAX_BYTES || parts.reduce((sum, {length}) => sum + length, 0) > MAX_BYTES) {
    throw tooLargeError(
      'The model has more than 2 GB, which an ONNX file cannot hold. Write it as float16, or in blocks.',
    );
  }
  return {file: await joined(parts), data: await joined(apart)};
}

/** The outputs of a model under the names that it has for them, with numbers where a name is taken. */
function outputsOf(model: tf.LayersModel): NamedOutput[] {
  const names = new Set(model.inputNames);
  return model.outputs.map((tensor, i) => {
    const wanted = model.outputNames[i] ?? '';
    let name = wanted;
    for (let copy = 1; names.has(name); copy++) {
      name = `${wanted}:${copy}`;
    }
    names.add(name);
    return {name, tensor};
  });
}

/** Gives an output its name, with an extra node if it already has a name, and records its shape. */
function nameOutput(
  out: GraphWriter,
  tensor: Tensor,
  {name, index, isPaired = false}: NamedOutput,
  taken: Set<string>,
): {name: string; shape: (number | string | null)[]} {
  const values = out.plain(tensor);
  const shape = tensor.shape.map((size, axis) => size ?? (axis === 0 && !isPaired ? 'batch' : null));
  const output = index === undefined ? values : out.node('Gather', [values, out.ints([index], [])], {axis: -1});
  if (taken.has(output)) {
    const inputs = [output];
    out.nodes.push({op: 'Identity', name: out.freeName(`${name}/output`), inputs, outputs: [name], attributes: {}});
  } else {
    out.rename(output, name);
    if (output === values) {
      tensor.held.set(range(tensor.rank).join(), name);
    }
    taken.add(name);
  }
  return {name, shape: index === undefined ? shape : shape.slice(0, -1)};
}
