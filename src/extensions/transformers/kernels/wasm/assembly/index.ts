// Kernels of transformers, in a module of their own, which only the entry for transformers loads. As the other one it
// works in the memory of tfjs's wasm backend.

export {crossEntropy, crossEntropyGradient} from './crossEntropy';
export {gate, gateGradient} from './gates';
export {normalizeRows, normalizeRowsGradient, normalizeRowsWeights} from './norms';
export {rotate} from './rotary';
export {addRows, softmaxGradient, softmaxRows} from './softmax';
