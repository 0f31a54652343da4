import {field} from '../../../src/extensions/onnx/file/protobuf';

// ONNX files by hand. Numbers of fields as in onnx.proto.

export type Message = Uint8Array[];

export interface NodeEntry {
  op: string;
  inputs: string[];
  outputs: string[];
  name?: string;
  domain?: string;
  attributes?: Message[];
}

const joined = (parts: readonly Uint8Array[]) => Uint8Array.from(parts.flatMap(part => [...part]));

export const ints = (name: string, values: readonly number[]): Message => [
  field(1, name),
  ...values.map(value => field(8, value)),
  field(20, 7),
];

export const int = (name: string, value: number): Message => [field(1, name), field(3, value), field(20, 2)];

export const text = (name: string, value: string): Message => [
  field(1, name),
  field(4, new TextEncoder().encode(value)),
  field(20, 3),
];

export const graph = (name: string, fields: Message): Message => [field(1, name), field(6, fields), field(20, 5)];

/** A tensor of floats as raw data. */
export function floats(name: string, shape: readonly number[], values: readonly number[]): Message {
  const data = new Uint8Array(Float32Array.from(values).buffer);
  return [...shape.map(size => field(1, size)), field(2, 1), field(8, name), field(9, data)];
}

/** A tensor of integers of 64 bits as raw data. */
export function integers(name: string, shape: readonly number[], values: readonly number[]): Message {
  const data = new Uint8Array(BigInt64Array.from(values, BigInt).buffer);
  return [...shape.map(size => field(1, size)), field(2, 7), field(8, name), field(9, data)];
}

/** A value of floats; `null` for a size that is open. */
export function value(name: string, shape: readonly (number | null)[], type = 1): Message {
  const dims = shape.map(size => field(1, size === null ? [field(2, 'N')] : [field(1, size)]));
  return [field(1, name), field(2, [field(1, [field(1, type), field(2, dims)])])];
}

export interface FileEntries {
  nodes: NodeEntry[];
  initializers?: Message[];
  inputs: Message[];
  outputs: Message[];
  opset?: number;
  /** Fields of the model that no reader knows. */
  more?: Uint8Array[];
}

export function onnxFile({nodes, initializers = [], inputs, outputs, opset = 17, more = []}: FileEntries): Uint8Array {
  const graph = [
    ...nodes.map(({op, inputs: given, outputs: gives, name = '', domain = '', attributes = []}) =>
      field(1, [
        ...given.map(each => field(1, each)),
        ...gives.map(each => field(2, each)),
        field(3, name),
        field(4, op),
        ...attributes.map(each => field(5, each)),
        field(7, domain),
      ]),
    ),
    field(2, 'graph'),
    ...initializers.map(each => field(5, each)),
    ...inputs.map(each => field(11, each)),
    ...outputs.map(each => field(12, each)),
  ];
  return joined([field(1, 8), field(7, graph), field(8, [field(1, ''), field(2, opset)]), ...more]);
}
