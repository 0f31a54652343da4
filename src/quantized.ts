import './backends/backends';
import './extensions/quantized/layers/quantizedConv2d';
import './extensions/quantized/layers/quantizedDense';
import './extensions/quantized/layers/quantizedEmbedding';
import {supplyLater} from './backends/shared/supplyLater';
import {supplyQuantizedKernels} from './extensions/quantized/kernels/quantizedKernels';

// The entry point of quantized bases: importing it is what registers the layers that hold them.

export type {BlockFormatName} from './extensions/quantized/formats/formats';
export {setQuantizedActivations} from './extensions/quantized/kernels/activations';
export {quantizeBase, type QuantizeOptions} from './extensions/quantized/quantizeBase';

supplyLater(
  supplyQuantizedKernels,
  'wasm',
  async () => (await import('./extensions/quantized/kernels/wasm/kernels')).nativeQuantized,
);
supplyLater(
  supplyQuantizedKernels,
  'webgpu',
  async () => (await import('./extensions/quantized/kernels/webgpu/kernels')).webgpuQuantized,
);
supplyLater(
  supplyQuantizedKernels,
  'webgl',
  async () => (await import('./extensions/quantized/kernels/webgl/kernels')).webglQuantized,
);
