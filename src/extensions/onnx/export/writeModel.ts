import type * as tf from '@tensorflow/tfjs';
import {concatenate} from '../../../platform/formats/byteReader';
import {throwFaults, tooLargeError} from '../../../platform/errors';
import {type CallOptions, stepsOf} from '../../../platform/signals';
import type {FiniteOptions} from '../../../platform/formats/numbers';
import {field, fieldHeader} from '../file/protobuf';
import {GraphWriter, Tensor, typeNumberOf} from '../write/graphWriter';
import {nodeMessages, TYPE, valueMessage} from '../write/messages';
import {type Known, writeCalls} from '../layers/layers';

/** The version of operations that is written: the first that has `LayerNormalization`. */
const OPSET = 17;
/** The version of the format that came with it. */
const IR_VERSION = 8;
/** Protocol buffers are no larger. */
const MOST_BYTES = 2 ** 31 - 1;

/** How a model is written. */
export interface WriteModelOptions extends FiniteOptions, CallOptions {
  dtype?: 'float32' | 'float16';
}

/** An input or output under another name, such as those of a convention. */
export interface Interface {
  /** By the place of an input: its name and the type of its numbers; whether its images have their channels first. */
  inputs?: readonly {name: string; type?: number; channelsFirst?: boolean}[];
  outputs?: readonly {name: string; tensor: tf.SymbolicTensor}[];
  /** The names of open sizes, by axis. */
  axes?: readonly string[];
}

/**
 * Writes a plain model as an ONNX file.
 *
 * @throws LoRAError with a line for each layer that cannot be written.
 */
export async function writeModel(
  model: tf.LayersModel,
  {dtype = 'float32', signal, onProgress, ...finite}: WriteModelOptions,
  own: Interface = {},
): Promise<Uint8Array<ArrayBuffer>> {
  if (!model.built) {
    model.countParams(); // a Sequential lays out its graph when it is first used
  }
  const inputs = model.inputs.map((input, i) => {
    const {name, type, channelsFirst} = {
      ...{name: model.inputNames[i] ?? '', type: typeNumberOf(input.dtype), channelsFirst: false},
      ...own.inputs?.[i],
    };
    const order = channelsFirst ? [0, 3, 1, 2] : input.shape.map((_, axis) => axis);
    return {input, name, type, order};
  });
  const outputs = own.outputs ?? outputsOf(model);
  const out = new GraphWriter(OPSET, new Set([...inputs, ...outputs].map(({name}) => name)), dtype === 'float16');
  const known: Known = new Map(
    inputs.map(({input, name, type, order}) => [input, new Tensor(input.shape, type, name, order)]),
  );
  inputs.forEach(({input, name}) => {
    if (input.dtype === 'string') {
      out.layer = name;
      out.refuse('takes text, which cannot be written.');
    }
  });
  writeCalls(out, model, known);
  throwFaults([...out.faults], 'ERR_UNSUPPORTED', 'The model cannot be written as ONNX:');
  const given = new Set(inputs.map(({name}) => name));
  const named = outputs.map(({name, tensor}) => nameOutput(out, known.get(tensor) as Tensor, name, given));
  const tensors: Uint8Array[] = [];
  const step = stepsOf({...(signal && {signal}), ...(onProgress && {onProgress})});
  const total = out.initializers.length;
  for await (const {name, type, shape, bytes} of out.tensors(finite)) {
    await step({done: tensors.length / 2, total, what: 'writing tensors'});
    // The bytes stand by themselves, so that they are copied once.
    const head = [...shape.map(size => field(1, size)), field(2, type), field(8, name), fieldHeader(9, [bytes])];
    tensors.push(concatenate([fieldHeader(5, [...head, bytes]), ...head]), bytes);
  }
  const sizes = (shape: tf.Shape, name: string) =>
    shape.map((size, axis) => size ?? own.axes?.[axis] ?? (axis === 0 ? 'batch' : `${name}_${axis}`));
  const graph = [
    ...nodeMessages(out.nodes),
    field(2, model.name),
    ...tensors,
    ...inputs.map(({input, name, type, order}) =>
      field(
        11,
        valueMessage(
          name,
          type,
          order.map(axis => sizes(input.shape, name)[axis] ?? null),
        ),
      ),
    ),
    ...named.map(({name, shape}) =>
      field(
        12,
        valueMessage(
          name,
          TYPE.float,
          shape.map((size, axis) => size ?? own.axes?.[axis] ?? (axis === 0 ? 'batch' : null)),
        ),
      ),
    ),
  ];
  const parts = [
    field(1, IR_VERSION),
    field(2, 'tfjs-lora'),
    fieldHeader(7, graph),
    ...graph,
    field(8, [field(1, ''), field(2, OPSET)]),
  ];
  if (parts.reduce((sum, {length}) => sum + length, 0) > MOST_BYTES) {
    throw tooLargeError('The model has more than 2 GB, which an ONNX file cannot hold. Write it as float16.');
  }
  return concatenate(parts);
}

/** The outputs of a model under the names that it has for them, with numbers where a name is taken. */
function outputsOf(model: tf.LayersModel): {name: string; tensor: tf.SymbolicTensor}[] {
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

/** Gives an output its name, by a node of its own where it has a name already. */
function nameOutput(
  out: GraphWriter,
  tensor: Tensor,
  name: string,
  taken: Set<string>,
): {name: string; shape: tf.Shape} {
  const own = out.plain(tensor);
  if (taken.has(own)) {
    out.nodes.push({
      op: 'Identity',
      name: out.freeName(`${name}/output`),
      inputs: [own],
      outputs: [name],
      attributes: {},
    });
  } else {
    out.rename(own, name);
    tensor.held.set(tensor.shape.map((_, axis) => axis).join(), name);
    taken.add(name);
  }
  return {name, shape: tensor.shape};
}
