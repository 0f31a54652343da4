import './kernels/backends';
import {supplyQuantizedKernels} from './quantized/kernels/quantizedKernels';
import {nativeQuantized} from './quantized/kernels/wasm/kernels';
import {webglQuantized} from './quantized/kernels/webgl/kernels';
import {webgpuQuantized} from './quantized/kernels/webgpu/kernels';

// The door to bases of few bits: importing it is what registers the layers that hold them.

export type {BlockFormatName} from './quantized/formats';
export type {BlockArgs} from './quantized/layers/blockLayer';
export {LoRAQuantizedConv2D, QuantizedConv2D} from './quantized/layers/quantizedConv2d';
export {LoRAQuantizedDense, QuantizedDense} from './quantized/layers/quantizedDense';
export {LoRAQuantizedEmbedding, QuantizedEmbedding} from './quantized/layers/quantizedEmbedding';
export {quantizeBase, type QuantizeOptions} from './quantized/quantizeBase';

supplyQuantizedKernels('wasm', nativeQuantized);
supplyQuantizedKernels('webgpu', webgpuQuantized);
supplyQuantizedKernels('webgl', webglQuantized);
