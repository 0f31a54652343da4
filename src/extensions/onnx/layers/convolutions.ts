import type * as tf from '@tensorflow/tfjs';
import type {
  ConvLayer,
  DepthwiseLayer,
  KernelLayer,
  PoolLayer,
  SeparableLayer,
} from '../../../platform/tfjs/layerFields';
import {type ConvSettings, type Margin, samePads} from '../../../backends/shared/geometry';
import {range} from '../lower/lowering';
import {type GraphWriter, type Source, type Tensor} from '../write/graphWriter';
import {type Attributes} from '../write/messages';
import {activated} from './activations';
import type {Call, Write} from './call';

/** A layer of images. */
interface ImageLayer {
  dataFormat?: 'channelsFirst' | 'channelsLast';
}

/** The order of axes in which the format has the images of a layer. */
export function imageOrder(out: GraphWriter, {dataFormat}: ImageLayer, rank: number): number[] {
  return out.imageOrder(rank, dataFormat === 'channelsFirst' ? 1 : rank - 1);
}

/** The sizes of an image, `null` where they are dynamic. */
function imageSizes(shape: tf.Shape, {dataFormat}: ImageLayer): tf.Shape {
  return dataFormat === 'channelsFirst' ? shape.slice(2) : shape.slice(1, -1);
}

/** The sizes and the steps of a window along the axes of an image. Default: without dilations. */
interface LayerWindow extends Partial<ConvSettings<readonly number[]>> {
  size: readonly number[];
  strides: readonly number[];
}

/**
 * The padding of a window as attributes. With strides, "same" depends on the size of the image; runtimes compute it if
 * the size is dynamic.
 */
export function geometry(
  out: GraphWriter,
  sizes: tf.Shape,
  {size, strides, dilations = [], padding}: LayerWindow,
): Attributes {
  const attributes = {kernel_shape: size, strides, ...(dilations.some(rate => rate > 1) && {dilations})};
  if (padding !== 'same') {
    return attributes;
  }
  const ofRule = {...attributes, auto_pad: 'SAME_UPPER'};
  if (out.namesPadding) {
    return ofRule;
  }
  const margins = samePads(sizes, size, {strides, dilations});
  return margins.includes(undefined) ? ofRule : {...attributes, pads: padsOf(margins as Margin[])};
}

/**
 * An image without what the windows of a volume leave out. Along three axes, tfjs does not clamp the padding "same" at
 * zero: windows that are smaller than their strides begin behind the border.
 */
function cropped(out: GraphWriter, x: string, sizes: tf.Shape, window: LayerWindow): string {
  const starts = window.size.map((taps, axis) => {
    const [stride, image] = [window.strides[axis] ?? 1, sizes[axis]];
    if (out.namesPadding || window.padding !== 'same' || window.size.length < 3 || taps >= stride) {
      return 0;
    }
    if (image == null) {
      out.refuse(
        'Windows that are smaller than their strides in a volume of dynamic size cannot be written. Give the input ' +
          'fixed sizes.',
      );
    }
    return Math.max(Math.ceil(((image ?? 1) - taps - (Math.ceil((image ?? 1) / stride) - 1) * stride) / 2), 0);
  });
  const axes = range(starts.length).filter(axis => starts[axis] !== 0);
  const pick = (list: readonly number[]) => out.ints(axes.map(axis => list[axis] ?? 0));
  const ends = out.ints(axes.map(() => END));
  return axes.length === 0 ? x : out.node('Slice', [x, pick(starts), ends, out.ints(axes.map(axis => axis + 2))]);
}

/** Paddings before all axes, and then those after them. */
function padsOf(margins: readonly (readonly number[])[]): number[] {
  return [0, 1].flatMap(end => margins.map(margin => margin[end] ?? 0));
}

/** A bias and an activation after a convolution, whose channels come first. */
function finished(out: GraphWriter, call: Call, name: string, layer: ImageLayer & Partial<KernelLayer>): Tensor {
  const tensor = call.output(name, imageOrder(out, layer, call.shape.length));
  // Stock layers compute a softmax over the last axis, and transpose after it.
  const axis = layer.dataFormat === 'channelsFirst' && ofTransposed(call) ? 1 : tensor.rank - 1;
  return activated(out, tensor, layer.activation, axis);
}

/** Whether a layer applies its activation while the channels are the last axis. */
function ofTransposed({layer}: Call): boolean {
  return /^Separable/.test(layer.getClassName());
}

function biasInputs(out: GraphWriter, {bias}: Partial<KernelLayer>): string[] {
  return bias == null ? [] : [out.weight('bias', bias)];
}

/** A kernel `[...size, in, out]` as `[out, in, ...size]`. */
const convolution: Write = (out, call) => {
  const layer = call.fields<ConvLayer>();
  const rank = call.input.rank;
  const {kernelSize: size, strides, dilationRate: dilations, padding, kernel} = layer;
  const w = out.filter('kernel', kernel, {perm: [rank - 1, rank - 2, ...range(rank - 2)]});
  const sizes = imageSizes(call.input.shape, layer);
  const window = {size, strides, dilations, padding};
  const x = cropped(out, out.held(call.input, imageOrder(out, layer, rank)), sizes, window);
  const y = out.node('Conv', [x, w, ...biasInputs(out, layer)], geometry(out, sizes, window));
  return finished(out, call, y, layer);
};

/** A kernel `[...size, out, in]` as `[in, out, ...size]`. */
const transposed: Write = (out, call) => {
  const layer = call.fields<ConvLayer>();
  const rank = call.input.rank;
  const {strides, padding, kernel} = layer;
  const x = out.held(call.input, imageOrder(out, layer, rank));
  let size = layer.kernelSize;
  let w = out.filter('kernel', kernel, {perm: [rank - 1, rank - 2, ...range(rank - 2)]});
  // As many outputs as the convolution that this is the gradient of has inputs.
  let more = size.map((taps, axis) => Math.max((strides[axis] ?? 1) - taps, 0));
  if (!out.namesPadding && rank === 5 && padding === 'same' && more.some(extra => extra > 0)) {
    // The windows of that convolution begin behind the border, so that nothing reaches the outputs before them.
    const before = more.map(extra => Math.ceil(extra / 2));
    w = out.node('Pad', [w, out.ints([0, 0, ...before, 0, 0, 0, 0, 0])]);
    size = size.map((taps, axis) => taps + (before[axis] ?? 0));
    more = more.map((extra, axis) => extra - (before[axis] ?? 0));
  }
  const margins = padding === 'same' ? (samePads(strides, size, {strides}) as Margin[]) : size.map(() => [0, 0]);
  const y = out.node('ConvTranspose', [x, w, ...biasInputs(out, layer)], {
    kernel_shape: size,
    strides,
    ...(out.namesPadding ? geometry(out, [], {size, strides, padding}) : {pads: padsOf(margins)}),
    ...(more.some(extra => extra > 0) && {output_padding: more}),
  });
  return finished(out, call, y, layer);
};

/** A kernel `[h, w, in, multiplier]` as `[in·multiplier, 1, h, w]`, in as many groups as there are inputs. */
function groupedConv(out: GraphWriter, x: string, kernel: Source, bias: string[], attributes: Attributes): string {
  const [h = 1, w = 1, channels = 1, multiplier = 1] = kernel.shape as number[];
  const shape = [channels * multiplier, 1, h, w];
  const kernels = out.filter('depthwise_kernel', kernel, {perm: [2, 3, 0, 1], shape});
  return out.node('Conv', [x, kernels, ...bias], {...attributes, group: channels});
}

const depthwiseConvolution: Write = (out, call) => {
  const layer = call.fields<DepthwiseLayer & KernelLayer>();
  const {kernelSize: size, strides, dilationRate, padding, depthwiseKernel} = layer;
  // The stock layer ignores its dilation.
  const dilations = call.layer.getClassName() === 'DepthwiseConv2D' ? [1, 1] : dilationRate;
  const attributes = geometry(out, imageSizes(call.input.shape, layer), {size, strides, dilations, padding});
  const x = out.held(call.input, imageOrder(out, layer, 4));
  return finished(out, call, groupedConv(out, x, depthwiseKernel, biasInputs(out, layer), attributes), layer);
};

const separableConvolution: Write = (out, call) => {
  const layer = call.fields<SeparableLayer & KernelLayer>();
  const {kernelSize: size, strides, dilationRate: dilations, padding, depthwiseKernel, pointwiseKernel} = layer;
  const isFlat = call.input.rank === 3;
  const flat = (name: string) => (isFlat ? out.unsqueeze(name, [out.firstSpace]) : name);
  const sizes = [...(isFlat ? [1] : []), ...imageSizes(call.input.shape, layer)];
  const x = flat(out.held(call.input, imageOrder(out, layer, call.input.rank)));
  const between = groupedConv(out, x, depthwiseKernel, [], geometry(out, sizes, {size, strides, dilations, padding}));
  const kernel = out.filter('pointwise_kernel', pointwiseKernel, {perm: [3, 2, 0, 1]});
  const y = out.node('Conv', [between, kernel, ...biasInputs(out, layer)], {kernel_shape: [1, 1]});
  return finished(out, call, isFlat ? out.squeeze(y, [out.firstSpace]) : y, layer);
};

/** Pools of images of any rank. */
function pool(op: string): Write {
  return (out, call) => {
    const layer = call.fields<PoolLayer>();
    const {poolSize: size, strides, padding} = layer;
    const {rank} = call.input;
    const sizes = imageSizes(call.input.shape, layer);
    const window = {size, strides, padding};
    const attributes = geometry(out, sizes, window);
    if (!out.namesPadding && 'auto_pad' in attributes && size.some((taps, axis) => taps < (strides[axis] ?? 1))) {
      // ONNX Runtime computes negative pads, which it then refuses.
      out.refuse(
        'Windows that are smaller than their strides in an image of dynamic size cannot be written. Give the input ' +
          'fixed sizes.',
      );
    }
    const y = out.node(
      op,
      [cropped(out, out.held(call.input, imageOrder(out, layer, rank)), sizes, window)],
      attributes,
    );
    return call.output(y, imageOrder(out, layer, rank));
  };
}

function globalPool(op: string): Write {
  return (out, call) => {
    const {rank, order, name} = call.input;
    const isFirst = call.fields<ImageLayer>().dataFormat === 'channelsFirst';
    const image = isFirst ? range(rank).slice(2) : range(rank).slice(1, -1);
    const axes = image.map(axis => order.indexOf(axis));
    return call.output(out.reduce(op, name, axes));
  };
}

/** Sizes at both ends of each axis of an image, in the order of the stored tensor. */
function atEnds(call: Call, ends: readonly (readonly number[])[]): number[][] {
  const first = call.fields<ImageLayer>().dataFormat === 'channelsFirst' ? 2 : 1;
  return call.input.order.map(axis => [...(ends[axis - first] ?? [0, 0])]);
}

const zeroPadding: Write = (out, call) => {
  const ends = atEnds(call, call.fields<{padding: number[][]}>().padding);
  return call.output(out.node('Pad', [call.input.name, out.ints(padsOf(ends))]), call.input.order);
};

const cropping: Write = (out, call) => {
  const ends = atEnds(call, call.fields<{cropping: number[][]}>().cropping);
  const axes = range(call.input.rank).filter(axis => ends[axis]?.some(size => size > 0));
  if (axes.length === 0) {
    return call.input;
  }
  const starts = axes.map(axis => ends[axis]?.[0] ?? 0);
  const stops = axes.map(axis => (ends[axis]?.[1] ? -ends[axis][1] : END));
  const y = out.node('Slice', [call.input.name, out.ints(starts), out.ints(stops), out.ints(axes)]);
  return call.output(y, call.input.order);
};

/** Behind the end of every axis. */
const END = Number.MAX_SAFE_INTEGER;

const upSampling: Write = (out, call) => {
  const layer = call.fields<{size: number[]; interpolation: string} & ImageLayer>();
  const {size, interpolation} = layer;
  const order = imageOrder(out, layer, 4);
  const y = out.node('Resize', [out.held(call.input, order), '', out.floats([1, 1, ...size])], {
    coordinate_transformation_mode: 'asymmetric',
    ...(interpolation === 'bilinear' ? {mode: 'linear'} : {mode: 'nearest', nearest_mode: 'floor'}),
  });
  return call.output(y, order);
};

export const IMAGE_LAYERS: Readonly<Record<string, Write>> = {
  Conv1D: convolution,
  Conv2D: convolution,
  Conv3D: convolution,
  'tfjs-lora/graph>FusedConv2D': convolution,
  Conv2DTranspose: transposed,
  Conv3DTranspose: transposed,
  DepthwiseConv2D: depthwiseConvolution,
  'tfjs-lora>FusedDepthwiseConv2D': depthwiseConvolution,
  SeparableConv2D: separableConvolution,
  'tfjs-lora>SeparableConv1D': separableConvolution,
  MaxPooling1D: pool('MaxPool'),
  MaxPooling2D: pool('MaxPool'),
  MaxPooling3D: pool('MaxPool'),
  AveragePooling1D: pool('AveragePool'),
  AveragePooling2D: pool('AveragePool'),
  AveragePooling3D: pool('AveragePool'),
  GlobalAveragePooling1D: globalPool('ReduceMean'),
  GlobalAveragePooling2D: globalPool('ReduceMean'),
  GlobalMaxPooling1D: globalPool('ReduceMax'),
  GlobalMaxPooling2D: globalPool('ReduceMax'),
  ZeroPadding2D: zeroPadding,
  Cropping2D: cropping,
  UpSampling2D: upSampling,
};
