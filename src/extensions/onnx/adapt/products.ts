import type {OnnxTensor} from '../file/onnxTensor';
import {type OnnxGraph, type OnnxNode, readGraphProto} from '../file/readOnnx';
import {TYPE} from '../write/messages';
import {asModule} from './moduleNames';

/** The way to a graph inside another: the place of a node, and the attribute that holds the graph. */
export interface BranchStep {
  place: number;
  attribute: string;
}

/** A product `y = x·W` of a file, `[…, in] × [in, out]`, whichever type its matrix is stored in. */
export interface Product {
  /** The way to its graph, from that of the file on. */
  branch: readonly BranchStep[];
  /** The place of the node that returns `y`. */
  place: number;
  x: string;
  y: string;
  fanIn: number;
  fanOut: number;
  /** The number of the type of `x` and `y`. */
  type: number;
  /** What its module may be called, the likeliest name first. */
  names: readonly string[];
}

/** A graph with what is visible in it: the tensors and values of the graphs around it. */
class Scope {
  readonly places = new Map<string, number>();
  private readonly users = new Map<string, number[]>();

  constructor(
    readonly graph: OnnxGraph,
    readonly branch: readonly BranchStep[] = [],
    private readonly outer?: Scope,
  ) {
    graph.nodes.forEach(({inputs, outputs}, place) => {
      outputs.forEach(output => this.places.set(output, place));
      inputs.forEach(input => this.users.set(input, [...(this.users.get(input) ?? []), place]));
    });
  }

  tensor(name: string | undefined): OnnxTensor | undefined {
    const node = this.maker(name);
    const constant = node?.op === 'Constant' ? node.attributes.get('value')?.t : undefined;
    return constant ?? this.graph.initializers.get(name ?? '') ?? this.outer?.tensor(name);
  }

  maker(name: string | undefined): OnnxNode | undefined {
    const place = this.places.get(name ?? '');
    return place === undefined ? this.outer?.maker(name) : this.graph.nodes[place];
  }

  /** The place of the only node of this graph that uses a value, if it is of an operation. */
  onlyUser(name: string, op: string): number | undefined {
    const places = this.users.get(name) ?? [];
    const [place] = places;
    return place !== undefined && places.length === 1 && this.graph.nodes[place]?.op === op ? place : undefined;
  }
}

/** The products of a graph with constant matrices, also of the graphs inside its nodes. */
export function productsOf(graph: OnnxGraph): Product[] {
  const products: Product[] = [];
  const visit = (scope: Scope): void => {
    scope.graph.nodes.forEach((node, place) => {
      const product = productAt(node, place, scope);
      products.push(...(product === undefined ? [] : [product]));
      for (const [attribute, {g}] of node.attributes) {
        if (g !== undefined) {
          visit(new Scope(readGraphProto(g), [...scope.branch, {place, attribute}], scope));
        }
      }
    });
  };
  visit(new Scope(graph));
  return products;
}

/** A matrix, `[in, out]` as the product uses it. */
interface Matrix {
  name: string;
  shape: readonly number[];
  type: number;
}

/** The product that a node computes, alone or with the nodes that scale integers back. */
function productAt(node: OnnxNode, place: number, scope: Scope): Product | undefined {
  const [x = '', weight = '', third] = node.inputs;
  const flag = (name: string) => (node.attributes.get(name)?.i ?? 0) !== 0;
  const product = (matrix: Matrix | undefined, input = x, end = place): Product | undefined => {
    const [fanIn = 0, fanOut = 0] = matrix?.shape ?? [];
    const y = scope.graph.nodes[end]?.outputs[0] ?? '';
    return matrix?.shape.length === 2
      ? {branch: scope.branch, place: end, x: input, y, fanIn, fanOut, type: matrix.type, names: namesOf(node, matrix)}
      : undefined;
  };
  // Operators of others may have the same names.
  switch (['', 'com.microsoft'].includes(node.domain) ? node.op : '') {
    case 'MatMulNBits': {
      const [fanIn = 0, fanOut = 0] = ['K', 'N'].map(name => node.attributes.get(name)?.i);
      return product({name: weight, shape: [fanIn, fanOut], type: scope.tensor(third)?.type ?? TYPE.float});
    }
    case 'MatMul':
    case 'Gemm':
    case 'FusedMatMul':
      return ['transA', 'transBatchA', 'transBatchB'].some(flag)
        ? undefined
        : product(matrixAt(weight, flag('transB'), scope));
    case 'DynamicQuantizeMatMul':
      return product(asFloat(matrixAt(weight, false, scope)));
    case 'MatMulIntegerToFloat': {
      const quantize = scope.maker(x);
      return quantize?.op === 'DynamicQuantizeLinear'
        ? product(asFloat(matrixAt(weight, false, scope)), quantize.inputs[0])
        : undefined;
    }
    case 'MatMulInteger': {
      const quantize = scope.maker(x);
      const cast = scope.onlyUser(node.outputs[0] ?? '', 'Cast');
      const scaled = cast === undefined ? cast : scope.onlyUser(scope.graph.nodes[cast]?.outputs[0] ?? '', 'Mul');
      return quantize?.op === 'DynamicQuantizeLinear' && scaled !== undefined
        ? product(asFloat(matrixAt(weight, false, scope)), quantize.inputs[0], scaled)
        : undefined;
    }
    default:
      return undefined;
  }
}

/** A matrix of integers whose product is float32. */
function asFloat(matrix: Matrix | undefined): Matrix | undefined {
  return matrix && {...matrix, type: TYPE.float};
}

/** No exporter puts more nodes between a stored matrix and its product. */
const MAX_STEPS = 8;

/** The stored matrix behind an input. */
function matrixAt(input: string, isTransposed: boolean, scope: Scope): Matrix | undefined {
  let [name, transposed] = [input, isTransposed];
  let type: number | undefined;
  for (let step = 0; step < MAX_STEPS; step++) {
    const tensor = scope.tensor(name);
    if (tensor !== undefined) {
      const shape = transposed ? [...tensor.shape].reverse() : tensor.shape;
      return {name, shape, type: type ?? tensor.type};
    }
    const node = scope.maker(name);
    switch (node?.op) {
      case 'Transpose':
        transposed = !transposed;
        break;
      case 'DequantizeLinear':
        type ??= scope.tensor(node.inputs[1])?.type;
        break;
      case 'Cast':
        type ??= node.attributes.get('to')?.i;
        break;
      case 'Identity':
        break;
      default:
        return undefined;
    }
    name = node.inputs[0] ?? '';
  }
  return undefined;
}

/** The key of a node's metadata under which torch's exporter lists the modules around it. */
const SCOPES = 'pkg.torch.onnx.name_scopes';

/** The names that exporters give a module's product: in metadata, to the node, to its output, or to its matrix. */
function namesOf({name, outputs, metadata}: OnnxNode, matrix: Matrix): string[] {
  const scopes = metadata?.get(SCOPES)?.match(/[\w.]+/g) ?? [];
  const candidates = [
    ...scopes.slice(-2).filter(scope => scope.includes('.')),
    ...[name, outputs[0] ?? ''].map(path =>
      path
        .replace(/^\//, '')
        .replace(/\/output_\d+$/, '')
        .replace(/\/(?:MatMul|Gemm|FusedMatMul)[^/]*$/, '')
        .replaceAll('/', '.'),
    ),
    matrix.name.replace(/\.(?:MatMul\.)?weight.*$/s, ''),
  ];
  return [...new Set(candidates.map(asModule))].filter(candidate => /[a-z]/i.test(candidate));
}
