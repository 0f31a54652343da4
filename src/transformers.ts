import {supplyTransformerKernels} from './extensions/transformers/kernels/transformer';
import {nativeTransformer} from './extensions/transformers/kernels/wasm/kernels';
import './backends/backends';
import {supplyLater} from './backends/shared/supplyLater';

// The entry point of transformers: importing it is what registers the layers that they are made of.

export {
  PositionEmbedding,
  type PositionEmbeddingArgs,
  TypeEmbedding,
  type TypeEmbeddingArgs,
} from './extensions/transformers/layers/addedEmbeddings';
export {Attention, type AttentionArgs} from './extensions/transformers/layers/attention';
export {CheckpointedBlock} from './extensions/transformers/layers/checkpointedBlock';
export {ChoiceRows, ChoiceScores} from './extensions/transformers/layers/choices';
export {
  DistanceScores,
  type DistanceScoresArgs,
  DistanceTable,
  type DistanceTableArgs,
} from './extensions/transformers/layers/distanceScores';
export {GatedActivation, type GatedActivationArgs, Gelu, type GeluArgs} from './extensions/transformers/layers/gates';
export {HiddenPositions} from './extensions/transformers/layers/hiddenPositions';
export {
  LearnedQuery,
  ScaledCosines,
  type ScaledCosinesArgs,
  TokenState,
  type TokenStateArgs,
} from './extensions/transformers/layers/pairLayers';
export {PatchSequence, type PatchSequenceArgs} from './extensions/transformers/layers/patchSequence';
export {LayerScale, QuickGelu} from './extensions/transformers/layers/visionLayers';
export {RelativeBias, type RelativeBiasArgs} from './extensions/transformers/layers/relativeBias';
export type {Rotary} from './extensions/transformers/layers/rotaryAngles';
export {
  FusedLayerNormalization,
  RMSNormalization,
  type RowNormalizationArgs,
} from './extensions/transformers/layers/rowNormalization';
export type {ImageInput, ImagePixels} from './extensions/transformers/images/imagePixels';
export {Scaling, type ScalingArgs} from './extensions/transformers/layers/scaling';
export {
  type PoolingMode,
  SequencePooling,
  type SequencePoolingArgs,
} from './extensions/transformers/layers/sequencePooling';
export {LoRATiedDense, TiedDense, type TiedDenseArgs} from './extensions/transformers/layers/tiedDense';
export {type CrossEntropyOptions, crossEntropyFromLogits} from './extensions/transformers/ops/crossEntropy';
export type {StreamSource} from './core/storage/sources';
export type {Pooling} from './extensions/transformers/net/architecture';
export {compileModel, type CompileModelOptions, type LossName} from './extensions/transformers/losses/compileModel';
export {
  cosineLoss,
  pairLoss,
  rankingLoss,
  type RankingOptions,
  sigmoidPairLoss,
} from './extensions/transformers/losses/contrastive';
export {similarities, type Similarity} from './extensions/transformers/ops/similarities';
export {encodeImages, type EncodeImagesOptions} from './extensions/transformers/images/encodeImages';
export {embed, type EmbedOptions} from './extensions/transformers/load/embed';
export {
  type ExportedTransformer,
  exportTransformer,
  type ExportTransformerOptions,
} from './extensions/transformers/load/exportTransformer';
export {
  type LoadedTransformer,
  loadTransformer,
  type TransformerOptions,
  type TransformerSources,
} from './extensions/transformers/load/loadTransformer';
export {
  accuracy,
  type F1Options,
  f1Score,
  type MetricName,
  perplexity,
  topKAccuracy,
  type TopKOptions,
} from './extensions/transformers/losses/metrics';
export type {Metric} from './platform/tfjs/metric';
export {spanAccuracy, spanCrossEntropy, spanF1} from './extensions/transformers/losses/spans';
export {
  type EncodedTexts,
  encodeTexts,
  type EncodeTextsOptions,
  type HubTokenizer,
  type TextInput,
  type TextTokenizer,
} from './extensions/transformers/load/tokenizer';

supplyTransformerKernels('wasm', nativeTransformer);
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
