import type * as tf from '@tensorflow/tfjs';
import {unsupportedError} from '../../../platform/errors';
import type {FiniteOptions} from '../../../platform/formats/numbers';
import {LoRALayer} from '../../../core/layers/loraLayer';
import {sitesOf} from '../../../core/rewire/walk';
import type {OnnxModel, OnnxNode} from '../file/readOnnx';
import type {QuantizedProduct} from '../lower/lowering';
import {GraphWriter, type Source} from '../write/graphWriter';
import {nodeMessages} from '../write/messages';
import type {NewTensor, Replacement} from './spliceOnnx';
import {usesOf} from './uses';
import type {Planned} from './writeHead';

/** A product with a quantized matrix that changed: what is added to it, or the matrix in its place. */
export type ChangedProduct = {product: QuantizedProduct; layer: string} & (
  {update: LoRALayer; kernel?: never} | {kernel: Source; update?: never}
);

/**
 * By the name of a layer: its update.
 *
 * @throws LoRAError with the code ERR_UNSUPPORTED if an update is no product.
 */
export function updatesOf(model: tf.LayersModel): Map<string, LoRALayer> {
  const adapted = sitesOf(model).flatMap(({layer}) => (layer instanceof LoRALayer ? [layer] : []));
  const other = adapted.find(({method}) => method.parametersOf === undefined);
  if (other !== undefined) {
    throw unsupportedError(
      `Layer "${other.name}" has an update of the method "${other.method.name}", which is no product A·B and cannot ` +
        'stay beside its base. Leave out {merge: false}.',
    );
  }
  return new Map(adapted.map(layer => [layer.name, layer]));
}

/** How products with quantized matrices are written. */
interface ProductChanges {
  added: NewTensor[];
  replaced: Map<number, Replacement>;
  dropped: Set<number>;
  droppedTensors: Set<string>;
}

/** Writes an update as two small products beside a quantized one, and a merged matrix as a product of floats. */
export function productChanges(
  products: readonly ChangedProduct[],
  {graph}: Planned,
  {graph: {nodes, initializers, inputs, outputs}}: OnnxModel,
  finite: FiniteOptions,
): ProductChanges {
  const changes: ProductChanges = {added: [], replaced: new Map(), dropped: new Set(), droppedTensors: new Set()};
  if (products.length > 0 && [...initializers.values()].some(({type}) => type === 10 || type === 16)) {
    throw unsupportedError('The file computes in float16 or bfloat16, in which a quantized layer cannot be written.');
  }
  const taken = [...nodes.flatMap(({name, outputs}) => [name, ...outputs]), ...initializers.keys()];
  const names = new Set([...taken, ...inputs.map(({name}) => name)]);
  const out = new GraphWriter(graph.opsets.get('') ?? 1, names);
  for (const {product, layer, update, kernel} of products) {
    const places = product.nodes.map(name => nodes.indexOf(graph.nodes.get(name) as OnnxNode));
    const [place = -1] = places.slice(-1);
    if (places.includes(-1)) {
      throw unsupportedError(`Layer "${layer}" is in a branch or a function, where new nodes cannot be written.`);
    }
    const [result = ''] = (nodes[place] as OnnxNode).outputs;
    out.layer = update === undefined ? layer : `${layer}/lora`;
    let base = product.bias;
    let sum: string;
    if (update === undefined) {
      sum = out.node('MatMul', [product.x, out.weight('kernel', kernel)]);
      places.forEach(each => changes.dropped.add(each));
      changes.dropped.delete(place);
    } else {
      const {A, B} = update.loraLayer;
      const {scaling} = update;
      const inner = out.node('MatMul', [product.x, out.weight('A', sourceOf(A))]);
      const b = out.weights('B', [sourceOf(B)], B.shape, ([values]) => ({
        shape: B.shape,
        data: (values?.data ?? new Float32Array()).map(value => value * scaling),
      }));
      sum = out.node('MatMul', [inner, b]);
      base = out.freeName(`${result}_base`);
    }
    const last = base === undefined ? sum : out.node('Add', [base, sum]);
    out.rename(last, result);
    changes.replaced.set(place, {...(update && base !== undefined && {output: base}), nodes: nodeMessages(out.nodes)});
    out.nodes = [];
  }
  changes.added.push(...out.tensors(finite));
  const isGone = (i: number) => {
    const behind = changes.replaced.get(i);
    return changes.dropped.has(i) || (behind !== undefined && behind.output === undefined);
  };
  const [before, lost] = [usesOf(nodes, outputs), usesOf(nodes.filter((_, i) => isGone(i)))];
  const biases = new Set(products.map(({product}) => product.bias));
  lost.forEach((count, name) => {
    if (initializers.has(name) && before.get(name) === count && !biases.has(name)) {
      changes.droppedTensors.add(name);
    }
  });
  return changes;
}

function sourceOf(tensor: tf.Tensor): Source {
  return {shape: tensor.shape, read: () => tensor};
}
