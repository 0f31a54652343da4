// A graph as in the model.json of a tf.GraphModel: TensorFlow's GraphDef, in JSON.

/** An attribute of a node. Some files have integers as texts; texts are in base64, or lists of bytes. */
export interface GraphAttribute {
  s?: string | number[];
  i?: number | string;
  f?: number;
  b?: boolean;
  type?: string | number;
  shape?: GraphShape;
  list?: {s?: (string | number[])[]; i?: (number | string)[]; f?: number[]; type?: (string | number)[]};
}

/** A shape in a graph. A size of -1 is unknown. */
interface GraphShape {
  unknownRank?: boolean;
  dim?: {size?: number | string}[];
}

/** A node of a graph. */
export interface GraphNode {
  name: string;
  op: string;
  /** `node`, `node:1` for its second output, `^node` for a control input. */
  input?: string[];
  attr?: Record<string, GraphAttribute>;
}

/** The types of tensors in TensorFlow.js. */
export type GraphType = 'float32' | 'int32' | 'bool' | 'string';

/** TensorFlow's types by name and by enum value, as TensorFlow.js loads them. */
const TYPES: Readonly<Record<string, GraphType>> = {
  DT_FLOAT: 'float32',
  1: 'float32',
  DT_DOUBLE: 'float32',
  2: 'float32',
  DT_HALF: 'float32',
  19: 'float32',
  DT_INT32: 'int32',
  3: 'int32',
  DT_UINT8: 'int32',
  4: 'int32',
  DT_INT8: 'int32',
  6: 'int32',
  DT_INT64: 'int32',
  9: 'int32',
  DT_BOOL: 'bool',
  10: 'bool',
  DT_STRING: 'string',
  7: 'string',
};

/** A text attribute, or `fallback`. */
export function textOf(node: GraphNode, key: string, fallback = ''): string {
  const value = attributeOf(node, key)?.s;
  return value === undefined ? fallback : decoded(value);
}

/** A list of texts; empty if it is missing. */
export function textsOf(node: GraphNode, key: string): string[] {
  return (attributeOf(node, key)?.list?.s ?? []).map(decoded);
}

/** A flag; `false` if it is missing. */
export function flagOf(node: GraphNode, key: string): boolean {
  return attributeOf(node, key)?.b ?? false;
}

/** A number, or `fallback`. */
export function numberOf(node: GraphNode, key: string, fallback: number): number {
  const attribute = attributeOf(node, key);
  return Number(attribute?.i ?? attribute?.f ?? fallback);
}

/** A list of numbers, or `fallback`. */
export function numbersOf(node: GraphNode, key: string, fallback: readonly number[] = []): number[] {
  const list = attributeOf(node, key)?.list;
  const numbers = list?.i?.length ? list.i : list?.f;
  return (numbers ?? fallback).map(Number);
}

/** A type in TensorFlow.js; `undefined` if it is missing or unknown to TensorFlow.js. */
export function typeOf(node: GraphNode, key: string): GraphType | undefined {
  const type = attributeOf(node, key)?.type;
  return type === undefined || !Object.hasOwn(TYPES, type) ? undefined : TYPES[type];
}

/** Ops with boolean results, whatever type their attributes name. */
const TESTS =
  /^(?:Equal|NotEqual|Greater|GreaterEqual|Less|LessEqual|Logical(?:And|Or|Not)|Is(?:Nan|Inf|Finite)|All|Any)$/;
/** Attributes that name the type of a result, the narrower before the wider. */
const RESULT_TYPES = ['dtype', 'DstT', 'out_type', 'output_type', 'Tparams', 'T'];

/** The type of a node's result, if its op and its attributes determine it. */
export function resultTypeOf(node: GraphNode): GraphType {
  if (TESTS.test(node.op)) {
    return 'bool';
  }
  if (/^(?:Arg(?:Max|Min)|Where|Shape|Size|Rank)$/.test(node.op)) {
    return 'int32';
  }
  return RESULT_TYPES.map(key => typeOf(node, key)).find(type => type !== undefined) ?? 'float32';
}

/** A shape, with `null` for unknown sizes; `undefined` if the rank is unknown. */
export function shapeOf(node: GraphNode, key: string): (number | null)[] | undefined {
  const shape = attributeOf(node, key)?.shape;
  return shape === undefined || shape.unknownRank
    ? undefined
    : (shape.dim ?? []).map(({size}) => (Number(size ?? -1) < 0 ? null : Number(size)));
}

/** The data inputs of a node, without control inputs. */
export function inputsOf({input = []}: GraphNode): string[] {
  return input.filter(name => !name.startsWith('^'));
}

/** Whether a node returns properties of a tensor that do not depend on its values. */
export function asksForShape({op}: GraphNode): boolean {
  return op === 'Shape' || op === 'Size' || op === 'Rank';
}

/** The node and the output index of an input: `node:1` is `['node', 1]`. */
export function nodeAndOutput(name: string): [node: string, output: number] {
  const at = name.lastIndexOf(':');
  return at < 0 || !/^\d+$/.test(name.slice(at + 1)) ? [name, 0] : [name.slice(0, at), Number(name.slice(at + 1))];
}

/** The canonical name of an output: `node` and `node:0` are both `node:0`. */
export function keyOf(name: string): string {
  const [node, output] = nodeAndOutput(name);
  return `${node}:${output}`;
}

/** A node's name without the calls that the exporter adds: `StatefulPartitionedCall/dense/MatMul`. */
export function shortName(name: string): string {
  const withoutCalls = name.replace(/(?:^|\/)(?:Stateful)?PartitionedCall(?:_\d+)?(?=\/|$)/g, '');
  const isFirstGone = withoutCalls.startsWith('/') && !name.startsWith('/');
  return withoutCalls === '' ? name : withoutCalls.slice(isFirstGone ? 1 : 0);
}

function attributeOf({attr}: GraphNode, key: string): GraphAttribute | undefined {
  return attr !== undefined && Object.hasOwn(attr, key) ? attr[key] : undefined;
}

function decoded(text: string | number[]): string {
  return typeof text === 'string' ? atob(text) : String.fromCharCode(...text);
}
