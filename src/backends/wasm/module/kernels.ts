import * as tf from '@tensorflow/tfjs';
import type {NormalizationInputs} from '../../shared/batchNorm';
import type {ConvolutionAttributes, Geometry, Shape4D} from '../../shared/geometry';
import type {OwnKernel} from '../../shared/registration';
import {type KernelCall, wrappedKernel} from '../../shared/kernel';
import {convolutionKernelGradient, convolve} from './convolution';
import {convolveDepthwise, depthwiseInputGradient, depthwiseKernelGradient, takesDepthwise} from './depthwise';
import {nativeOf} from './find';
import {adjointOf, nativeGeometry} from './geometry';
import type {Native} from './native';
import {normalize} from './normalization';
import {clampOf, type Epilogue, matMul, multiplyEach} from './products';
import {isTakingGradient} from '../../../platform/tfjs/engine';

/** A kernel by our module. If it returns `undefined`, or there is no module, the kernel that it wraps runs. */
function nativeKernel<Inputs, Attributes>(
  name: string,
  compute: (native: Native, call: KernelCall<Inputs, Attributes>) => tf.TensorInfo | undefined,
): OwnKernel {
  return wrappedKernel<Inputs, Attributes>(name, below => call => {
    const native = nativeOf(call.backend);
    return (native && compute(native, call)) ?? below(call);
  });
}

function areFloats(...tensors: tf.TensorInfo[]): boolean {
  return tensors.every(({dtype}) => dtype === 'float32');
}

interface Fused {
  readonly bias?: tf.TensorInfo | null;
  readonly preluActivationWeights?: tf.TensorInfo | null;
}

/** The epilogue of a fused kernel, or `undefined` if our module has no code for it. */
function epilogueOf(
  native: Native,
  {bias, preluActivationWeights}: Fused,
  activation: string,
  columns: number,
): Epilogue | undefined {
  const clamp = clampOf(activation);
  // A column of biases, [rows, 1], is another sum.
  const isRow = (shape: number[]) => shape.at(-1) === columns && tf.util.sizeFromShape(shape) === columns;
  const fits = bias == null || (areFloats(bias) && isRow(bias.shape));
  return clamp === undefined || preluActivationWeights != null || !fits ? undefined : {bias: native.at(bias), clamp};
}

interface Operands extends Fused {
  readonly a: tf.TensorInfo;
  readonly b: tf.TensorInfo;
}

const products = [tf.BatchMatMul, tf._FusedMatMul].map(name =>
  nativeKernel<Operands, tf.BatchMatMulAttrs & {readonly activation?: string}>(name, (native, {inputs, attrs}) => {
    const {a, b} = inputs;
    const {transposeA, transposeB, activation = 'linear'} = attrs;
    const [rowsA = 0, columnsA = 0] = a.shape.slice(-2);
    const [rowsB = 0, columnsB = 0] = b.shape.slice(-2);
    const [m, k] = transposeA ? [columnsA, rowsA] : [rowsA, columnsA];
    const [n, inner] = transposeB ? [rowsB, columnsB] : [columnsB, rowsB];
    // The wrapped kernel refuses shapes that have no product.
    if (!areFloats(a, b) || a.shape.length < 2 || b.shape.length < 2 || inner !== k) {
      return undefined;
    }
    const [batchA, batchB] = [a.shape.slice(0, -2), b.shape.slice(0, -2)];
    const batch = tf.broadcast_util.assertAndGetBroadcastShape(batchA, batchB);
    const [countA, countB, count] = [batchA, batchB, batch].map(shape => tf.util.sizeFromShape(shape)) as [
      number,
      number,
      number,
    ];
    if (
      m * k * n * count === 0 ||
      count !== Math.max(countA, countB) ||
      (countA !== countB && Math.min(countA, countB) !== 1)
    ) {
      return undefined;
    }
    const epilogue = epilogueOf(native, inputs, activation, n);
    const isPlain = epilogue?.bias === 0 && epilogue.clamp === null;
    if (epilogue === undefined || (transposeA && (transposeB || !isPlain))) {
      return undefined;
    }
    const out = native.output([...batch, m, n]);
    const [placeA, placeB, place] = [native.at(a), native.at(b), native.at(out)];
    if (countB === 1 && !transposeA) {
      matMul(native, {m: countA * m, k, n}, placeA, placeB, transposeB, place, epilogue);
      return out;
    }
    const stepA = countA === 1 ? 0 : 4 * m * k;
    const stepB = countB === 1 ? 0 : 4 * k * n;
    multiplyEach(native, {m, k, n}, count, [placeA, stepA], [placeB, stepB], attrs, place, epilogue);
    return out;
  }),
);

interface Convolution extends Fused {
  readonly x: tf.TensorInfo;
  readonly filter: tf.TensorInfo;
}

type ConvolutionCall = KernelCall<Convolution, ConvolutionAttributes & {readonly activation?: string}>;

/** Runs a convolution, depthwise or not, where `takes` its geometry. */
function forward(
  native: Native,
  {inputs, attrs}: ConvolutionCall,
  isDepthwise: boolean,
  compute: (geometry: Geometry, x: number, filter: number, y: number, epilogue: Epilogue) => void,
): tf.TensorInfo | undefined {
  const {x, filter} = inputs;
  if (!areFloats(x, filter)) {
    return undefined;
  }
  const geometry = nativeGeometry(x.shape as Shape4D, filter.shape as Shape4D, attrs, isDepthwise);
  const epilogue = geometry && epilogueOf(native, inputs, attrs.activation ?? 'linear', geometry.channelsOut);
  if (geometry === undefined || epilogue === undefined || (isDepthwise && !takesDepthwise(geometry))) {
    return undefined;
  }
  const out = native.output([geometry.n, geometry.height.output, geometry.width.output, geometry.channelsOut]);
  compute(geometry, native.at(x), native.at(filter), native.at(out), epilogue);
  return out;
}

const convolutions = [tf.Conv2D, tf.FusedConv2D].map(name =>
  nativeKernel<Convolution, ConvolutionAttributes & {readonly activation?: string}>(name, (native, call) =>
    // From one channel to one, the backend sums down the columns.
    call.inputs.filter.shape.slice(2).every(channels => channels === 1)
      ? undefined
      : forward(native, call, false, (geometry, x, place, y, epilogue) => {
          convolve(native, geometry, x, {place, flipped: false}, y, epilogue, isTakingGradient());
        }),
  ),
);

/** They sum in another order than the backend's own, and so run only in training. */
const depthwiseConvolutions = [tf.DepthwiseConv2dNative, tf.FusedDepthwiseConv2D].map(name =>
  nativeKernel<Convolution, ConvolutionAttributes & {readonly activation?: string}>(name, (native, call) =>
    isTakingGradient()
      ? forward(native, call, true, (geometry, x, filter, y, epilogue) => {
          convolveDepthwise(native, geometry, x, filter, y, epilogue);
        })
      : undefined,
  ),
);

/** Whether `dy` has the size of the result: `tf.conv2dTranspose` takes any output shape. */
function isResult({shape}: tf.TensorInfo, {n, height, width}: Geometry): boolean {
  return shape[0] === n && shape[1] === height.output && shape[2] === width.output;
}

type InputGradientAttributes = ConvolutionAttributes & {readonly inputShape: Shape4D};

const inputGradient = nativeKernel<Record<'dy' | 'filter', tf.TensorInfo>, InputGradientAttributes>(
  tf.Conv2DBackpropInput,
  (native, {inputs: {dy, filter}, attrs}) => {
    const geometry = nativeGeometry(attrs.inputShape, filter.shape as Shape4D, attrs);
    const adjoint = geometry && isResult(dy, geometry) ? adjointOf(geometry) : undefined;
    if (adjoint === undefined || !areFloats(dy, filter)) {
      return undefined;
    }
    const out = native.output(attrs.inputShape);
    const kernel = {place: native.at(filter), flipped: true};
    convolve(native, adjoint, native.at(dy), kernel, native.at(out), undefined, isTakingGradient());
    return out;
  },
);

type FilterGradientAttributes = ConvolutionAttributes & {readonly filterShape: Shape4D};

const filterGradient = nativeKernel<Record<'x' | 'dy', tf.TensorInfo>, FilterGradientAttributes>(
  tf.Conv2DBackpropFilter,
  (native, {inputs: {x, dy}, attrs}) => {
    const geometry = nativeGeometry(x.shape as Shape4D, attrs.filterShape, attrs);
    if (geometry === undefined || !isResult(dy, geometry) || !areFloats(x, dy)) {
      return undefined;
    }
    const out = native.output(attrs.filterShape);
    convolutionKernelGradient(native, geometry, native.at(x), native.at(dy), native.at(out));
    return out;
  },
);

const depthwiseInput = nativeKernel<Record<'dy' | 'filter', tf.TensorInfo>, InputGradientAttributes>(
  tf.DepthwiseConv2dNativeBackpropInput,
  (native, {inputs: {dy, filter}, attrs}) => {
    const geometry = nativeGeometry(attrs.inputShape, filter.shape as Shape4D, attrs, true);
    if (geometry === undefined || !takesDepthwise(geometry) || !areFloats(dy, filter)) {
      return undefined;
    }
    const out = native.output(attrs.inputShape);
    depthwiseInputGradient(native, geometry, native.at(dy), native.at(filter), native.at(out));
    return out;
  },
);

const depthwiseFilter = nativeKernel<Record<'x' | 'dy', tf.TensorInfo>, FilterGradientAttributes>(
  tf.DepthwiseConv2dNativeBackpropFilter,
  (native, {inputs: {x, dy}, attrs}) => {
    const geometry = nativeGeometry(x.shape as Shape4D, attrs.filterShape, attrs, true);
    if (geometry === undefined || !takesDepthwise(geometry) || !areFloats(x, dy)) {
      return undefined;
    }
    const out = native.output(attrs.filterShape);
    depthwiseKernelGradient(native, geometry, native.at(x), native.at(dy), native.at(out));
    return out;
  },
);

const batchNorm = nativeKernel<NormalizationInputs<tf.TensorInfo>, Partial<tf.FusedBatchNormAttrs>>(
  tf.FusedBatchNorm,
  (native, {inputs: {x, mean, variance, offset, scale}, attrs: {varianceEpsilon = 0.001}}) => {
    const [channels = 0] = mean.shape.slice(-1);
    if (offset == null || scale == null || channels === 0 || channels % 4 !== 0 || x.shape.at(-1) !== channels) {
      return undefined;
    }
    const vectors = [mean, variance, offset, scale];
    if (!vectors.every(({shape}) => tf.util.sizeFromShape(shape) === channels) || !areFloats(x, ...vectors)) {
      return undefined;
    }
    const out = native.output(x.shape);
    const [at, y] = [native.at(x), native.at(out)];
    const places = {
      ...{mean: native.at(mean), variance: native.at(variance), scale: native.at(scale), offset: native.at(offset)},
      epsilon: varianceEpsilon,
    };
    normalize(native, tf.util.sizeFromShape(x.shape), channels, at, places, y);
    return out;
  },
);

/** `PadV2` of images with zeros around them: lines are copied as a whole. */
const pad = nativeKernel<{readonly x: tf.TensorInfo}, tf.PadV2Attrs>(
  tf.PadV2,
  (native, {inputs: {x}, attrs: {paddings, constantValue}}) => {
    const [ofBatch, rows, columns, ofChannels] = paddings;
    const isImage = x.shape.length === 4 && ofBatch?.every(size => size === 0) && ofChannels?.every(size => size === 0);
    const isCropped = paddings.flat().some(size => size < 0);
    if (!isImage || !rows || !columns || isCropped || constantValue !== 0 || !areFloats(x) || x.shape.includes(0)) {
      return undefined;
    }
    const [n, height, width, channels] = x.shape as Shape4D;
    const out = native.output([n, rows[0] + height + rows[1], columns[0] + width + columns[1], channels]);
    native.functions.pad(native.at(x), n, height, width, channels, ...rows, ...columns, native.at(out));
    return out;
  },
);

/** Kernels by our module. Each wraps the kernel that was there before, which runs where the module does not. */
export const nativeKernels: readonly OwnKernel[] = [
  ...products,
  ...convolutions,
  ...depthwiseConvolutions,
  inputGradient,
  filterGradient,
  depthwiseInput,
  depthwiseFilter,
  batchNorm,
  pad,
];
