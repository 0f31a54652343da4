import type * as tf from '@tensorflow/tfjs';
import {type GraphNode, inputsOf, numbersOf, textOf} from '../graphDef';
import {FusedConv2D, FusedDepthwiseConv2D} from '../layers/fusedConvolution';
import {KNOWN} from './openSizes';
import type {Planner} from './planner';
import {finishTail, tailOf} from './tail';

/** The attributes of a convolution. */
interface ConvAttributes {
  strides: number[];
  dilations: number[];
  /** As in layers. `explicit`: see `pads`. */
  padding: 'same' | 'valid' | 'explicit';
  /** The padding of the images: top and bottom, left and right. */
  pads: [number[], number[]];
  channelsLast: boolean;
}

function convAttributesOf(node: GraphNode): ConvAttributes {
  const channelsLast = textOf(node, 'data_format', 'NHWC') === 'NHWC';
  const onImages = (list: number[]) => (channelsLast ? list.slice(1, 3) : list.slice(2, 4));
  const pads = numbersOf(node, 'explicit_paddings');
  const at = channelsLast ? 2 : 4;
  return {
    channelsLast,
    strides: onImages(numbersOf(node, 'strides', [1, 1, 1, 1])),
    dilations: onImages(numbersOf(node, 'dilations', [1, 1, 1, 1])),
    padding: textOf(node, 'padding', 'VALID').toLowerCase() as ConvAttributes['padding'],
    pads: [pads.slice(at, at + 2), pads.slice(at + 2, at + 4)],
  };
}

/** The images of a convolution, padded with zeros if the padding is explicit. */
function paddedInput(node: GraphNode, {padding, pads, channelsLast}: ConvAttributes, planner: Planner): string {
  const [x = ''] = inputsOf(node);
  if (padding !== 'explicit') {
    return x;
  }
  planner.addLayer(node, {
    suffix: 'pad',
    className: 'ZeroPadding2D',
    config: {padding: pads, dataFormat: dataFormatOf(channelsLast)},
    inputs: [x],
  });
  return node.name;
}

function dataFormatOf(channelsLast: boolean): string {
  return channelsLast ? 'channelsLast' : 'channelsFirst';
}

/** A convolution of images as a `Conv2D`, fused with its activation where the stock layer would not. */
export function planConv2D(node: GraphNode, planner: Planner): boolean {
  const [x, filter] = inputsOf(node);
  const kernel = floatKernel(filter, planner);
  const flow = planner.floats(x);
  const attributes = convAttributesOf(node);
  // tfjs's executor misreads the strides and dilations of channels-first images; a GraphOp does the same.
  const isPlain =
    [...attributes.strides, ...attributes.dilations].every(step => step === 1) && attributes.padding !== 'explicit';
  const isSupported = attributes.channelsLast || isPlain;
  const channels = flow?.shapes[0][attributes.channelsLast ? 3 : 1];
  if (kernel === undefined || !isSupported || channels !== kernel.shape[2]) {
    return false;
  }
  const filters = kernel.shape[3] as number;
  const tail = tailOf(node, {filters, from: 2, channelsLast: attributes.channelsLast}, planner);
  if (tail === undefined) {
    return false;
  }
  const {bias, activation} = tail;
  planner.addLayer(node, {
    className: activation === 'relu6' && attributes.channelsLast ? FusedConv2D.className : 'Conv2D',
    config: {
      filters,
      kernelSize: kernel.shape.slice(0, 2),
      strides: attributes.strides,
      dilationRate: attributes.dilations,
      padding: attributes.padding === 'same' ? 'same' : 'valid',
      dataFormat: dataFormatOf(attributes.channelsLast),
      useBias: bias !== undefined,
      activation,
    },
    inputs: [paddedInput(node, attributes, planner)],
    weights: {kernel: {tensor: kernel, source: {node: node.name, index: 1}}, bias},
  });
  finishTail(node, tail, planner);
  return true;
}

/** A depthwise convolution, fused with its bias and activation where the graph has them fused. */
export function planDepthwise(node: GraphNode, planner: Planner): boolean {
  const [x, filter] = inputsOf(node);
  const kernel = floatKernel(filter, planner);
  const attributes = convAttributesOf(node);
  if (kernel === undefined || planner.floats(x) === undefined || !attributes.channelsLast) {
    return false;
  }
  const [height = 1, width = 1, channels = 1, depthMultiplier = 1] = kernel.shape;
  const tail = tailOf(node, {filters: channels * depthMultiplier, from: 2}, planner);
  if (tail === undefined) {
    return false;
  }
  const {bias, activation} = tail;
  // The stock layer equals the graph to the last bit, but ignores dilations.
  const fuses = node.op.startsWith('Fused') || attributes.dilations.some(rate => rate > 1);
  planner.addLayer(node, {
    className: fuses ? FusedDepthwiseConv2D.className : 'DepthwiseConv2D',
    config: {
      kernelSize: [height, width],
      strides: attributes.strides,
      dilationRate: attributes.dilations,
      depthMultiplier,
      padding: attributes.padding === 'same' ? 'same' : 'valid',
      useBias: bias !== undefined,
      activation,
    },
    inputs: [paddedInput(node, attributes, planner)],
    weights: {depthwise_kernel: {tensor: kernel, source: {node: node.name, index: 1}}, bias},
  });
  finishTail(node, tail, planner);
  return true;
}

/** A transposed convolution, if the layer's result has the size that the node specifies. */
export function planConv2DTranspose(node: GraphNode, planner: Planner): boolean {
  const [target, filter, x = ''] = inputsOf(node);
  const kernel = floatKernel(filter, planner);
  const flow = planner.floats(x);
  const wanted = planner.numbersAt(target);
  const {strides, padding, channelsLast, dilations} = convAttributesOf(node);
  if (!kernel || !flow || !wanted || !channelsLast || padding === 'explicit' || dilations.some(rate => rate > 1)) {
    return false;
  }
  const [height = 1, width = 1, filters = 1] = kernel.shape;
  // The layer's size is `stride · size + overhang`.
  const fits = ([0, 1] as const).every(axis => {
    const stride = strides[axis] ?? 1;
    const overhang = padding === 'same' ? 0 : Math.max(([height, width][axis] ?? 1) - stride, 0);
    const [current = KNOWN, target = KNOWN] = [flow.sizes[1 + axis], wanted.sizes[1 + axis]];
    const {of, times, plus} = planner.open.lineOf(target);
    return current === KNOWN
      ? target === KNOWN && (flow.shapes[0][1 + axis] ?? 0) * stride + overhang === wanted.pair[0][1 + axis]
      : of === current && times === stride && plus === overhang;
  });
  const tail = tailOf(node, {filters, from: 3}, planner);
  if (!fits || tail === undefined) {
    return false;
  }
  const {bias, activation} = tail;
  planner.addLayer(node, {
    className: 'Conv2DTranspose',
    config: {
      filters,
      kernelSize: [height, width],
      strides,
      padding,
      useBias: bias !== undefined,
      activation,
    },
    inputs: [x],
    weights: {kernel: {tensor: kernel, source: {node: node.name, index: 1}}, bias},
  });
  finishTail(node, tail, planner);
  return true;
}

function floatKernel(name: string | undefined, planner: Planner): tf.Tensor | undefined {
  const kernel = planner.constant(name);
  return kernel?.rank === 4 && kernel.dtype === 'float32' ? kernel : undefined;
}
