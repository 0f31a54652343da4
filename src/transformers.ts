import {supplyTransformerKernels} from './extensions/transformers/kernels/transformer';
import './backends/backends';
import './extensions/transformers/layers/checkpointedBlock';
import './extensions/transformers/layers/choices';
import './extensions/transformers/layers/distanceScores';
import './extensions/transformers/layers/featureMaps';
import './extensions/transformers/layers/gridPositionEmbedding';
import './extensions/transformers/layers/hiddenPositions';
import './extensions/transformers/layers/pairLayers';
import './extensions/transformers/layers/patchBias';
import './extensions/transformers/layers/patchPixels';
import './extensions/transformers/layers/patchRotary';
import './extensions/transformers/layers/patchSequence';
import './extensions/transformers/layers/relativeBias';
import './extensions/transformers/layers/scaling';
import './extensions/transformers/layers/soundFrames';
import './extensions/transformers/layers/timePadding';
import './extensions/transformers/layers/visionLayers';
import './extensions/transformers/layers/widthPart';
import './extensions/transformers/layers/windows';
import './extensions/transformers/layers/windowScores';
import './extensions/transformers/losses/hubLosses';
import {supplyLater} from './backends/shared/supplyLater';

// The entry point of transformers: importing it registers the layers that they are made of.

// Layers to build models of.
export {
  PositionEmbedding,
  type PositionEmbeddingArgs,
  TypeEmbedding,
  type TypeEmbeddingArgs,
} from './extensions/transformers/layers/addedEmbeddings';
export {Attention, type AttentionArgs} from './extensions/transformers/layers/attention';
export {GatedActivation, type GatedActivationArgs, Gelu, type GeluArgs} from './extensions/transformers/layers/gates';
export type {Rotary} from './extensions/transformers/layers/rotaryAngles';
export {
  FusedLayerNormalization,
  RMSNormalization,
  type RowNormalizationArgs,
} from './extensions/transformers/layers/rowNormalization';
export {
  type PoolingMode,
  SequencePooling,
  type SequencePoolingArgs,
} from './extensions/transformers/layers/sequencePooling';
export {TiedDense, type TiedDenseArgs} from './extensions/transformers/layers/tiedDense';

// Load, train, use.
export {crossEntropyFromLogits} from './core/ops/crossEntropy';
export {perplexity} from './core/training/metrics';
export type {StreamSource} from './core/storage/sources';
export type {Pooling} from './extensions/transformers/net/architecture';
export {
  cosineLoss,
  pairLoss,
  rankingLoss,
  type RankingOptions,
  sigmoidPairLoss,
} from './extensions/transformers/losses/contrastive';
export {similarities, type Similarity} from './extensions/transformers/ops/similarities';
export {embed, type EmbedOptions} from './extensions/transformers/load/embed';
export {
  type ExportedTransformer,
  type ExportedFolder,
  exportTransformer,
  type ExportTransformerOptions,
} from './extensions/transformers/load/exportTransformer';
export {
  type LoadedTransformer,
  loadTransformer,
  type TransformerOptions,
  type TransformerSources,
} from './extensions/transformers/load/loadTransformer';
export {spanAccuracy, spanCrossEntropy, spanF1} from './extensions/transformers/losses/spans';
export {
  type EncodedTexts,
  encodeTexts,
  type EncodeTextsOptions,
  type Tokenizer,
  type TextInput,
} from './extensions/transformers/load/tokenizer';
export {addTokens, type AddedTokens, type AddTokensOptions} from './extensions/transformers/load/addTokens';
export {trainableTokens, type TrainableTokensOptions} from './extensions/transformers/load/trainableTokens';

supplyLater(
  supplyTransformerKernels,
  'wasm',
  async () => (await import('./extensions/transformers/kernels/wasm/kernels')).nativeTransformer,
);
supplyLater(
  supplyTransformerKernels,
  'webgpu',
  async () => (await import('./extensions/transformers/kernels/webgpu/kernels')).webgpuTransformer,
);
supplyLater(
  supplyTransformerKernels,
  'webgl',
  async () => (await import('./extensions/transformers/kernels/webgl/kernels')).webglTransformer,
);
