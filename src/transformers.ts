import './extensions/transformers/load/onnxFolder';
import './extensions/transformers/register';

// The entry point of transformers: importing it registers the layers that they are made of, and how toONNX writes their
// folders.

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
export {classify, type ClassifyOptions} from './extensions/transformers/load/classify';
export type {ClassScore} from './extensions/transformers/load/classes';
export {embed, type EmbedOptions} from './extensions/transformers/load/embed';
export {
  encodeExamples,
  type EncodeExamplesOptions,
  type TextExample,
} from './extensions/transformers/load/encodeExamples';
export {encodePairs, type TextPair} from './extensions/transformers/load/encodePairs';
export type {TextBatchOptions} from './extensions/transformers/load/textBatches';
export {
  type ExportedTransformer,
  exportTransformer,
  type ExportTransformerOptions,
} from './extensions/transformers/load/exportTransformer';
export {
  loadTransformer,
  type TransformerOptions,
  type TransformerSources,
} from './extensions/transformers/load/loadTransformer';
export type {LoadedTransformer} from './extensions/transformers/load/loadedTransformer';
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
