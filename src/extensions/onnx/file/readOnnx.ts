import {tooLargeError, unsupportedError} from '../../../platform/errors';
import {explained} from '../../../platform/formats/explained';
import {OnnxTensor, readEntry, readTensor} from './onnxTensor';
import {
  addFloats,
  addIntegers,
  bytesIn,
  damaged,
  type Field,
  fieldsOf,
  integerIn,
  readFields,
  textIn,
} from './protobuf';

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
  /** What its exporter noted about it, if anything. */
  metadata?: Map<string, string>;
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
  const graphs: Uint8Array[] = [];
  readFields(file, {
    7: field => graphs.push(bytesIn(field)),
    8: field => opsets.set(...readOpset(bytesIn(field))),
    14: field => metadata.set(...readEntry(bytesIn(field))),
    25: field => functions.set(...readFunction(bytesIn(field))),
  });
  const [graph, ...laterGraphs] = graphs;
  if (graph === undefined || laterGraphs.length > 0) {
    throw damaged(graph === undefined ? 'it has no graph' : 'it has two graphs');
  }
  return {bytes: file, graph: readGraphProto(graph), functions, opsets, metadata};
}

function readOpset(message: Uint8Array): [domain: string, version: number] {
  let [domain, version] = ['', 0];
  readFields(message, {
    1: field => (domain = domainIn(field)),
    2: field => (version = integerIn(field)),
  });
  return [domain, version];
}

function readFunction(message: Uint8Array): [name: string, entry: OnnxFunction] {
  const entry: OnnxFunction = {inputs: [], outputs: [], nodes: [], defaults: new Map()};
  let [name, domain] = ['', ''];
  readFields(message, {
    1: field => (name = textIn(field)),
    4: field => entry.inputs.push(textIn(field)),
    5: field => entry.outputs.push(textIn(field)),
    7: field => entry.nodes.push(readNode(bytesIn(field))),
    10: field => (domain = domainIn(field)),
    11: field => entry.defaults.set(...readAttribute(bytesIn(field))),
  });
  return [`${domain}:${name}`, entry];
}

function domainIn(field: Field): string {
  const text = textIn(field);
  return text === 'ai.onnx' ? '' : text;
}

/** Reads a GraphProto: that of a file, or a branch of an `If`. */
export function readGraphProto(message: Uint8Array): OnnxGraph {
  const nodes: OnnxNode[] = [];
  const initializers = new Map<string, OnnxTensor>();
  const inputs: OnnxValue[] = [];
  const outputs: OnnxValue[] = [];
  /** Reads a field, unless the graph has too many. */
  const bounded = (read: (message: Uint8Array) => unknown) => (field: Field) => {
    read(bytesIn(field));
    if (nodes.length + initializers.size + inputs.length + outputs.length > MAX_ENTRIES) {
      throw tooLargeError(`The ONNX file has more than ${MAX_ENTRIES} nodes and tensors.`);
    }
  };
  readFields(message, {
    1: bounded(node => nodes.push(readNode(node))),
    5: bounded(initializer => {
      const tensor = readTensor(initializer);
      if (initializers.has(tensor.name)) {
        throw damaged(`it has two initializers "${tensor.name}"`);
      }
      initializers.set(tensor.name, tensor);
    }),
    11: bounded(value => inputs.push(readValue(value))),
    12: bounded(value => outputs.push(readValue(value))),
    15: () => {
      throw unsupportedError('The ONNX file has sparse initializers, which are not supported.');
    },
  });
  return {nodes, initializers, inputs: inputs.filter(({name}) => !initializers.has(name)), outputs};
}

function readNode(message: Uint8Array): OnnxNode {
  const node: OnnxNode = {name: '', op: '', domain: '', inputs: [], outputs: [], attributes: new Map()};
  readFields(message, {
    1: field => node.inputs.push(textIn(field)),
    2: field => node.outputs.push(textIn(field)),
    3: field => (node.name = textIn(field)),
    4: field => (node.op = textIn(field)),
    5: field => node.attributes.set(...readAttribute(bytesIn(field))),
    7: field => (node.domain = domainIn(field)),
    9: field => (node.metadata ??= new Map<string, string>()).set(...readEntry(bytesIn(field))),
  });
  return node;
}

function readAttribute(message: Uint8Array): [name: string, attribute: OnnxAttribute] {
  const attribute: OnnxAttribute = {ints: [], floats: [], strings: []};
  const single: number[] = [];
  let name = '';
  readFields(message, {
    1: field => (name = textIn(field)),
    2: field => {
      addFloats(field, single);
      attribute.f = single.at(-1) ?? 0;
    },
    3: field => (attribute.i = integerIn(field)),
    4: field => (attribute.s = textIn(field)),
    5: field => (attribute.t = readTensor(bytesIn(field))),
    6: field => (attribute.g = bytesIn(field)),
    7: field => addFloats(field, attribute.floats),
    8: field => addIntegers(field, attribute.ints),
    9: field => attribute.strings.push(textIn(field)),
    21: field => (attribute.ref = textIn(field)),
  });
  return [name, attribute];
}

function readValue(message: Uint8Array): OnnxValue {
  const value: OnnxValue = {name: '', type: 0, shape: undefined};
  const tensorType = (field: Field) =>
    readFields(bytesIn(field), {
      1: type => (value.type = integerIn(type)),
      2: shape => (value.shape = readShape(bytesIn(shape))),
    });
  readFields(message, {
    1: field => (value.name = textIn(field)),
    2: field => readFields(bytesIn(field), {1: tensorType}),
  });
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
