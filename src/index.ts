import './kernels/backends';

// Adapt a model, train it, and take the update into its layers or away.
export {applyLoRA} from './model/apply';
export {type LoRAPlan, type PlannedLayer, planLoRA} from './model/planLoRA';
export {mergeLoRA, removeLoRA, safeMergeLoRA} from './model/restore';
export {type LayerSummary, type LeftLayer, type LoRASummary, measureLoRA, summarizeLoRA} from './model/summary';
export type {BiasChoice, LayerMatcher, LayerPredicate, LoRAConfig, LoRAOverride} from './model/config';
export type {UnmatchedEntry} from './model/targets';
export type {UnsavedLayer} from './model/adapted';
export type {LoRAStrength} from './methods/method';
export type {Initializer} from './methods/initializer';
export type {Dropout} from './ops/update';
export {disposeModel, trainableVariables} from './rewire/dispose';
export {LoRAError} from './errors';

// Train.
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
} from './training/optimizers';
export {Accumulate, accumulate} from './training/accumulate';
export {ClipByGlobalNorm, clipByGlobalNorm} from './training/clipByGlobalNorm';
export {LoRAPlus, loraPlus, type LoRAPlusOptions} from './training/loraPlus';
export {BestAdapter, bestAdapter, type BestAdapterOptions} from './training/bestAdapter';
export {checkpoint, type CheckpointOptions, Checkpoints} from './training/checkpoint';
export type {CheckpointPlace} from './training/checkpointFile';
export {resume, type ResumedRun, type ResumeOptions} from './training/resume';
export {
  LearningRateSchedule,
  learningRateSchedule,
  type ScheduleOptions,
  type ScheduleShape,
} from './training/learningRateSchedule';
export {findLearningRate, type LearningRateSweep, type SweepOptions, type SweepStep} from './training/findLearningRate';
export {type Movable, moveTo} from './training/moveTo';
export {progress, type ProgressOptions, ProgressReport, type TrainingProgress} from './training/progress';
export {type Examples, SeededBatches, seededBatches, type SeededBatchesOptions} from './training/seededBatches';
export {StopOnNaN, stopOnNaN} from './training/stopOnNaN';
export {resetOptimizer} from './training/resetOptimizer';
export {replaceHead, type ReplaceHeadOptions} from './head/replaceHead';
export type {HeadPlace} from './head/headPlace';
export {type Batches, type FeatureFitArgs, fitOnFeatures} from './model/fitOnFeatures';
export {type Split, splitAtFirstAdapter} from './model/split';

// Adapters: switch between them, mix them.
export type {Adapter, AdapterConfig, HeadConfig} from './adapter/adapter';
export {getAdapter, setAdapter, withAdapter} from './model/currentAdapter';
export type {AdapterScope} from './model/scope';
export {predictWith, type PredictWithOptions} from './model/predictWith';
export {scaleAdapter} from './adapter/scale';
export {allocateRanks, type AllocateOptions} from './adapter/allocateRanks';
export {combineAdapters} from './adapter/combine';
export {compressAdapter} from './adapter/compress';
export type {CombineOptions, CompressOptions} from './adapter/combineOptions';
export type {WeightedAdapter} from './adapter/joint';
export type {MajoritySign} from './adapter/mixing';

// Save and load adapters.
export {saveAdapter} from './model/saveAdapter';
export {loadAdapter, type SaveOptions} from './storage/storage';
export {
  fromSafetensors,
  readAdapter,
  type SafetensorsOptions,
  type StoredType,
  toSafetensors,
} from './storage/safetensors';
export type {ByteSource} from './storage/sources';
export type {LoadOptions} from './storage/limits';
export type {Bytes} from './formats/safetensors';

// Exchange adapters with PEFT.
export {type ExportedPEFT, exportPEFT, type ExportOptions} from './peft/exportPeft';
export {importPEFT, type ImportOptions} from './peft/importPeft';
export {type PEFTSources, readPEFT} from './peft/readPeft';
export type {KeyMap} from './peft/modules';
export type {PEFTFiles} from './peft/files';

// Single layers.
export {loraLayer, registerAdaptable} from './layers/registry';
export {LoRAConv1D} from './layers/loraConv1d';
export {LoRAConv2D} from './layers/loraConv2d';
export {LoRAConv2DTranspose} from './layers/loraConv2dTranspose';
export {LoRAConv3D} from './layers/loraConv3d';
export {LoRADense} from './layers/loraDense';
export {LoRADepthwiseConv2D} from './layers/loraDepthwiseConv2d';
export {LoRAEmbedding} from './layers/loraEmbedding';
export {LoRABidirectional, LoRAGRU, LoRALSTM, LoRARNN, LoRASimpleRNN} from './layers/loraRecurrent';
export {LoRASeparableConv2D} from './layers/loraSeparableConv2d';
export {LoRAWeights, type LoRAWeightsArgs} from './layers/loraWeights';
export {UnadaptedLayer, type UnadaptedLayerArgs} from './layers/unadaptedLayer';
export type {LoRALayerArgs} from './layers/layerArgs';
export type {LoRALayer} from './layers/loraLayer';
export type {BaseTraining, CallArgs, WrapperArgs, WrapperLayer} from './layers/wrapperLayer';
export type {WeightTarget} from './layers/weightTargets';
export type {Adaptation} from './layers/adaptation';
export type {LayerConfig} from './layers/layerConfig';
export type {LowRankPart, UpdatePart} from './layers/layerUpdate';
export type {LoadReport, NameMapping, WeightsReport} from './layers/namedWeights';
export type {AdaptableWeight} from './methods/method';
export type {LayerEntry} from './tfjs/configs';

// Load a base that Keras wrote.
export {loadKerasModel} from './keras/loadKerasModel';

// Backends.
export {type KernelSource, loraKernels, useRelaxedSIMD} from './kernels/loraKernels';
