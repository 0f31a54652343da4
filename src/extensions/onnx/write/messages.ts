import {field, floatField} from '../file/protobuf';

/** The attributes of nodes. Integers are written as integers; a `Fraction` is written as a float. */
export type Attributes = Readonly<
  Record<string, number | Fraction | Body | string | readonly (number | string)[] | undefined>
>;

/** A number, or several, with fractions. */
export class Fraction {
  constructor(readonly value: number | readonly number[]) {}
}

/** An attribute that is a number, or else a default. */
export function numberOf(value: Attributes[string], otherwise: number): number {
  return value instanceof Fraction ? Number(value.value) : typeof value === 'number' ? value : otherwise;
}

/** An attribute that is a list of numbers, or else an empty list. */
export function numbersOf(value: Attributes[string]): number[] {
  return Array.isArray(value) ? value.map(Number) : [];
}

/** A graph inside a node, which may take what is outside. */
export class Body {
  nodes: NewNode[] = [];
  outputs: string[] = [];

  constructor(readonly inputs: readonly string[]) {}
}

/** The types of tensors, by their numbers in ONNX. */
export const TYPE = {float: 1, uint8: 2, int32: 6, int64: 7, bool: 9, float16: 10} as const;

/** A node, before it is written. */
export interface NewNode {
  /** Of another domain than ONNX's own after its name: `com.microsoft.MatMulNBits`. */
  op: string;
  name: string;
  inputs: readonly string[];
  outputs: string[];
  attributes: Attributes;
}

/** Nodes as messages. */
export function nodeMessages(nodes: readonly NewNode[]): Uint8Array[] {
  return nodes.map(({op, name, inputs, outputs, attributes}) => {
    const {domain, type} = typeOf(op);
    return field(1, [
      ...inputs.map(input => field(1, input)),
      ...outputs.map(output => field(2, output)),
      field(3, name),
      field(4, type),
      ...Object.entries(attributes).flatMap(([key, value]) => (value === undefined ? [] : [attribute(key, value)])),
      ...(domain === '' ? [] : [field(7, domain)]),
    ]);
  });
}

/** The domain of an operation, empty for ONNX's own, and its name in it. */
export function typeOf(op: string): {domain: string; type: string} {
  const end = op.lastIndexOf('.');
  return {domain: op.slice(0, Math.max(end, 0)), type: op.slice(end + 1)};
}

/** A value of a graph; `null` for a dynamic size, and a string for its name. */
export function valueMessage(name: string, type: number, shape?: readonly (number | string | null)[]): Uint8Array[] {
  const dims = shape?.map(size =>
    field(1, size === null ? [] : [typeof size === 'string' ? field(2, size) : field(1, size)]),
  );
  return [field(1, name), field(2, [field(1, [field(1, type), ...(dims === undefined ? [] : [field(2, dims)])])])];
}

/** The kinds of attributes, by their numbers in ONNX. */
const KINDS = {float: 1, int: 2, text: 3, graph: 5, floats: 6, ints: 7, texts: 8} as const;

function attribute(name: string, value: NonNullable<Attributes[string]>): Uint8Array {
  const constantsOf = (kind: keyof typeof KINDS, values: Uint8Array[]) =>
    field(5, [field(1, name), ...values, field(20, KINDS[kind])]);
  if (value instanceof Fraction) {
    const list = value.value;
    return typeof list === 'number'
      ? constantsOf('float', [floatField(2, list)])
      : constantsOf(
          'floats',
          list.map(number => floatField(7, number)),
        );
  }
  if (value instanceof Body) {
    const values = (kind: number) => (value: string) => field(kind, valueMessage(value, TYPE.float));
    const {nodes, inputs, outputs} = value;
    const parts = [...nodeMessages(nodes), field(2, name), ...inputs.map(values(11)), ...outputs.map(values(12))];
    return constantsOf('graph', [field(6, parts)]);
  }
  if (typeof value === 'number') {
    return constantsOf('int', [field(3, value)]);
  }
  if (typeof value === 'string') {
    return constantsOf('text', [field(4, value)]);
  }
  return value.some(entry => typeof entry === 'string')
    ? constantsOf(
        'texts',
        value.map(entry => field(9, String(entry))),
      )
    : constantsOf(
        'ints',
        (value as readonly number[]).map(entry => field(8, entry)),
      );
}
