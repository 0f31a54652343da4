import * as tf from '@tensorflow/tfjs';
import type {Capabilities} from './capabilities';
import type {AdaptedProduct, FusedConvolution, EpilogueGradients} from './launches';
import type {BackendListener} from './lifecycle';
import type {Programs} from './tryOut';

// Small computations that show whether a device computes our programs rightly.

/** The programs of a backend, which `isRight` and small computations try out. */
export function triedPrograms<Backend extends object>(
  isRight: (backend: Backend) => Promise<boolean>,
  capabilities: Capabilities & Required<Pick<Capabilities, 'adaptedProduct' | 'fusedConvolution'>>,
): Programs {
  const {adaptedProduct, fusedConvolution} = capabilities;
  return {
    isRight: async (backend: Backend, onBackend) => {
      await whenCurrent(backend, onBackend);
      const trials = [isRight(backend), isProductRight(adaptedProduct), isConvolutionRight(fusedConvolution)];
      return (await Promise.all(trials)).every(right => right);
    },
    capabilities,
  };
}

/** Waits until a backend is the current one, on which programs are tried out. It may not be, once they are loaded. */
function whenCurrent(backend: object, onBackend: (listener: BackendListener) => void): Promise<void> {
  return new Promise(resolve => {
    onBackend((_, current) => {
      if (current === backend) {
        resolve();
      }
    });
  });
}

/** Whether a small product and its gradients are right. */
function isProductRight(adaptedProduct: AdaptedProduct): Promise<boolean> {
  return givesNumbers('0.5,1,2.5,2.5,3,8.5,4.5,5,14.5;6,-1,6,-1,6,-1;27,36;-1.5,-1.5,-1.5', () => {
    const x = tf.tensor2d([1, 2, 3, 4, 5, 6], [3, 2]);
    const [a, b] = [tf.tensor2d([1, -1], [2, 1]), tf.tensor2d([1, 2, 3], [1, 3])];
    const weights = {kernel: tf.tensor2d([1, 0, 2, 0, 1, 1], [2, 3]), a, b, scaling: 0.5};
    const {ofInput, ofFactors} = adaptedProduct.backward(x, {dy: tf.ones([3, 3])}, weights);
    return [adaptedProduct.forward(x, weights, {}), ofInput(), ...ofFactors()];
  });
}

/** Whether a small depthwise convolution, a scale and a relu have the right values and gradients. */
function isConvolutionRight(fused: FusedConvolution): Promise<boolean> {
  return givesNumbers('50,18,12,0;2,6,8,18', () => {
    const [x, dy] = [tf.tensor4d([1, 2, 3, 4], [1, 2, 2, 1]), tf.ones([1, 2, 2, 1])];
    const filter = tf.reshape<tf.Rank.R4>(x, [2, 2, 1, 1]);
    const [m, t] = [tf.tensor1d([2]), tf.tensor1d([-10])];
    const geometry = {strides: [1, 1] as [number, number], padding: 'same' as const};
    const [y] = fused.rectified({x, filter, bias: null, depthwise: true, ...geometry}, {m, t}, Infinity);
    const epilogues = fused.epilogues as EpilogueGradients;
    const dx = epilogues.depthwiseInput({dy, y, m, cap: Infinity}, filter, x.shape, geometry);
    return [y, dx as tf.Tensor];
  });
}

/** Whether tensors have these values. */
async function givesNumbers(expected: string, compute: () => tf.Tensor[]): Promise<boolean> {
  const tensors = tf.tidy(() => compute().map(tensor => tf.keep(tensor)));
  const numbers = (await Promise.all(tensors.map(tensor => tensor.data()))).map(values => values.join());
  tf.dispose(tensors);
  return numbers.join(';') === expected;
}
