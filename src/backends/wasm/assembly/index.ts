// Kernels that work in the memory of tfjs's wasm backend. The module has no memory of its own: it imports the
// backend's, and gets addresses in it, as byte offsets. Values are single-precision floats, rows follow one another,
// channels are the last axis.

export {affine, clamp, holds, maskByBits, maskByOutput, normalize, scaleColumns, toBits} from './channels';
export {convolutionKernelGradient, multiplyTransposed} from './contractions';
export {convolve, pad} from './convolution';
export {depthwise, depthwiseInputGradient, depthwiseKernelGradient, flipTaps} from './depthwise';
export {adam, descend, momentum, sumOfSquares} from './optimizers';
export {packColumns, packRows, transpose} from './panels';
export {maxPoolGradient} from './pooling';
export {multiply, multiplyBy4, multiplyFew} from './products';
export {winogradInput, winogradKernel, winogradOutput, winogradProducts} from './winograd';
