// Computes kernel cases in a page with this library, all of its kernels, and counts the calls of these.

import * as tf from '@tensorflow/tfjs';
import './inPage';
import 'tfjs-lora/graph';
import {onBackend} from '../../../src/backends/shared/lifecycle';
import {registerKernels} from '../../../src/backends/shared/registration';
import {addKernel} from '../../../src/extensions/quantized/ops/addKernel';

declare global {
  interface Window {
    /** How often each kernel of the library ran on a backend. */
    calls: Map<string, number>;
  }
}

const BRAND = Symbol.for('tfjs-lora.kernel');
const calls = new Map<string, number>();
window.calls = calls;

onBackend(name => {
  if (name === 'cpu') {
    return;
  }
  registerKernels(name, [addKernel]); // as the first product of a quantized layer does
  for (const kernel of tf.getKernelsForBackend(name)) {
    const {kernelName, kernelFunc} = kernel;
    if (!(BRAND in kernel) || calls.has(kernelName)) {
      continue;
    }
    calls.set(kernelName, 0);
    tf.unregisterKernel(kernelName, name);
    tf.registerKernel({
      ...kernel,
      kernelFunc: call => {
        calls.set(kernelName, calls.get(kernelName)! + 1);
        return kernelFunc(call);
      },
    });
  }
});
