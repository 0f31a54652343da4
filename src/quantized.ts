import './backends/backends';
import {supplyQuantizedKernels} from './extensions/quantized/kernels/quantizedKernels';
import {nativeQuantized} from './extensions/quantized/kernels/wasm/kernels';
import {webglQuantized} from './extensions/quantized/kernels/webgl/kernels';
import {webgpuQuantized} from './extensions/quantized/kernels/webgpu/kernels';

// The door to bases of few bits: importing it is what registers the layers that hold them.

export type {BlockFormatName} from './extensions/quantized/formats/formats';
export type {BlockArgs} from './extensions/quantized/layers/blockLayer';
export {LoRAQuantizedConv2D, QuantizedConv2D} from './extensions/quantized/layers/quantizedConv2d';
export {LoRAQuantizedDense, QuantizedDense} from './extensions/quantized/layers/quantizedDense';
export {LoRAQuantizedEmbedding, QuantizedEmbedding} from './extensions/quantized/layers/quantizedEmbedding';
export {quantizeBase, type QuantizeOptions} from './extensions/quantized/quantizeBase';

supplyQuantizedKernels('wasm', nativeQuantized);
supplyQuantizedKernels('webgpu', webgpuQuantized);
supplyQuantizedKernels('webgl', webglQuantized);
