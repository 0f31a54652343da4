import type * as tf from '@tensorflow/tfjs';
import type {ConvSettings} from '../../../backends/shared/geometry';
import {type GraphNode, inputsOf, numbersOf, textOf} from '../graphDef';
import {FusedConv2D, FusedDepthwiseConv2D} from '../layers/fusedConvolution';
import {KNOWN} from './openSizes';
import type {Planner} from './planner';
import type {PlannedWeight} from './values';
import {planWithTail, tailOf} from './tail';

interface ImageConvolution extends ConvSettings<number[], 'same' | 'valid' | [rows: number[], columns: number[]]> {
  channelsLast: boolean;
}

function settingsOf(node: GraphNode): ImageConvolution {
  const channelsLast = textOf(node, 'data_format', 'NHWC') === 'NHWC';
  const onImages = (list: number[]) => (channelsLast ? list.slice(1, 3) : list.slice(2, 4));
  const pads = numbersOf(node, 'explicit_paddings');
  const at = channelsLast ? 2 : 4;
  const padding = textOf(node, 'padding', 'VALID').toLowerCase();
  return {
    channelsLast,
    strides: onImages(numbersOf(node, 'strides', [1, 1, 1, 1])),
    dilations: onImages(numbersOf(node, 'dilations', [1, 1, 1, 1])),
    padding:
      padding === 'explicit' ? [pads.slice(at, at + 2), pads.slice(at + 2, at + 4)] : (padding as 'same' | 'valid'),
  };
}

/** The images of a convolution, padded with zeros if the padding is explicit. */
function paddedInput(node: GraphNode, {padding, channelsLast}: ImageConvolution, planner: Planner): string {
  const [x = ''] = inputsOf(node);
  if (typeof padding === 'string') {
    return x;
  }
  planner.addLayer(node, {
    suffix: 'pad',
    className: 'ZeroPadding2D',
    config: {padding, dataFormat: dataFormatOf(channelsLast)},
    inputs: [x],
  });
  return node.name;
}

function configOf({shape}: tf.Tensor, {strides, dilations, padding}: ImageConvolution): tf.serialization.ConfigDict {
  const kernelSize = shape.slice(0, 2);
  return {kernelSize, strides, dilationRate: dilations, padding: padding === 'same' ? 'same' : 'valid'};
}

function weightOf({name: node}: GraphNode, tensor: tf.Tensor): PlannedWeight {
  return {tensor, source: {node, index: 1}};
}

function dataFormatOf(channelsLast: boolean): string {
  return channelsLast ? 'channelsLast' : 'channelsFirst';
}

/** A convolution of images as a `Conv2D`, fused with its activation where the stock layer would not. */
export function planConv2D(node: GraphNode, planner: Planner): boolean {
  const [x, filter] = inputsOf(node);
  const kernel = floatKernel(filter, planner);
  const flow = planner.floats(x);
  const attributes = settingsOf(node);
  // tfjs's executor misreads the strides and dilations of channels-first images; a GraphOp does the same.
  const isPlain =
    [...attributes.strides, ...attributes.dilations].every(step => step === 1) &&
    typeof attributes.padding === 'string';
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
  const className = tail.activation === 'relu6' && attributes.channelsLast ? FusedConv2D.className : 'Conv2D';
  const config = {filters, ...configOf(kernel, attributes), dataFormat: dataFormatOf(attributes.channelsLast)};
  const inputs = [paddedInput(node, attributes, planner)];
  return planWithTail(node, tail, {className, config, inputs, weights: {kernel: weightOf(node, kernel)}}, planner);
}

/** A depthwise convolution, fused with its bias and activation where the graph has them fused. */
export function planDepthwise(node: GraphNode, planner: Planner): boolean {
  const [x, filter] = inputsOf(node);
  const kernel = floatKernel(filter, planner);
  const attributes = settingsOf(node);
  if (kernel === undefined || planner.floats(x) === undefined || !attributes.channelsLast) {
    return false;
  }
  const [, , channels = 1, depthMultiplier = 1] = kernel.shape;
  const tail = tailOf(node, {filters: channels * depthMultiplier, from: 2}, planner);
  if (tail === undefined) {
    return false;
  }
  // The stock layer equals the graph to the last bit, but ignores dilations.
  const fuses = node.op.startsWith('Fused') || attributes.dilations.some(rate => rate > 1);
  const layer = {
    className: fuses ? FusedDepthwiseConv2D.className : 'DepthwiseConv2D',
    config: {...configOf(kernel, attributes), depthMultiplier},
    inputs: [paddedInput(node, attributes, planner)],
    weights: {depthwise_kernel: weightOf(node, kernel)},
  };
  return planWithTail(node, tail, layer, planner);
}

/** A transposed convolution, if the layer's result has the size that the node specifies. */
export function planConv2DTranspose(node: GraphNode, planner: Planner): boolean {
  const [target, filter, x = ''] = inputsOf(node);
  const kernel = floatKernel(filter, planner);
  const flow = planner.floats(x);
  const wanted = planner.numbersAt(target);
  const {strides, padding, channelsLast, dilations} = settingsOf(node);
  if (!kernel || !flow || !wanted || !channelsLast || typeof padding !== 'string' || dilations.some(rate => rate > 1)) {
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
  const config = {filters, kernelSize: [height, width], strides, padding};
  const weights = {kernel: weightOf(node, kernel)};
  return planWithTail(node, tail, {className: 'Conv2DTranspose', config, inputs: [x], weights}, planner);
}

function floatKernel(name: string | undefined, planner: Planner): tf.Tensor | undefined {
  const kernel = planner.constant(name);
  return kernel?.rank === 4 && kernel.dtype === 'float32' ? kernel : undefined;
}
