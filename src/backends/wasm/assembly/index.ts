// Kernels that work in the memory of tfjs's wasm backend. The module has no memory of its own: it imports the
// backend's, and is given places in it, as byte offsets. Numbers are single-precision floats, rows lie one after the
// other, channels are the last axis.

export {affine, clamp, holds, maskByBits, maskByOutput, normalize, scaleColumns, toBits} from './channels';
export {convolutionKernelGradient, multiplyTransposed} from './contractions';
export {convolve, pad} from './convolution';
export {depthwise, depthwiseInputGradient, depthwiseKernelGradient, flipTaps} from './depthwise';
export {adam, descend, momentum, sumOfSquares} from './optimizers';
export {packColumns, packRows, transpose} from './panels';
export {maxPoolGradient} from './pooling';
export {multiply, multiplyBy4, multiplyFew} from './products';
export {winogradInput, winogradKernel, winogradOutput, winogradProducts} from './winograd';
