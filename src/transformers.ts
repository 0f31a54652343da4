import {supplyTransformerKernels} from './backends/transformer';
import {nativeTransformer} from './backends/wasm/own/transformer/kernels';
import {webglTransformer} from './backends/webgl/transformer/kernels';
import {webgpuTransformer} from './backends/webgpu/transformer/kernels';
import './backends/repairs';

// The door to transformers: importing it is what registers the layers that they are made of.

export {
  PositionEmbedding,
  type PositionEmbeddingArgs,
  TypeEmbedding,
  type TypeEmbeddingArgs,
} from './layers/addedEmbeddings';
export {Attention, type AttentionArgs} from './layers/attention';
export {CheckpointedBlock} from './layers/checkpointedBlock';
export {GatedActivation, type GatedActivationArgs, Gelu, type GeluArgs} from './layers/gates';
export type {Rotary} from './layers/rotaryAngles';
export {FusedLayerNormalization, RMSNormalization, type RowNormalizationArgs} from './layers/rowNormalization';
export {type PoolingMode, SequencePooling, type SequencePoolingArgs} from './layers/sequencePooling';
export {type CrossEntropyOptions, crossEntropyFromLogits} from './ops/crossEntropy';
export type {StreamSource} from './storage/readers';
export type {Pooling} from './transformers/architecture';
export {compileCrossEntropy, type CompileCrossEntropyOptions} from './transformers/compileCrossEntropy';
export {embed, type EmbedOptions} from './transformers/embed';
export {loadTransformer, type TransformerSources} from './transformers/loadTransformer';
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
