import {type GraphNode, keyOf} from '../../graph/graphDef';
import type {ReadGraph} from '../../graph/import/readGraph';
import {unsupportedError} from '../../../platform/errors';
import {OnnxTensor} from '../file/onnxTensor';
import {damaged} from '../file/protobuf';
import type {OnnxModel, OnnxNode, OnnxValue} from '../file/readOnnx';
import type {OnnxOperations} from '../lower/lowering';

/** The versions of ONNX's operations that are known. */
const [OLDEST, NEWEST] = [7, 25];

/** A file as a graph whose nodes are operations of ONNX, each under a name of its own. */
export interface OnnxGraphModel extends OnnxOperations {
  nodes: Map<string, OnnxNode>;
  keys: Map<string, string>;
  read: ReadGraph;
}

/** @throws LoRAError if the file is damaged, or of a version that is not known. */
export function graphOfOnnx({graph, opsets}: OnnxModel): OnnxGraphModel {
  const version = opsets.get('');
  if (version !== undefined && (version < OLDEST || version > NEWEST)) {
    throw unsupportedError(
      `The ONNX file is of opset ${version}, where ${OLDEST} to ${NEWEST} are supported. Convert it with ` +
        'onnx.version_converter of Python.',
    );
  }
  const list = new Map<string, GraphNode>();
  const keys = new Map<string, string>();
  const tensors = new Map<string, OnnxTensor>();
  const nodes = new Map<string, OnnxNode>();
  const add = (name: string, node: Omit<GraphNode, 'name'>) => {
    const own = freeName(name, list);
    list.set(own, {name: own, ...node});
    return own;
  };
  const addTensor = (value: string, tensor: OnnxTensor) => {
    const key = keyOf(add(value, {op: 'Constant'}));
    keys.set(value, key);
    tensors.set(key, tensor);
  };
  const inputs = graph.inputs.map(value => {
    const node = add(value.name, {op: 'Placeholder', attr: attributesOf(value)});
    keys.set(value.name, keyOf(node));
    return {key: value.name, node};
  });
  graph.initializers.forEach((tensor, name) => addTensor(name, tensor));
  for (const proto of graph.nodes) {
    const name = proto.name === '' ? (proto.outputs.find(output => output !== '') ?? proto.op) : proto.name;
    const constant = proto.op === 'Constant' && proto.domain === '' ? tensorOf(proto) : undefined;
    const [first = ''] = proto.outputs;
    if (constant !== undefined) {
      addTensor(first, constant);
      continue;
    }
    const given = proto.inputs
      .filter(input => input !== '')
      .map(input => {
        return keys.get(input) ?? fail(`node "${name}" takes "${input}", which nothing before it gives`);
      });
    const own = add(name, {op: proto.op, input: given});
    nodes.set(own, proto);
    proto.outputs.forEach((output, i) => {
      if (output !== '' && keys.has(output)) {
        throw damaged(`two nodes give "${output}"`);
      }
      keys.set(output, `${own}:${i}`);
    });
    keys.delete('');
  }
  const outputs = graph.outputs.map(({name}) => ({key: name, node: name}));
  const stored = [...tensors.values()].reduce((sum, {size}) => sum + size, 0);
  const read: ReadGraph = {
    nodes: list,
    weights: new Map(),
    stored,
    call: 'fromONNX(file',
    artifacts: {},
    inputs,
    outputs,
  };
  return {read, nodes, keys, tensors, opsets};
}

function fail(what: string): never {
  throw damaged(what);
}

/** A name that a plan can use: a colon before a number would name an output. */
function freeName(name: string, taken: ReadonlyMap<string, unknown>): string {
  const plain = name.replace(/^[/^]+/, '').replaceAll(':', '_') || 'node';
  let own = plain;
  for (let copy = 1; taken.has(own); copy++) {
    own = `${plain}_${copy}`;
  }
  return own;
}

const TYPES: Readonly<Record<number, string>> = {
  9: 'DT_BOOL',
  1: 'DT_FLOAT',
  10: 'DT_FLOAT',
  11: 'DT_FLOAT',
  16: 'DT_FLOAT',
};

function attributesOf({type, shape}: OnnxValue): GraphNode['attr'] {
  const dim = shape?.map(size => ({size: typeof size === 'number' ? size : -1}));
  return {
    dtype: {type: TYPES[type] ?? (type === 8 ? 'DT_STRING' : 'DT_INT32')},
    shape: {shape: dim === undefined ? {unknownRank: true} : {dim}},
  };
}

/** The value of a `Constant`; `undefined` where it is of a kind that TensorFlow.js has not. */
function tensorOf({attributes, name}: OnnxNode): OnnxTensor | undefined {
  const list = (key: string) => attributes.get(key);
  const made = (type: number, values: readonly number[], shape: readonly number[]) =>
    new OnnxTensor(name, type, shape, values);
  const [value, float, int] = [list('value')?.t, list('value_float')?.f, list('value_int')?.i];
  const [floats, ints] = [list('value_floats')?.floats, list('value_ints')?.ints];
  if (value !== undefined) {
    return value;
  }
  if (float !== undefined || floats !== undefined) {
    return float === undefined ? made(1, floats ?? [], [floats?.length ?? 0]) : made(1, [float], []);
  }
  if (int !== undefined || ints !== undefined) {
    return int === undefined ? made(7, ints ?? [], [ints?.length ?? 0]) : made(7, [int], []);
  }
  return undefined;
}
