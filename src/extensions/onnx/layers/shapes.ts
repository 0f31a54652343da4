import type * as tf from '@tensorflow/tfjs';
import type {BatchNormLayer, EmbeddingLayer, KernelLayer, LayerNormLayer} from '../../../platform/tfjs/layerFields';
import {adaptationOf} from '../../../core/layers/registry';
import {range} from '../lower/lowering';
import {type GraphWriter, type Source, Tensor} from '../write/graphWriter';
import {Fraction, TYPE} from '../write/messages';
import {activated} from './activations';
import type {Call, Write} from './call';

/** The weight of a layer, also if it is stored in quantized blocks. */
function weightOf({layer}: Call, stored: tf.LayerVariable | undefined): Source {
  const [first] = adaptationOf(layer)?.weights(layer) ?? [];
  return stored ?? (first?.variable as Source);
}

const dense: Write = (out, call) => {
  const {kernel, bias, activation} = call.fields<KernelLayer>();
  const x = out.plain(call.input);
  const w = out.weight('kernel', weightOf(call, kernel));
  const y = biased(out, out.node('MatMul', [x, w]), bias);
  return activated(out, call.output(y), activation);
};

export function biased(out: GraphWriter, y: string, bias: Source | null | undefined): string {
  return bias == null ? y : out.node('Add', [y, out.weight('bias', bias)]);
}

/** Whole numbers, as tfjs casts them. */
export function indices(out: GraphWriter, tensor: Tensor): string {
  const x = out.plain(tensor);
  return tensor.type === TYPE.int32 || tensor.type === TYPE.int64
    ? x
    : out.once(`indices ${x}`, () => out.cast(x, TYPE.int64));
}

/** Values written as floats. */
export function asFloats(out: GraphWriter, tensor: Tensor): Tensor {
  return tensor.type === TYPE.float
    ? tensor
    : out.elementwise(tensor, x => out.once(`floats of ${x}`, () => out.cast(x, TYPE.float)));
}

const embedding: Write = (out, call) => {
  const {embeddings, maskZero} = call.fields<Partial<EmbeddingLayer> & {maskZero?: boolean}>();
  const ids = indices(out, call.input);
  const result = call.output(out.node('Gather', [out.weight('embeddings', weightOf(call, embeddings)), ids]));
  if (maskZero === true) {
    call.outputMask = {name: out.once(`mask of ${ids}`, () => out.cast(ids, TYPE.bool)), shape: call.input.shape};
  }
  return result;
};

const masking: Write = (out, call) => {
  const {maskValue} = call.fields<{maskValue: number}>();
  const x = out.plain(call.input);
  const differs = out.cast(out.node('Not', [out.node('Equal', [x, out.float(maskValue)])]), TYPE.float);
  const seen = out.reduce('ReduceMax', differs, [call.input.rank - 1], true);
  const result = call.output(out.node('Mul', [x, seen]));
  const name = out.cast(out.squeeze(seen, [call.input.rank - 1]), TYPE.bool);
  call.outputMask = {name, shape: call.input.shape.slice(0, -1)};
  return result;
};

const flatten: Write = (out, call) => {
  const {dataFormat} = call.fields<{dataFormat?: string}>();
  const {input} = call;
  const isFirst = dataFormat === 'channelsFirst' && input.rank > 1;
  const x = isFirst ? out.held(input, [0, ...range(input.rank).slice(2), 1]) : out.plain(input);
  return call.output(out.node('Flatten', [x], {axis: 1}));
};

const reshape: Write = (out, call) => {
  const {targetShape} = call.fields<{targetShape: tf.Shape}>();
  const sizes = targetShape.map(size => size ?? -1);
  if (sizes.filter(size => size < 0).length > 1) {
    out.refuse('A result of several dynamic sizes cannot be written.');
  }
  return call.output(out.reshape(out.plain(call.input), [0, ...sizes]));
};

const permute: Write = (_, call) => {
  const {dims} = call.fields<{dims: number[]}>();
  // The same values in another order, so the stored tensor can be used.
  const perm = [0, ...dims];
  const {order, name} = call.input;
  return call.output(
    name,
    order.map(axis => perm.indexOf(axis)),
  );
};

const repeatVector: Write = (out, call) => {
  const {n} = call.fields<{n: number}>();
  return call.output(out.node('Tile', [out.unsqueeze(out.plain(call.input), [1]), out.ints([1, n, 1])]));
};

const batchNormalization: Write = (out, call) => {
  const {axis, epsilon, gamma, beta, movingMean, movingVariance} = call.fields<BatchNormLayer>();
  const {rank} = call.input;
  const channel = axis < 0 ? axis + rank : axis;
  const size = movingMean.shape as number[];
  const filled = (weight: Source | null | undefined, name: string, value: number) =>
    weight == null ? out.floats(Array.from({length: size[0] ?? 0}, () => value)) : out.weight(name, weight);
  // The operation has its channels after the batch.
  const order = out.imageOrder(rank, channel);
  const isHeld = call.input.held.has(order.join());
  const scale = filled(gamma, 'gamma', 1);
  const shift = filled(beta, 'beta', 0);
  const [mean, variance] = [out.weight('moving_mean', movingMean), out.weight('moving_variance', movingVariance)];
  if (isHeld || channel !== rank - 1) {
    const x = out.held(call.input, order);
    const y = out.node('BatchNormalization', [x, scale, shift, mean, variance], {epsilon: new Fraction(epsilon)});
    return call.output(y, order);
  }
  const x = out.plain(call.input);
  const deviation = out.node('Sqrt', [out.node('Add', [variance, out.float(epsilon)])]);
  const centered = out.node('Sub', [x, mean]);
  const scaled = out.node('Mul', [centered, out.node('Div', [scale, deviation])]);
  return call.output(out.node('Add', [scaled, shift]));
};

/** How rows are normalized. */
export interface Normalization {
  axes: readonly number[];
  epsilon: number;
  centered?: boolean;
  scale: string | undefined;
  shift?: string | undefined;
}

/** `scale·(x − μ)/√(σ² + ε) + shift`, or without a mean. */
export function normalizedRows(out: GraphWriter, x: string, rank: number, how: Normalization): string {
  const {axes, epsilon, centered = true, scale, shift} = how;
  const isLast = axes.every((axis, i) => axis === rank - axes.length + i);
  if (centered && isLast && scale !== undefined && out.opset >= 17) {
    const inputs = [x, scale, ...(shift === undefined ? [] : [shift])];
    return out.node('LayerNormalization', inputs, {axis: axes[0], epsilon: new Fraction(epsilon)});
  }
  const z = centered ? out.node('Sub', [x, out.reduce('ReduceMean', x, axes, true)]) : x;
  const squares = out.reduce('ReduceMean', out.node('Mul', [z, z]), axes, true);
  const y = out.node('Div', [z, out.node('Sqrt', [out.node('Add', [squares, out.float(epsilon)])])]);
  const scaled = scale === undefined ? y : out.node('Mul', [y, scale]);
  return shift === undefined ? scaled : out.node('Add', [scaled, shift]);
}

const layerNormalization: Write = (out, call) => {
  const {axis, epsilon, gamma, beta} = call.fields<LayerNormLayer>();
  const {rank, shape} = call.input;
  const axes = [...axis].sort((one, other) => one - other);
  // The weights have the axes in the order of the layer; they are broadcast.
  const sizes = range(rank).map(at => (axes.includes(at) ? (shape[at] ?? 1) : 1));
  const perm = axes.map(at => axis.indexOf(at));
  const isLast = axes.every((at, i) => at === rank - axes.length + i);
  const optional = (name: string, weight: Source | null | undefined) =>
    weight == null
      ? undefined
      : out.weight(name, weight, {perm, shape: isLast ? sizes.slice(rank - axes.length) : sizes});
  return call.output(
    normalizedRows(out, out.plain(call.input), rank, {
      axes,
      epsilon,
      scale: optional('gamma', gamma),
      shift: optional('beta', beta),
    }),
  );
};

const rescaling: Write = (out, call) => {
  const {scale, offset} = call.fields<{scale: number; offset: number}>();
  return out.elementwise(call.input, x => out.node('Add', [out.node('Mul', [x, out.float(scale)]), out.float(offset)]));
};

/** Layers that do nothing in prediction. */
const identity: Write = (_, call) => call.input;

export const PLAIN_LAYERS: Readonly<Record<string, Write>> = {
  Dense: dense,
  'tfjs-lora/quantized>QuantizedDense': dense,
  Embedding: embedding,
  'tfjs-lora/quantized>QuantizedEmbedding': embedding,
  Masking: masking,
  Flatten: flatten,
  Reshape: reshape,
  Permute: permute,
  RepeatVector: repeatVector,
  BatchNormalization: batchNormalization,
  LayerNormalization: layerNormalization,
  Rescaling: rescaling,
  Dropout: identity,
  SpatialDropout1D: identity,
  GaussianNoise: identity,
  GaussianDropout: identity,
  AlphaDropout: identity,
};
