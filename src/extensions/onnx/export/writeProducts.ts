import type * as tf from '@tensorflow/tfjs';
import {unsupportedError} from '../../../platform/errors';
import type {Values} from '../../../platform/formats/layout';
import type {FiniteOptions} from '../../../platform/formats/numbers';
import {LoRALayer} from '../../../core/layers/loraLayer';
import {sitesOf} from '../../../core/rewire/walk';
import type {OnnxModel, OnnxNode} from '../file/readOnnx';
import {type WeightLayout, writeToFileLayout, type QuantizedProduct} from '../lower/lowering';
import {GraphWriter, type Source} from '../write/graphWriter';
import {nodeMessages} from '../write/messages';
import type {NewTensor, Replacement} from './spliceOnnx';
import {updateBeside} from './updateBeside';
import {usesOf} from './uses';
import type {Planned} from './writeHead';

/** A product with a quantized matrix that changed: its update, or the layer that replaces it. */
export type ChangedProduct = {product: QuantizedProduct; layer: string} & (
  | {update: LoRALayer; kernel?: never; convolution?: never}
  | {kernel: Source; update?: never; convolution?: never}
  | {convolution: FloatConvolution; update?: never; kernel?: never}
);

/** A float convolution that replaces an integer one. */
export interface FloatConvolution {
  attributes: OnnxNode['attributes'];
  /** Its kernel and its bias: their values as floats in the file, and now. */
  weights: {before: Values & {data: Float32Array}; parts: {origin: WeightLayout; now: Source}[]}[];
}

/** Writes a convolution, and returns the name of its result. */
function writeConvolution(out: GraphWriter, x: string, {attributes, weights}: FloatConvolution): string {
  const inputs = weights.map(({before: {shape, data}, parts}, i) =>
    out.weights(
      i === 0 ? 'kernel' : 'bias',
      parts.map(({now}) => now),
      shape,
      held => {
        const values = {shape, data: data.slice()};
        parts.forEach(({origin}, i) => writeToFileLayout(values, held[i] as Values, origin));
        return values;
      },
    ),
  );
  const attributeEntries = [...attributes].map(([name, {s, i, ints}]) => [name, s ?? i ?? ints] as const);
  return out.node('Conv', [x, ...inputs], Object.fromEntries(attributeEntries));
}

/**
 * Name of a layer → its update.
 *
 * @throws LoRAError with the code ERR_UNSUPPORTED if an update is not a product.
 */
export function updatesOf(model: tf.LayersModel): Map<string, LoRALayer> {
  const adapted = sitesOf(model).flatMap(({layer}) => (layer instanceof LoRALayer ? [layer] : []));
  const other = adapted.find(({method}) => method.parametersOf === undefined);
  if (other !== undefined) {
    throw unsupportedError(
      `Layer "${other.name}" has an update of the method "${other.method.name}", which is no product A·B and ` +
        'cannot be written separately. Leave out {merge: false}.',
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

/** Writes an update as two small products next to a quantized one, and a merged matrix as a product of floats. */
export function productChanges(
  products: readonly ChangedProduct[],
  {graph}: Planned,
  {graph: {nodes, initializers, inputs, outputs}}: OnnxModel,
  finite: FiniteOptions,
): ProductChanges {
  const changes: ProductChanges = {added: [], replaced: new Map(), dropped: new Set(), droppedTensors: new Set()};
  if (products.length > 0 && [...initializers.values()].some(({type}) => type === 10 || type === 16)) {
    throw unsupportedError(
      'The file computes in float16 or bfloat16, and a quantized layer cannot be written in these types.',
    );
  }
  const takenNames = [...nodes.flatMap(({name, outputs}) => [name, ...outputs]), ...initializers.keys()];
  const names = new Set([...takenNames, ...inputs.map(({name}) => name)]);
  const out = new GraphWriter(graph.opsets.get('') ?? 1, names);
  for (const {product, layer, update, kernel, convolution} of products) {
    const places = product.nodes.map(name => nodes.indexOf(graph.nodes.get(name) as OnnxNode));
    const [place = -1] = places.slice(-1);
    if (places.includes(-1)) {
      throw unsupportedError(`Layer "${layer}" is in a branch or a function, where new nodes cannot be written.`);
    }
    const [result = ''] = (nodes[place] as OnnxNode).outputs;
    out.layer = update === undefined ? layer : `${layer}/lora`;
    if (update !== undefined) {
      const {A, B} = update.loraLayer;
      const {scaling} = update;
      const b = out.weights('B', [sourceOf(B)], B.shape, ([values]) => ({
        shape: B.shape,
        data: (values?.data ?? new Float32Array()).map(value => value * scaling),
      }));
      changes.replaced.set(place, updateBeside(out, product.x, result, [out.weight('A', sourceOf(A)), b]));
      continue;
    }
    const x = product.input ? out.node('DequantizeLinear', [product.x, ...product.input]) : product.x;
    const y = convolution
      ? writeConvolution(out, x, convolution)
      : out.node('MatMul', [x, out.weight('kernel', kernel)]);
    const sum = product.output ? out.node('QuantizeLinear', [y, ...product.output]) : y;
    places.forEach(index => changes.dropped.add(index));
    changes.dropped.delete(place);
    out.rename(product.bias === undefined ? sum : out.node('Add', [product.bias, sum]), result);
    changes.replaced.set(place, {nodes: nodeMessages(out.nodes)});
    out.nodes = [];
  }
  changes.added.push(...out.tensors(finite));
  const isGone = (i: number) => {
    const behind = changes.replaced.get(i);
    return changes.dropped.has(i) || (behind !== undefined && behind.output === undefined);
  };
  const [before, lost] = [usesOf(nodes, outputs), usesOf(nodes.filter((_, i) => isGone(i)))];
  const taken = new Set(products.flatMap(({product: {bias, input = [], output = []}}) => [bias, ...input, ...output]));
  lost.forEach((count, name) => {
    if (initializers.has(name) && before.get(name) === count && !taken.has(name)) {
      changes.droppedTensors.add(name);
    }
  });
  return changes;
}

function sourceOf(tensor: tf.Tensor): Source {
  return {shape: tensor.shape, read: () => tensor};
}
