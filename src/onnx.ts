import {registerGraphGradients} from './extensions/graph/gradients/graphGradients';
import './extensions/graph/layers/fusedConvolution';
import './extensions/graph/import/graphOp';
import './backends/backends';
import './quantized';
import {registerResetAfterGRU} from './core/keras/gruResetAfter';

// Importing this entry point registers the layers that imported models are made of.

export {adaptONNX} from './extensions/onnx/adapt/adaptONNX';
export type {AdaptedONNX, AdapterInput, AdaptONNXOptions} from './extensions/onnx/adapt/adapted';
export type {ONNXSource} from './extensions/onnx/file/onnxSource';
export {fromONNX, type FromONNXOptions} from './extensions/onnx/import/fromONNX';
export {type NewONNXOptions, toONNX, type ToONNXOptions} from './extensions/onnx/export/toONNX';

registerGraphGradients();
registerResetAfterGRU();
