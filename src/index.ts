import './backends/repairs';
export {getAdapter, setAdapter, withAdapter} from './model/currentAdapter';
export {type KernelSource, loraKernels} from './backends/loraKernels';
export {combineAdapters} from './adapter/combine';
export type {CombineOptions, CompressOptions} from './adapter/combineOptions';
export {compressAdapter} from './adapter/compress';
export {type ExportedPEFT, exportPEFT, type ExportOptions} from './peft/exportPeft';
export {importPEFT, type ImportOptions} from './peft/importPeft';
export type {WeightedAdapter} from './adapter/joint';
export type {MajoritySign} from './adapter/mixing';
export {predictWith, type PredictWithOptions} from './model/predictWith';
export {fromSafetensors, type SafetensorsOptions, type StoredType, toSafetensors} from './storage/safetensors';
export {scaleAdapter} from './adapter/scale';
export {type ByteSource, readAdapter} from './storage/sources';
export {type PEFTSources, readPEFT} from './peft/readPeft';
export {loadAdapter, saveAdapter, type SaveOptions} from './storage/storage';
export type {Adapter, AdapterConfig, HeadConfig} from './adapter/adapter';
export type {BiasChoice, LayerMatcher, LayerPredicate, LoRAConfig, LoRAOverride} from './model/config';
export type {Initializer} from './methods/initializer';
export type {LayerConfig, WeightTarget} from './layers/adaptation';
export type {LayerEntry} from './tfjs/configs';
export type {LoRAStrength} from './methods/method';
export {LoRAError} from './errors';
export type {LoadOptions} from './storage/limits';
export type {KeyMap} from './peft/keyMap';
export type {PEFTFiles} from './peft/files';
export type {Bytes} from './formats/safetensors';
export type {Adaptation} from './layers/adaptation';
export type {AdaptableWeight} from './methods/method';
export {UnadaptedLayer, type UnadaptedLayerArgs} from './layers/unadaptedLayer';
export {LoRAConv1D} from './layers/loraConv1d';
export {LoRAConv2D} from './layers/loraConv2d';
export {LoRAConv2DTranspose} from './layers/loraConv2dTranspose';
export {LoRAConv3D} from './layers/loraConv3d';
export {LoRADense} from './layers/loraDense';
export {LoRADepthwiseConv2D} from './layers/loraDepthwiseConv2d';
export {LoRAEmbedding} from './layers/loraEmbedding';
export {LoRABidirectional, LoRAGRU, LoRALSTM, LoRARNN, LoRASimpleRNN} from './layers/loraRecurrent';
export {LoRALayer, type LoRALayerArgs} from './layers/loraLayer';
export type {LowRankPart} from './layers/layerUpdate';
export {LoRASeparableConv2D} from './layers/loraSeparableConv2d';
export {LoRAWeights, type LoRAWeightsArgs} from './layers/loraWeights';
export type {LoadReport, NameMapping, WeightsReport} from './layers/namedWeights';
export {loraLayer, registerAdaptable} from './layers/registry';
export {type BaseTraining, type CallArgs, type WrapperArgs, WrapperLayer} from './layers/wrapperLayer';
export {applyLoRA} from './model/apply';
export {type Split, splitAtFirstAdapter} from './model/split';
export {disposeModel, trainableVariables} from './rewire/dispose';
export {type Batches, type FeatureFitArgs, fitOnFeatures} from './model/fitOnFeatures';
export {type LoRAPlan, type PlannedLayer, planLoRA} from './model/planLoRA';
export {resetOptimizer} from './model/optimizer';
export {
  adam,
  type AdamOptions,
  adamW,
  type AdamWOptions,
  LoRAAdam,
  LoRAMomentum,
  LoRASGD,
  sgd,
  type SGDOptions,
} from './model/optimizers';
export {replaceHead, type ReplaceHeadOptions} from './head/replaceHead';
export {mergeLoRA, removeLoRA, safeMergeLoRA} from './model/restore';
export {type LayerSummary, type LeftLayer, type LoRASummary, measureLoRA, summarizeLoRA} from './model/summary';
export type {AdapterScope} from './model/scope';
export type {UnmatchedEntry} from './model/targets';
export type {UnsavedLayer} from './model/unsaved';
export {Accumulate, accumulate} from './training/accumulate';
export {BestAdapter, bestAdapter, type BestAdapterOptions} from './training/bestAdapter';
export {ClipByGlobalNorm, clipByGlobalNorm} from './training/clipByGlobalNorm';
export {
  LearningRateSchedule,
  learningRateSchedule,
  type ScheduleOptions,
  type ScheduleShape,
} from './training/learningRateSchedule';
export {LoRAPlus, loraPlus, type LoRAPlusOptions} from './training/loraPlus';
export {progress, type ProgressOptions, ProgressReport, type TrainingProgress} from './training/progress';
export {type Examples, SeededBatches, seededBatches, type SeededBatchesOptions} from './training/seededBatches';
export {StopOnNaN, stopOnNaN} from './training/stopOnNaN';
export {checkpoint, type CheckpointOptions, Checkpoints} from './training/checkpoint';
export type {CheckpointPlace} from './training/checkpointFile';
export {resume, type ResumedRun, type ResumeOptions} from './training/resume';
export {findLearningRate, type LearningRateSweep, type SweepOptions, type SweepStep} from './training/findLearningRate';
