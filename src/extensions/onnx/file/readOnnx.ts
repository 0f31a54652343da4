import {tooLargeError, unsupportedError} from '../../../platform/errors';
import {explained} from '../../../platform/formats/explained';
import {OnnxTensor, readEntry, readTensor} from './onnxTensor';
import {addFloats, addIntegers, bytesIn, damaged, fieldsOf, integerIn, textIn} from './protobuf';

// https://github.com/onnx/onnx/blob/main/onnx/onnx.proto

/** An input or output of a graph. */
export interface OnnxValue {
  name: string;
  /** The number of its type in ONNX; 0 where it is no tensor, or not known. */
  type: number;
  /** Fixed sizes, names of dynamic sizes, or `null` for dynamic sizes without a name; `undefined` if unknown. */
  shape: (number | string | null)[] | undefined;
}

/** An attribute of a node: what of it is there. */
export interface OnnxAttribute {
  i?: number;
  f?: number;
  s?: string;
  t?: OnnxTensor;
  /** A graph, still to be read. */
  g?: Uint8Array;
  ints: number[];
  floats: number[];
  strings: string[];
  /** The name of the attribute of a function that it takes its value from. */
  ref?: string;
}

/** An operation of a graph. An input that is left out is ''. */
export interface OnnxNode {
  name: string;
  op: string;
  /** The domain of the operation: '' for ONNX itself. */
  domain: string;
  inputs: string[];
  outputs: string[];
  attributes: Map<string, OnnxAttribute>;
}

export interface OnnxGraph {
  nodes: OnnxNode[];
  initializers: Map<string, OnnxTensor>;
  /** Without those that are initializers, too: their values are only defaults, but nobody gives others. */
  inputs: OnnxValue[];
  outputs: OnnxValue[];
}

/** An operation that a file defines by others. */
export interface OnnxFunction {
  inputs: string[];
  outputs: string[];
  nodes: OnnxNode[];
  /** Attributes that a call may leave out. */
  defaults: Map<string, OnnxAttribute>;
}

export interface OnnxModel {
  bytes: Uint8Array;
  graph: OnnxGraph;
  /** By `domain:name`. */
  functions: Map<string, OnnxFunction>;
  /** Domain → the version of its operations. */
  opsets: Map<string, number>;
  metadata: Map<string, string>;
}

/** No graph for a browser has as many nodes, or initializers. Each takes more memory than its bytes in the file. */
const MAX_ENTRIES = 100_000;

/** Reads an ONNX file, as `readOnnx`. The error for a file of another format says what it is. */
export async function openOnnx(file: Uint8Array): Promise<OnnxModel> {
  try {
    return readOnnx(file);
  } catch (error) {
    throw await explained(error, file, 'an ONNX file');
  }
}

/**
 * Reads an ONNX file. Tensors are views of it.
 *
 * @throws LoRAError with the code ERR_DAMAGED if it is no whole ONNX file.
 */
export function readOnnx(file: Uint8Array): OnnxModel {
  const opsets = new Map<string, number>();
  const metadata = new Map<string, string>();
  const functions = new Map<string, OnnxFunction>();
  let graph: Uint8Array | undefined;
  for (const field of fieldsOf(file)) {
    switch (field.number) {
      case 7:
        if (graph !== undefined) {
          throw damaged('it has two graphs');
        }
        graph = bytesIn(field);
        break;
      case 8:
        opsets.set(...readOpset(bytesIn(field)));
        break;
      case 14:
        metadata.set(...readEntry(bytesIn(field)));
        break;
      case 25:
        functions.set(...readFunction(bytesIn(field)));
        break;
    }
  }
  if (graph === undefined) {
    throw damaged('it has no graph');
  }
  return {bytes: file, graph: readGraphProto(graph), functions, opsets, metadata};
}

function readOpset(message: Uint8Array): [domain: string, version: number] {
  const opset: [string, number] = ['', 0];
  for (const field of fieldsOf(message)) {
    if (field.number === 1) {
      opset[0] = domainOf(textIn(field));
    } else if (field.number === 2) {
      opset[1] = integerIn(field);
    }
  }
  return opset;
}

function readFunction(message: Uint8Array): [name: string, entry: OnnxFunction] {
  const entry: OnnxFunction = {inputs: [], outputs: [], nodes: [], defaults: new Map()};
  let [name, domain] = ['', ''];
  for (const field of fieldsOf(message)) {
    switch (field.number) {
      case 1:
        name = textIn(field);
        break;
      case 4:
        entry.inputs.push(textIn(field));
        break;
      case 5:
        entry.outputs.push(textIn(field));
        break;
      case 7:
        entry.nodes.push(readNode(bytesIn(field)));
        break;
      case 10:
        domain = domainOf(textIn(field));
        break;
      case 11:
        entry.defaults.set(...readAttribute(bytesIn(field)));
        break;
    }
  }
  return [`${domain}:${name}`, entry];
}

function domainOf(text: string): string {
  return text === 'ai.onnx' ? '' : text;
}

/** Reads a GraphProto: that of a file, or a branch of an `If`. */
export function readGraphProto(message: Uint8Array): OnnxGraph {
  const nodes: OnnxNode[] = [];
  const initializers = new Map<string, OnnxTensor>();
  const inputs: OnnxValue[] = [];
  const outputs: OnnxValue[] = [];
  for (const field of fieldsOf(message)) {
    switch (field.number) {
      case 1:
        nodes.push(readNode(bytesIn(field)));
        break;
      case 5: {
        const tensor = readTensor(bytesIn(field));
        if (initializers.has(tensor.name)) {
          throw damaged(`it has two initializers "${tensor.name}"`);
        }
        initializers.set(tensor.name, tensor);
        break;
      }
      case 11:
        inputs.push(readValue(bytesIn(field)));
        break;
      case 12:
        outputs.push(readValue(bytesIn(field)));
        break;
      case 15:
        throw unsupportedError('The ONNX file has sparse initializers, which are not supported.');
    }
    if (nodes.length + initializers.size + inputs.length + outputs.length > MAX_ENTRIES) {
      throw tooLargeError(`The ONNX file has more than ${MAX_ENTRIES} nodes and tensors.`);
    }
  }
  return {nodes, initializers, inputs: inputs.filter(({name}) => !initializers.has(name)), outputs};
}

function readNode(message: Uint8Array): OnnxNode {
  const node: OnnxNode = {name: '', op: '', domain: '', inputs: [], outputs: [], attributes: new Map()};
  for (const field of fieldsOf(message)) {
    switch (field.number) {
      case 1:
        node.inputs.push(textIn(field));
        break;
      case 2:
        node.outputs.push(textIn(field));
        break;
      case 3:
        node.name = textIn(field);
        break;
      case 4:
        node.op = textIn(field);
        break;
      case 5:
        node.attributes.set(...readAttribute(bytesIn(field)));
        break;
      case 7:
        node.domain = domainOf(textIn(field));
        break;
    }
  }
  return node;
}

function readAttribute(message: Uint8Array): [name: string, attribute: OnnxAttribute] {
  const attribute: OnnxAttribute = {ints: [], floats: [], strings: []};
  const single: number[] = [];
  let name = '';
  for (const field of fieldsOf(message)) {
    switch (field.number) {
      case 1:
        name = textIn(field);
        break;
      case 2:
        addFloats(field, single);
        attribute.f = single.at(-1) ?? 0;
        break;
      case 3:
        attribute.i = integerIn(field);
        break;
      case 4:
        attribute.s = textIn(field);
        break;
      case 5:
        attribute.t = readTensor(bytesIn(field));
        break;
      case 6:
        attribute.g = bytesIn(field);
        break;
      case 7:
        addFloats(field, attribute.floats);
        break;
      case 8:
        addIntegers(field, attribute.ints);
        break;
      case 9:
        attribute.strings.push(textIn(field));
        break;
      case 21:
        attribute.ref = textIn(field);
        break;
    }
  }
  return [name, attribute];
}

function readValue(message: Uint8Array): OnnxValue {
  const value: OnnxValue = {name: '', type: 0, shape: undefined};
  for (const field of fieldsOf(message)) {
    if (field.number === 1) {
      value.name = textIn(field);
    } else if (field.number === 2) {
      for (const tensor of fieldsOf(bytesIn(field))) {
        for (const typeField of tensor.number === 1 ? fieldsOf(bytesIn(tensor)) : []) {
          value.type = typeField.number === 1 ? integerIn(typeField) : value.type;
          value.shape = typeField.number === 2 ? readShape(bytesIn(typeField)) : value.shape;
        }
      }
    }
  }
  return value;
}

function readShape(message: Uint8Array): (number | string | null)[] {
  const shape: (number | string | null)[] = [];
  for (const field of fieldsOf(message)) {
    let size: number | string | null = null;
    for (const dimension of field.number === 1 ? fieldsOf(bytesIn(field)) : []) {
      size = dimension.number === 1 ? integerIn(dimension) : dimension.number === 2 ? textIn(dimension) || null : size;
    }
    shape.push(typeof size === 'number' && size < 0 ? null : size);
  }
  return shape;
}
