import {sizeOf, transpose} from '../../../platform/formats/layout';
import {nBitsFit, NBitsMatrix, nBitsSizes} from '../file/nBits';
import type {OnnxTensor} from '../file/onnxTensor';
import type {OnnxModel, OnnxNode} from '../file/readOnnx';

/** A tensor of a module. */
export interface NamedTensor {
  shape: readonly number[];
  /** Its values, which are computed each time. */
  values: () => Float32Array;
  /** Whether it is a matrix that something is multiplied with from the left, `[in, out]`. */
  isFactor?: boolean;
  /** Whether it is a matrix whose module is not certain. */
  isUnplaced?: boolean;
  /** Its blocks in a format of GGUF, if the file has them. */
  blocks?: () => {format: 'Q4_0' | 'Q8_0'; bytes: number; words: () => Int32Array} | undefined;
}

/** A constant that nodes compute from others by some steps. */
interface Constant extends NamedTensor {
  isFloat: boolean;
  steps: number;
  /** The one that it is the transpose of. */
  source?: string;
}

/** The name of a parameter in PyTorch: the path of a module, and a name. */
const PARAMETER = /^[a-z_]\w*(?:\.\w+)+$/i;

/** Exporters take no more steps from an initializer to a weight. Each may double the work. */
const MAX_STEPS = 4;

/**
 * The floats of a file, initializers and constants, under the names that they have in PyTorch. Exporters keep those of
 * biases, tables and norms, and rename a matrix that they transpose. Its module is that of the bias that is added to
 * its product, or that of the node. A matrix whose module is not certain keeps the name that it has in the file.
 */
export function namedTensors({graph: {nodes, initializers}}: OnnxModel): Map<string, NamedTensor> {
  const constants = new Map<string, Constant>();
  const add = (tensor: OnnxTensor, name: string) => {
    const values = () => Float32Array.from(tensor.values());
    constants.set(name, {shape: tensor.shape, values, isFloat: tensor.dtype === 'float32', steps: 0});
  };
  initializers.forEach(add);
  const users = new Map<string, OnnxNode[]>();
  for (const node of nodes) {
    const stored = node.op === 'Constant' && node.domain === '' ? node.attributes.get('value')?.t : undefined;
    if (stored !== undefined) {
      add(stored, node.outputs[0] ?? '');
    }
    const made = node.domain === '' ? computed(node, constants) : undefined;
    if (made !== undefined) {
      constants.set(node.outputs[0] ?? '', {...made, isFloat: true});
    }
    node.inputs.forEach(name => users.set(name, [...(users.get(name) ?? []).slice(0, 1), node]));
  }
  const named = new Map<string, NamedTensor>();
  const packedByScales = new Map<string, NamedTensor>();
  const renamed: [module: string | undefined, name: string, matrix: NamedTensor][] = [];
  for (const node of nodes) {
    const [, name = ''] = node.inputs;
    const matrix = /^(?:MatMul|Gemm)$/.test(node.op) ? constants.get(name) : undefined;
    if (matrix?.shape.length === 2 && matrix.isFloat) {
      const isFactor = node.op === 'MatMul' || node.attributes.get('transB')?.i !== 1;
      if (PARAMETER.test(name)) {
        named.set(name, {...matrix, isFactor});
      } else if (!PARAMETER.test(matrix.source ?? '')) {
        renamed.push([moduleOf(node, users), name, {...matrix, isFactor}]);
      }
    }
    const packed = node.op === 'MatMulNBits' ? packedMatrix(node, constants) : undefined;
    if (packed !== undefined) {
      renamed.push([moduleOf(node, users), name, packed]);
      packedByScales.set(node.inputs[2] ?? '', packed);
    }
  }
  for (const {op, name, inputs} of nodes) {
    // A token embedding that is the transposed matrix of the output head, or shares its blocks.
    const table = op === 'Gather' ? constants.get(inputs[0] ?? '') : packedByScales.get(inputs[2] ?? '');
    const [, path] = /^\/(.*embed_tokens)\/Gather(?:BlockQuantized)?$/.exec(name) ?? [];
    if (table?.shape.length === 2 && path !== undefined && !constants.has(`${path.replaceAll('/', '.')}.weight`)) {
      named.set(`${path.replaceAll('/', '.')}.weight`, {shape: table.shape, values: table.values});
    }
  }
  constants.forEach((constant, name) => {
    if (constant.isFloat && !named.has(name) && !renamed.some(([, newName]) => newName === name)) {
      named.set(name, constant);
    }
  });
  for (const [module, name, matrix] of renamed) {
    const other = named.get(module ?? '');
    // A module that is called several times has as many copies in some files.
    if (module === undefined || (other !== undefined && !isSame(other, matrix))) {
      named.set(name, {...matrix, isUnplaced: true});
    } else if (other === undefined) {
      named.set(module, matrix);
    }
  }
  return named;
}

/** The matrix of a product with packed integers, `[out, in]`; `undefined` if its values are not in the file. */
function packedMatrix(node: OnnxNode, constants: ReadonlyMap<string, Constant>): NamedTensor | undefined {
  const sizes = nBitsSizes((name, fallback) => node.attributes.get(name)?.i ?? fallback);
  const [, packed, scales, zeros] = node.inputs.map(name => constants.get(name));
  const hasOther = [3, 4].some(place => (node.inputs[place] ?? '') !== '' && (place === 4 || zeros === undefined));
  if (packed === undefined || scales === undefined || hasOther) {
    return undefined;
  }
  if (!nBitsFit(sizes, sizeOf(packed.shape), sizeOf(scales.shape))) {
    return undefined;
  }
  const matrix = () =>
    new NBitsMatrix(sizes, {
      ...{packed: packed.values(), scales: scales.values(), zeros: zeros?.values()},
      hasFloatZeros: zeros?.isFloat === true,
    });
  const {units, width} = sizes;
  return {
    shape: [units, width],
    isFactor: false,
    values: () => {
      const unpacked = matrix();
      return Float32Array.from({length: units * width}, (_, i) => unpacked.weight(Math.floor(i / width), i % width));
    },
    blocks: () => {
      const unpacked = matrix();
      const {format} = unpacked;
      return format && {format, bytes: unpacked.bytes, words: () => unpacked.words()};
    },
  };
}

function isSame(one: NamedTensor, other: NamedTensor): boolean {
  const [values, otherValues] = [one.values(), other.values()];
  return (
    one.isFactor === other.isFactor &&
    values.length === otherValues.length &&
    values.every((value, i) => value === otherValues[i])
  );
}

/** The weight of the module that computes a product; `undefined` if that is not certain. */
function moduleOf(
  {op, name, inputs, outputs: [product = '']}: OnnxNode,
  users: ReadonlyMap<string, readonly OnnxNode[]>,
): string | undefined {
  const [sum, other] = users.get(product) ?? [];
  const isSum = sum?.op === 'Add' && other === undefined;
  const added = op === 'Gemm' ? inputs[2] : isSum ? sum.inputs.find(input => input !== product) : undefined;
  const [, ofBias] = /^(.*?)(?:\.Add)?\.bias$/.exec(added ?? '') ?? [];
  const [, path] = /^\/(.*)\/(?:MatMul|Gemm)(?:NBits)?(?:_Q\w*)?$/.exec(name) ?? [];
  const ofNode = path?.replaceAll('/', '.');
  // Later calls of a module are counted: `query_1`.
  const paths = [ofNode ?? '', ofNode?.replace(/_\d+$/, '') ?? ''];
  if (ofBias !== undefined && ofNode !== undefined && !paths.some(name => `.${name}`.endsWith(`.${ofBias}`))) {
    return undefined;
  }
  const tensorName = ofBias ?? ofNode;
  return tensorName && `${tensorName}.weight`;
}

/** The result of a node that only arranges or scales constants; `undefined` for other nodes. */
function computed(
  {op, inputs, attributes}: OnnxNode,
  constants: ReadonlyMap<string, Constant>,
): Omit<Constant, 'isFloat'> | undefined {
  const parts = inputs.map(name => constants.get(name));
  const [x, scale, zero] = parts;
  if (x === undefined || parts.includes(undefined)) {
    return undefined;
  }
  const {shape, values} = x;
  const steps = Math.max(...parts.map(operand => operand?.steps ?? 0)) + 1;
  if (steps > MAX_STEPS) {
    return undefined;
  }
  switch (op) {
    case 'Identity':
      return {...x, steps};
    case 'Cast':
      return [1, 10, 16].includes(attributes.get('to')?.i ?? 0) ? {...x, steps} : undefined;
    case 'Transpose': {
      const perm = attributes.get('perm')?.ints ?? shape.map((_, axis) => shape.length - 1 - axis);
      return {
        shape: perm.map(axis => shape[axis] ?? 1),
        values: () => transpose({shape, data: values()}, perm).data,
        source: inputs[0] as string,
        steps,
      };
    }
    case 'Mul':
      return scale && scaled({...x, steps}, scale, undefined, scale.shape);
    case 'DequantizeLinear': {
      const axis = attributes.get('axis')?.i ?? 1;
      const along = shape.map((size, i) => (i === (axis + shape.length) % shape.length ? size : 1));
      return scale && scaled({...x, steps}, scale, zero, scale.shape.length === 1 ? along : []);
    }
  }
  return undefined;
}

/** `(x - zero) · scale`, with scales whose axes are of size 1 or of that of `x`; `undefined` for others. */
function scaled(
  x: Omit<Constant, 'isFloat'>,
  scale: Constant,
  zero: Constant | undefined,
  sizes: readonly number[],
): Omit<Constant, 'isFloat'> | undefined {
  const {shape} = x;
  const paddedShape = [...shape.slice(sizes.length).fill(1), ...sizes];
  if (
    paddedShape.length !== shape.length ||
    paddedShape.some((size, i) => size !== 1 && size !== shape[i]) ||
    sizeOf(paddedShape) !== sizeOf(scale.shape)
  ) {
    return undefined;
  }
  return {
    shape,
    steps: x.steps,
    values: () => {
      const [factors, zeros] = [scale.values(), zero?.values()];
      let step = 1;
      const strides = paddedShape.map(() => 0);
      for (let axis = paddedShape.length - 1; axis >= 0; axis--) {
        strides[axis] = paddedShape[axis] === 1 ? 0 : step;
        step *= paddedShape[axis] ?? 1;
      }
      return x.values().map((value, i) => {
        let [remainder, at] = [i, 0];
        for (let axis = shape.length - 1; axis >= 0; axis--) {
          const size = shape[axis] ?? 1;
          at += (remainder % size) * (strides[axis] ?? 0);
          remainder = Math.floor(remainder / size);
        }
        return (value - (zeros?.[at] ?? 0)) * (factors[at] ?? 0);
      });
    },
  };
}
