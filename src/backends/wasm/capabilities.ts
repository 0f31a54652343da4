import * as tf from '@tensorflow/tfjs';
import type {Capabilities} from '../shared/capabilities';
import type {FusedOps} from '../shared/launches';
import {ADD_PRODUCT} from './module/addProduct';
import {ACTIVATION_GRADIENTS, AFFINE} from './module/channels';
import {currentNative} from './module/find';
import {fusedConvolution} from './module/fused';
import type {Native} from './module/native';
import {nativeSteps} from './module/optimizers';

const oneLaunch: FusedOps = {
  affine: (x, m, t) => tf.engine().runKernel(AFFINE, {x, m, ...(t && {t})}, {}),
  activationGradient: (name, dy, y) => {
    const kernel = ACTIVATION_GRADIENTS[name];
    return kernel === undefined ? undefined : tf.engine().runKernel(kernel, {dy, y}, {});
  },
};

/** With our module or without. The memory is what 32 bits can address. */
const ALWAYS: Capabilities = {isOnHost: true, mostBytes: 2 ** 32, oneLaunch};

const COMPOSED: Capabilities = {...ALWAYS, source: 'composed'};

/** Module → capabilities. */
const capabilitiesOfModule = new WeakMap<Native, Capabilities>();

/** The capabilities of wasm, with or without our module. */
export function wasmCapabilities(): Capabilities {
  const native = currentNative();
  if (native === undefined) {
    return COMPOSED;
  }
  const capabilities = capabilitiesOfModule.get(native) ?? byModule(native);
  capabilitiesOfModule.set(native, capabilities);
  return capabilities;
}

function byModule(native: Native): Capabilities {
  const steps = nativeSteps(native);
  const addProduct: Capabilities['addProduct'] = (c, a, b, transposed) =>
    tf.engine().runKernel(ADD_PRODUCT, {c, a, b}, {transposed});
  return {
    ...ALWAYS,
    source: 'module',
    addProduct,
    fusedConvolution: fusedConvolution(native),
    hasFusedSums: () => native.hasFusedSums(),
    optimizerSteps: () => steps,
  };
}
