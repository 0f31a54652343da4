import * as tf from '@tensorflow/tfjs';
import '../../../src/graph';
import {outcomeOf} from './outcome';

const BRAND = Symbol.for('tfjs-lora.kernel');
/** Enough for each kernel, and done in seconds. */
const MOST = 3000;

/** The kernels that only layers of the library run, and the tests that hold them. */
const WITHOUT_CASES: Readonly<Record<string, string>> = {
  ReluGrad: 'test/backends/nativeKernels.test.ts',
  Relu6Grad: 'test/backends/nativeKernels.test.ts',
  TfjsLoRAAddProduct: 'test/backends/nativeKernels.test.ts',
  TfjsLoRAAffine: 'test/core/ops/convolutionChain.test.ts',
};

test('the cases run every kernel that the library registers on wasm', async () => {
  await tf.setBackend('wasm');
  const missing = new Set<string>();
  for (const kernel of tf.getKernelsForBackend('wasm').filter(each => BRAND in each)) {
    const {kernelName, kernelFunc} = kernel;
    missing.add(kernelName);
    tf.unregisterKernel(kernelName, 'wasm');
    tf.registerKernel({
      ...kernel,
      kernelFunc: call => {
        missing.delete(kernelName);
        return kernelFunc(call);
      },
    });
  }
  for (let seed = 1; seed <= MOST && missing.size > Object.keys(WITHOUT_CASES).length; seed++) {
    await outcomeOf(seed);
  }
  expect([...missing].sort()).toEqual(Object.keys(WITHOUT_CASES).sort());
});
