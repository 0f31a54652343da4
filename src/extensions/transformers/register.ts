import {supplyTransformerKernels} from './kernels/transformer';
import '../../backends/backends';
import './layers/checkpointedBlock';
import './layers/choices';
import './layers/distanceScores';
import './layers/featureMaps';
import './layers/gridPositionEmbedding';
import './layers/hiddenPositions';
import './layers/pairLayers';
import './layers/patchBias';
import './layers/patchPixels';
import './layers/patchRotary';
import './layers/patchSequence';
import './layers/relativeBias';
import './layers/scaling';
import './layers/soundFrames';
import './layers/timePadding';
import './layers/visionLayers';
import './layers/widthPart';
import './layers/windows';
import './layers/windowScores';
import './losses/hubLosses';
import {supplyLater} from '../../backends/shared/supplyLater';

// Registers the layers that transformers are made of, their losses, and their operations.

supplyLater(supplyTransformerKernels, 'wasm', async () => (await import('./kernels/wasm/kernels')).nativeTransformer);
supplyLater(
  supplyTransformerKernels,
  'webgpu',
  async () => (await import('./kernels/webgpu/kernels')).webgpuTransformer,
);
supplyLater(supplyTransformerKernels, 'webgl', async () => (await import('./kernels/webgl/kernels')).webglTransformer);
