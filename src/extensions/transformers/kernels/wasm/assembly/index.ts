// Transformer kernels, in a separate module that only the transformers entry point loads. It shares the memory of
// tfjs's wasm backend.

export {crossEntropy, crossEntropyGradient} from './crossEntropy';
export {gate, gateGradient} from './gates';
export {normalizeRows, normalizeRowsGradient, normalizeRowsWeights} from './norms';
export {scoreKeys, sumValues} from './query';
export {rotate} from './rotary';
export {multiplyInto, softCap} from './softCap';
export {addRows, softmaxGradient, softmaxRows} from './softmax';
