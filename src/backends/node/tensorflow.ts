import * as tf from '@tensorflow/tfjs';
import type {Capabilities} from '../shared/capabilities';
import type {OutputActivationName} from '../shared/launches';
import type {OwnKernel} from '../shared/registration';
import {hostSteps} from '../shared/hostSteps';
import {wrappedKernel} from '../shared/kernel';

/** The part of tfjs-node's backend that is used here: it runs any operation of TensorFlow by its name. */
interface TensorFlowBackend {
  readonly binding: Readonly<Record<'TF_ATTR_TYPE' | 'TF_ATTR_BOOL' | 'TF_ATTR_STRING' | 'TF_FLOAT', number>>;
  executeSingleOutput(name: string, attributes: Attribute[], inputs: tf.TensorInfo[]): tf.Tensor;
}

interface Attribute {
  name: string;
  type: number;
  value: number | boolean | string;
}

/** Up to this many multiplications, the time to start a product matters more than the rate at which it is computed. */
const SMALL = 2 ** 21;

/**
 * Up to this length of the inner axis, products use `MatMul`, TensorFlow's fastest. It is fastest beyond this too, but
 * there oneDNN moves the stack pointer into a small buffer, and a profiler that interrupts it (`node --cpu-prof`)
 * overwrites the memory before that buffer.
 */
const SHORT = 128;

/** The name of TensorFlow's product of two matrices, each of them transposed or not. */
const MATRIX_PRODUCT = 'MatMul';

interface Call<Inputs, Attributes = object> {
  readonly inputs: Inputs;
  readonly attrs: Attributes;
  readonly backend: TensorFlowBackend;
}

type ProductCall = Call<Record<'a' | 'b', tf.Tensor2D>, tf.BatchMatMulAttrs>;

function matrixProduct({inputs: {a, b}, attrs: {transposeA, transposeB}, backend}: ProductCall): tf.Tensor {
  const isShort = a.shape[transposeA ? 0 : 1] <= SHORT && a.size * b.shape[transposeB ? 0 : 1] <= SMALL;
  // The second is what tf.matMul runs.
  const [name, ofA, ofB] = isShort
    ? (['MatMul', 'transpose_a', 'transpose_b'] as const)
    : (['BatchMatMulV2', 'adj_x', 'adj_y'] as const);
  const type = backend.binding.TF_ATTR_BOOL;
  const attributes = [floats(backend), {name: ofA, type, value: transposeA}, {name: ofB, type, value: transposeB}];
  return backend.executeSingleOutput(name, attributes, [a, b]);
}

/** TensorFlow's kernels for gradients of activations by their outputs, and the order of their arguments. */
const ACTIVATION_GRADIENTS: Readonly<Record<OutputActivationName, [kernel: string, ...order: ('dy' | 'y')[]]>> = {
  relu: ['ReluGrad', 'dy', 'y'],
  relu6: ['Relu6Grad', 'dy', 'y'],
  sigmoid: ['SigmoidGrad', 'y', 'dy'],
  tanh: ['TanhGrad', 'y', 'dy'],
};

type GradientCall = Call<Record<'dy' | 'y', tf.Tensor>>;

function activationGradient(name: string, order: readonly ('dy' | 'y')[]): (call: GradientCall) => tf.Tensor {
  return ({inputs, backend}) =>
    backend.executeSingleOutput(
      name,
      [floats(backend)],
      order.map(input => inputs[input]),
    );
}

type TransformCall = Call<{readonly image: tf.Tensor4D; readonly transforms: tf.Tensor2D}, tf.TransformAttrs>;

/** The kernel of `tf.image.transform`, which tfjs-node lacks. */
function transform({inputs: {image, transforms}, attrs, backend}: TransformCall): tf.Tensor {
  const {interpolation, fillMode, fillValue, outputShape = [image.shape[1], image.shape[2]]} = attrs;
  const type = backend.binding.TF_ATTR_STRING;
  const attributes = [
    {...floats(backend), name: 'dtype'},
    {name: 'interpolation', type, value: interpolation.toUpperCase()},
    {name: 'fill_mode', type, value: fillMode.toUpperCase()},
  ];
  return tf.tidy(() =>
    backend.executeSingleOutput('ImageProjectiveTransformV3', attributes, [
      image,
      transforms,
      tf.tensor1d(outputShape, 'int32'),
      tf.scalar(fillValue),
    ]),
  );
}

/**
 * The gradient of a convolution's kernel. TensorFlow's writes beyond its memory where the kernel is smaller than its
 * stride and no window reads the last rows or columns of the input. It is given the input without them.
 */
const kernelGradient = wrappedKernel<Record<'x' | 'dy', tf.Tensor4D>, tf.Conv2DBackpropFilterAttrs, tf.Tensor>(
  tf.Conv2DBackpropFilter,
  stock => call => {
    const {x, dy} = call.inputs;
    const {strides, dataFormat, filterShape} = call.attrs;
    const first = dataFormat === 'NCHW' ? 2 : 1;
    const size = [...x.shape] as typeof x.shape;
    for (const [i, stride] of [strides, strides].flat().slice(0, 2).entries()) {
      const kernel = filterShape[i] as number;
      const read = kernel < stride ? ((dy.shape[first + i] as number) - 1) * stride + kernel : Infinity;
      size[first + i] = Math.min(x.shape[first + i] as number, read);
    }
    return tf.tidy(() =>
      stock({...call, inputs: {dy, x: tf.util.arraysEqual(size, x.shape) ? x : tf.slice(x, [0, 0, 0, 0], size)}}),
    );
  },
);

/** The attribute of an operation on tensors of dtype float32. */
function floats({binding}: TensorFlowBackend): Attribute {
  return {name: 'T', type: binding.TF_ATTR_TYPE, value: binding.TF_FLOAT};
}

/** The gradient of the product: that of tfjs's own. */
export const matrixProductGradient: tf.GradConfig = {...tf.getGradient(tf.BatchMatMul), kernelName: MATRIX_PRODUCT};

/** Kernels of TensorFlow that tfjs-node does not expose, or that damage memory as it calls them. */
export const tensorflowKernels: readonly OwnKernel[] = [
  added(MATRIX_PRODUCT, matrixProduct),
  added(tf.Transform, transform),
  kernelGradient,
  ...Object.values(ACTIVATION_GRADIENTS).map(([name, ...order]) => added(name, activationGradient(name, order))),
];

/** A kernel for a backend that has none of its name. */
function added<Call>(name: string, kernel: (call: Call) => tf.TensorInfo): OwnKernel {
  const kernelFunc = kernel as unknown as tf.KernelFunc;
  return {name, configure: stock => (stock ? undefined : {kernelName: name, backendName: 'tensorflow', kernelFunc})};
}

/** TensorFlow's own operations are faster for larger variables: they divide the work among threads. */
const FEW = 2 ** 17;

/** The capabilities of TensorFlow. */
export const tensorflowCapabilities: Capabilities = {
  isOnHost: true,
  launchesOperations: true,
  matrixProduct: (a, b, transposeA, transposeB) =>
    tf.engine().runKernel(MATRIX_PRODUCT, {a, b}, {transposeA, transposeB}),
  oneLaunch: {activationGradient: (name, dy, y) => tf.engine().runKernel(ACTIVATION_GRADIENTS[name][0], {dy, y}, {})},
  optimizerSteps: gradients =>
    gradients.reduce((sum, {size}) => sum + size, 0) <= FEW * gradients.length ? hostSteps : undefined,
};
