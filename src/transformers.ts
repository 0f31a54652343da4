import {supplyTransformerKernels} from './transformers/kernels/transformer';
import {nativeTransformer} from './transformers/kernels/wasm/kernels';
import {webglTransformer} from './transformers/kernels/webgl/kernels';
import {webgpuTransformer} from './transformers/kernels/webgpu/kernels';
import './kernels/backends';

// The door to transformers: importing it is what registers the layers that they are made of.

export {
  PositionEmbedding,
  type PositionEmbeddingArgs,
  TypeEmbedding,
  type TypeEmbeddingArgs,
} from './transformers/layers/addedEmbeddings';
export {Attention, type AttentionArgs} from './transformers/layers/attention';
export {CheckpointedBlock} from './transformers/layers/checkpointedBlock';
export {ChoiceRows, ChoiceScores} from './transformers/layers/choices';
export {
  DistanceScores,
  type DistanceScoresArgs,
  DistanceTable,
  type DistanceTableArgs,
} from './transformers/layers/distanceScores';
export {GatedActivation, type GatedActivationArgs, Gelu, type GeluArgs} from './transformers/layers/gates';
export {HiddenPlaces} from './transformers/layers/hiddenPlaces';
export {
  LearnedQuery,
  ScaledCosines,
  type ScaledCosinesArgs,
  TokenState,
  type TokenStateArgs,
} from './transformers/layers/pairLayers';
export {PatchSequence, type PatchSequenceArgs} from './transformers/layers/patchSequence';
export {LayerScale, QuickGelu} from './transformers/layers/pictureLayers';
export {RelativeBias, type RelativeBiasArgs} from './transformers/layers/relativeBias';
export type {Rotary} from './transformers/layers/rotaryAngles';
export {
  FusedLayerNormalization,
  RMSNormalization,
  type RowNormalizationArgs,
} from './transformers/layers/rowNormalization';
export type {Picture, PictureData} from './transformers/pictures/picturePixels';
export {Scaling, type ScalingArgs} from './transformers/layers/scaling';
export {type PoolingMode, SequencePooling, type SequencePoolingArgs} from './transformers/layers/sequencePooling';
export {LoRATiedDense, TiedDense, type TiedDenseArgs} from './transformers/layers/tiedDense';
export {type CrossEntropyOptions, crossEntropyFromLogits} from './transformers/ops/crossEntropy';
export type {StreamSource} from './storage/sources';
export type {Pooling} from './transformers/architecture';
export {compileCrossEntropy, type CompileCrossEntropyOptions} from './transformers/compileCrossEntropy';
export {
  cosineLoss,
  pairLoss,
  rankingLoss,
  type RankingOptions,
  sigmoidPairLoss,
  similarities,
  type Similarity,
} from './transformers/contrastive';
export {encodeImages, type EncodeImagesOptions} from './transformers/pictures/encodeImages';
export {embed, type EmbedOptions} from './transformers/embed';
export {exportTransformer, type ExportedTransformer} from './transformers/exportTransformer';
export {loadTransformer, type TransformerOptions, type TransformerSources} from './transformers/loadTransformer';
export {
  accuracy,
  type F1Options,
  f1Score,
  type MetricName,
  perplexity,
  topKAccuracy,
  type TopKOptions,
} from './transformers/metrics';
export type {Metric} from './tfjs/metric';
export {compileSpans, type CompileSpansOptions, spanAccuracy, spanCrossEntropy, spanF1} from './transformers/spans';
export {
  type EncodedTexts,
  encodeTexts,
  type EncodeTextsOptions,
  type TextInput,
  type TextTokenizer,
} from './transformers/tokenizer';

supplyTransformerKernels('wasm', nativeTransformer);
supplyTransformerKernels('webgpu', webgpuTransformer);
supplyTransformerKernels('webgl', webglTransformer);
