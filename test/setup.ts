import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import '../src/backends/backends';
import {supplyWasm} from '../src/backends/wasm/wasmPart';
import {removeTemporaryFolders} from './temporaryFolder';

// As in Node.
supplyWasm();

// Quiets the cpu backend's advice. (`IS_TEST` would switch on a per-kernel leak check that stock layers fail on wasm.)
tf.enableProdMode();

// Tests run on WASM unless they say otherwise. Each leaves the backend as it was, and its tensors are freed.
beforeAll(() => tf.setBackend('wasm'));
let backend = 'wasm';
beforeEach(() => {
  backend = tf.getBackend();
  tf.engine().startScope();
});
afterEach(async () => {
  tf.engine().endScope();
  if (tf.getBackend() !== backend && backend in tf.engine().registryFactory) {
    await tf.setBackend(backend);
  }
});

afterAll(removeTemporaryFolders);

declare global {
  // oxlint-disable-next-line typescript/no-namespace
  namespace jest {
    interface Matchers<R> {
      /** Every number is within `atol + rtol · |expected|` of its counterpart. Defaults: 1e-5 and 1e-5. */
      toBeAllClose(expected: ArrayLike<number>, options?: {rtol?: number; atol?: number}): R;
    }
  }
}

expect.extend({
  toBeAllClose(
    actual: ArrayLike<number>,
    expected: ArrayLike<number>,
    {rtol = 1e-5, atol = 1e-5}: {rtol?: number; atol?: number} = {},
  ) {
    if (actual.length !== expected.length) {
      return {pass: false, message: () => `${actual.length} numbers, expected ${expected.length}`};
    }
    let worst = -1;
    let excess = 0;
    for (let i = 0; i < actual.length; i++) {
      const difference = Math.abs(actual[i]! - expected[i]!);
      const beyond = difference - (atol + rtol * Math.abs(expected[i]!));
      // `!(beyond <= 0)` also catches NaN.
      if (!(beyond <= 0) && (worst < 0 || beyond > excess || Number.isNaN(beyond))) {
        worst = i;
        excess = beyond;
      }
    }
    return {
      pass: worst < 0,
      message: () =>
        worst < 0
          ? 'all numbers are close'
          : `number ${worst} is ${actual[worst]!}, expected ${expected[worst]!} (rtol ${rtol}, atol ${atol})`,
    };
  },
});
