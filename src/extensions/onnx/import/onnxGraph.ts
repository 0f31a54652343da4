import {type GraphNode, keyOf} from '../../graph/graphDef';
import {FreeNames} from '../../graph/import/order';
import type {ReadGraph} from '../../graph/import/readGraph';
import {unsupportedError} from '../../../platform/errors';
import {OnnxTensor} from '../file/onnxTensor';
import {damaged} from '../file/protobuf';
import {
  type OnnxAttribute,
  type OnnxFunction,
  type OnnxModel,
  type OnnxNode,
  type OnnxValue,
  readGraphProto,
} from '../file/readOnnx';
import type {OnnxOperations} from '../lower/lowering';

/** The versions of ONNX's operations that are known. */
const [OLDEST, NEWEST] = [7, 25];

/** A file as a graph whose nodes are operations of ONNX, each with a unique name. */
export interface OnnxGraphModel extends OnnxOperations {
  read: ReadGraph;
  /** By the name of a node in a branch of an `If`: the condition, and the value on which the branch is taken. */
  branches: ReadonlyMap<string, Branch>;
}

/** Where a node is computed at all. */
export interface Branch {
  condition: string;
  isTaken: boolean;
}

/** Nobody nests more graphs and functions than this. */
const DEEPEST = 16;

/** A file may call a function as often as it likes. */
const MAX_NODES = 100_000;

/** A node can name as many inputs and outputs as it likes. The import looks at each several times. */
const MAX_ENDS = 4 * MAX_NODES;

/** @throws LoRAError if the file is damaged, or of a version that is not known. */
export function graphOfOnnx({graph, functions, opsets}: OnnxModel): OnnxGraphModel {
  const version = opsets.get('');
  if (version !== undefined && (version < OLDEST || version > NEWEST)) {
    throw unsupportedError(
      `The ONNX file is of opset ${version}, where ${OLDEST} to ${NEWEST} are supported. Convert it with ` +
        'onnx.version_converter of Python.',
    );
  }
  const flat = new Flattened(functions);
  const inputs = graph.inputs.map(value => {
    const node = flat.add(value.name, {op: 'Placeholder', attr: attributesOf(value)});
    flat.keys.set(value.name, keyOf(node));
    return {key: value.name, node};
  });
  flat.addGraph(graph, {path: '', rename: name => name});
  const {list, nodes, keys, tensors, branches} = flat;
  const read: ReadGraph = {
    nodes: list,
    weights: new Map(),
    stored: [...tensors.values()].reduce((sum, {size}) => sum + size, 0),
    call: 'fromONNX(file',
    artifacts: {},
    inputs,
    outputs: graph.outputs.map(({name}) => ({key: name, node: name})),
  };
  return {read, nodes, keys, tensors, opsets, branches};
}

/** Where nodes stand: in the graph of a file, a branch of an `If`, or a function. */
interface Scope {
  /** The prefix of the names of nodes. */
  path: string;
  /** The unique name of a value in the file. */
  rename: (name: string) => string;
  branch?: Branch;
  depth?: number;
}

/** The nodes of a graph, with those of its branches and functions among them. */
class Flattened {
  readonly list = new Map<string, GraphNode>();
  readonly keys = new Map<string, string>();
  readonly tensors = new Map<string, OnnxTensor>();
  readonly nodes = new Map<string, OnnxNode>();
  readonly branches = new Map<string, Branch>();
  private readonly free = new FreeNames(this.list);
  private calls = 0;
  private ends = 0;

  constructor(private readonly functions: OnnxModel['functions']) {}

  /** Adds a node, and gives the name that it got. */
  add(name: string, node: Omit<GraphNode, 'name'>): string {
    // A colon before a number would name an output.
    const freshName = this.free.next(name.replace(/^[/^]+/, '').replaceAll(':', '_') || 'node');
    this.list.set(freshName, {name: freshName, ...node});
    checkCount(this.list.size);
    return freshName;
  }

  addGraph(
    {initializers, nodes}: Pick<OnnxModel['graph'], 'nodes'> & Partial<Pick<OnnxModel['graph'], 'initializers'>>,
    scope: Scope,
  ): void {
    if ((scope.depth ?? 0) > DEEPEST) {
      throw unsupportedError(`The ONNX file nests graphs or functions more than ${DEEPEST} deep.`);
    }
    initializers?.forEach((tensor, name) => this.addTensor(scope.rename(name), tensor));
    nodes.forEach(proto => this.addNode(proto, scope));
  }

  private addTensor(value: string, tensor: OnnxTensor): void {
    const key = keyOf(this.add(value, {op: 'Constant'}));
    this.keys.set(value, key);
    this.tensors.set(key, tensor);
  }

  private addNode(node: OnnxNode, scope: Scope): void {
    const {rename} = scope;
    this.ends += node.inputs.length + node.outputs.length;
    if (this.ends > MAX_ENDS) {
      throw unsupportedError(`The nodes of the ONNX file have more than ${MAX_ENDS} inputs and outputs.`);
    }
    const named = (list: readonly string[]) => list.map(name => (name === '' ? '' : rename(name)));
    // Those of the file itself stay the objects that they are, by which they are found when it is written.
    const proto = scope.path === '' ? node : {...node, inputs: named(node.inputs), outputs: named(node.outputs)};
    const name =
      node.name === ''
        ? (proto.outputs.find(output => output !== '') ?? scope.path + proto.op)
        : scope.path + node.name;
    const constant = proto.op === 'Constant' && proto.domain === '' ? constantTensor(proto) : undefined;
    const inner = this.functions.get(`${proto.domain}:${proto.op}`);
    if (constant !== undefined) {
      this.addTensor(proto.outputs[0] ?? '', constant);
    } else if (inner !== undefined) {
      this.addCall(proto, name, inner, scope);
    } else {
      const isChoice = proto.op === 'If' && proto.domain === '';
      const ends = isChoice ? this.addBranches(proto, name, scope) : [];
      const input = [...proto.inputs.filter(value => value !== ''), ...ends].map(value => this.keyOf(value, name));
      const addedName = this.add(name, {op: proto.op, input});
      this.nodes.set(addedName, isChoice ? {...proto, inputs: [...proto.inputs, ...ends]} : proto);
      if (scope.branch !== undefined) {
        this.branches.set(addedName, scope.branch);
      }
      proto.outputs.forEach((output, i) => this.give(output, `${addedName}:${i}`));
    }
  }

  private keyOf(value: string, node: string): string {
    const key = this.keys.get(value);
    if (key === undefined) {
      throw damaged(`node "${node}" takes "${value}", which no node before it returns`);
    }
    return key;
  }

  private give(value: string, key: string): void {
    if (value !== '') {
      if (this.keys.has(value)) {
        throw damaged(`two nodes return "${value}"`);
      }
      this.keys.set(value, key);
    }
  }

  /** Adds the nodes of both branches of an `If`, and gives what they end in: the values of one, then of the other. */
  private addBranches(proto: OnnxNode, name: string, scope: Scope): string[] {
    return ['then_branch', 'else_branch'].flatMap(branch => {
      const bytes = proto.attributes.get(branch)?.g;
      if (bytes === undefined) {
        throw damaged(`node "${name}" has no ${branch}`);
      }
      const graph = readGraphProto(bytes);
      const path = `${name}/${branch.slice(0, 4)}/`;
      const bodyNames = new Set([...graph.initializers.keys(), ...graph.nodes.flatMap(({outputs}) => outputs)]);
      const rename = (value: string) => (bodyNames.has(value) ? path + value : scope.rename(value));
      const condition = this.keyOf(proto.inputs[0] ?? '', name);
      const taken = {condition, isTaken: branch === 'then_branch'};
      this.addGraph(graph, {path, rename, branch: taken, depth: (scope.depth ?? 0) + 1});
      return graph.outputs.map(output => rename(output.name));
    });
  }

  /** Adds the nodes of a function in the place of a call of it. */
  private addCall(proto: OnnxNode, name: string, {inputs, outputs, nodes, defaults}: OnnxFunction, scope: Scope): void {
    // A function may have no nodes.
    checkCount(++this.calls);
    const values = new Map(inputs.map((input, i) => [input, proto.inputs[i] ?? '']));
    const path = `${name}/`;
    const rename = (value: string) => values.get(value) ?? path + value;
    const filled = nodes.map(node => ({...node, attributes: filledIn(node.attributes, proto.attributes, defaults)}));
    const {branch, depth = 0} = scope;
    this.addGraph({nodes: filled}, {path, rename, depth: depth + 1, ...(branch && {branch})});
    outputs.forEach((output, i) => this.give(proto.outputs[i] ?? '', this.keyOf(rename(output), name)));
  }
}

/** Attributes of a node of a function, with those of the call in the place of their names. */
function filledIn(
  functionDefaults: OnnxNode['attributes'],
  callAttributes: OnnxNode['attributes'],
  defaults: OnnxNode['attributes'],
): OnnxNode['attributes'] {
  const values = [...functionDefaults].map(([key, value]) => {
    return [key, value.ref === undefined ? value : (callAttributes.get(value.ref) ?? defaults.get(value.ref))] as const;
  });
  return new Map(values.filter((entry): entry is [string, OnnxAttribute] => entry[1] !== undefined));
}

function checkCount(count: number): void {
  if (count > MAX_NODES) {
    throw unsupportedError(`The ONNX file expands to more than ${MAX_NODES} nodes.`);
  }
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
function constantTensor({attributes, name}: OnnxNode): OnnxTensor | undefined {
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
