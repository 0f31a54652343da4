import './backends/backends';

// Adapt a model, train it, and take the update into its layers or away.
export {applyLoRA} from './core/model/apply';
export {type LoRAPlan, type PlannedLayer, planLoRA} from './core/model/planLoRA';
export {mergeLoRA, removeLoRA, safeMergeLoRA} from './core/model/restore';
export type {SkippedLayer} from './core/model/adapted';
export {type LayerSummary, type LoRASummary, measureLoRA, summarizeLoRA} from './core/model/summary';
export type {LayerMatcher, LayerPredicate, LoRAConfig, LoRAOverride} from './core/model/config';
export type {LoRAStrength, MethodName} from './core/methods/method';
export type {Initializer, PrincipalInit} from './core/methods/initializer';
export {disposeModel, trainableVariables} from './core/rewire/dispose';
export {LoRAError, type LoRAErrorCode} from './platform/errors';
export type {CallOptions, OnProgress, CallProgress} from './platform/signals';

// Train.
export {adam, type AdamOptions, adamW, type AdamWOptions, sgd, type SGDOptions} from './core/training/optimizers';
export {accumulate} from './core/training/accumulate';
export {clipByGlobalNorm} from './core/training/clipByGlobalNorm';
export {loraPlus, type LoRAPlusOptions} from './core/training/loraPlus';
export {type BestAdapter, bestAdapter, type BestAdapterOptions} from './core/training/bestAdapter';
export {checkpoint, type CheckpointOptions} from './core/training/checkpoint';
export type {CheckpointPlace} from './core/training/checkpointFile';
export {resume, type ResumedRun, type ResumeOptions} from './core/training/resume';
export {
  type LearningRateSchedule,
  learningRateSchedule,
  type ScheduleOptions,
} from './core/training/learningRateSchedule';
export {findLearningRate, type LearningRateSweep, type SweepOptions} from './core/training/findLearningRate';
export {type FineTuned, fineTune, type FineTuneData, type FineTuneOptions} from './core/training/fineTune';
export {moveTo} from './core/training/moveTo';
export {progress, type ProgressOptions, type TrainingProgress} from './core/training/progress';
export {
  type ExampleTensors,
  type SeededBatches,
  seededBatches,
  type SeededBatchesOptions,
} from './core/training/seededBatches';
export {balancedClassWeights} from './core/training/classWeights';
export {compileModel, type CompileModelOptions} from './core/training/compileModel';
export type {LossName, ModelLoss} from './core/training/losses';
export type {ClassLossOptions, CrossEntropyOptions} from './core/ops/weightedCrossEntropy';
export {accuracy, type AccuracyOptions, type F1Options, f1Score, type MetricName} from './core/training/metrics';
export type {MetricFunction} from './platform/tfjs/metric';
export {focalLoss, type FocalLossOptions} from './core/training/focalLoss';
export {withSampleWeights} from './core/training/weightedTargets';
export {type KeepIfBetter, keepIfBetter, type KeepIfBetterOptions} from './core/training/keepIfBetter';
export {withReplay, type WithReplayOptions} from './core/training/withReplay';
export {neftune, type NeftuneOptions} from './core/training/neftune';
export {stopOnNaN} from './core/training/stopOnNaN';
export {resetOptimizer} from './core/training/resetOptimizer';
export {replaceHead, type ReplaceHeadOptions} from './core/head/replaceHead';
export {type Batches, type FeatureFitArgs, fitOnFeatures} from './core/model/fitOnFeatures';

// Adapters: switch between them, mix them.
export type {Adapter, AdapterConfig, HeadConfig} from './core/adapter/adapter';
export {getAdapter, setAdapter, withAdapter} from './core/model/currentAdapter';
export type {AdapterScope} from './core/model/scope';
export {predictWith, type PredictWithOptions} from './core/model/predictWith';
export {scaleAdapter} from './core/adapter/scale';
export {combineAdapters} from './core/adapter/combine';
export type {CombineOptions} from './core/adapter/combineOptions';
export type {WeightedAdapter} from './core/adapter/alignment';
export type {MajoritySign} from './core/adapter/mixing';

export {type ConvertedAdapter, convertToLoRA, type ConvertToLoRAOptions} from './core/model/convertToLoRA';

// Save and load adapters.
export {saveMerged, toSafetensors} from './core/model/saveMerged';
export {saveAdapter, type SavePEFTOptions} from './core/peft/saveAdapter';
export {loadAdapter, type LoadAdapterOptions} from './core/peft/loadAdapter';
export type {AdapterSource} from './core/peft/readAdapter';
export {fileHandler} from './core/storage/fileHandler';
export type {SaveOptions} from './core/storage/storage';
export type {SafetensorsOptions, StoredType} from './core/storage/safetensors';
export type {ByteSource} from './core/storage/sources';
export type {LoadOptions} from './core/storage/limits';
export type {FileBytes} from './platform/formats/encodeSafetensors';

// Read records of examples.
export {
  type LabeledText,
  type PairRecord,
  type ParsedRecords,
  parseRecords,
  type ParseRecordsOptions,
  type RecordKinds,
} from './extensions/records/parseRecords';

// Read files of the Hugging Face hub.
export type {CachedFile, HubCache, HubCacheOptions, HubOptions} from './core/storage/hub/settings';
export {setHub} from './core/storage/hub/setHub';

// Exchange adapters with PEFT.
export {exportPEFT} from './core/peft/exchange';
export {modelCard, type ModelCardOptions} from './core/peft/modelCard';
export type {ExportedPEFT, ExportPEFTOptions} from './core/peft/exportPeft';
export type {PEFTSource} from './core/peft/readPeft';
export type {KeyMap} from './core/peft/modules';
export type {PEFTFiles} from './core/peft/peftFiles';

// Single layers.
export {registerAdaptable} from './core/layers/registry';
export {LoRAConv1D} from './core/layers/loraConv1d';
export {LoRAConv2D} from './core/layers/loraConv2d';
export {LoRAConv2DTranspose} from './core/layers/loraConv2dTranspose';
export {LoRAConv3D} from './core/layers/loraConv3d';
export {LoRADense} from './core/layers/loraDense';
export {LoRADepthwiseConv2D} from './core/layers/loraDepthwiseConv2d';
export {LoRAEmbedding} from './core/layers/loraEmbedding';
export {LoRABidirectional, LoRAGRU, LoRALSTM, LoRARNN, LoRASimpleRNN} from './core/layers/loraRecurrent';
export {LoRASeparableConv2D} from './core/layers/loraSeparableConv2d';
export {LoRAWeights, type LoRAWeightsArgs} from './core/layers/loraWeights';
export {FrozenLayer, TrainedLayer} from './core/layers/unadaptedLayer';
export type {LoRALayerArgs} from './core/layers/layerArgs';
export {isLoRALayer, LoRALayer} from './core/layers/loraLayer';
export type {WrapperArgs} from './core/layers/wrapperLayer';
export type {WeightTarget} from './core/layers/weightTargets';
export type {LayerConfig} from './core/layers/layerConfig';
export type {LowRankPart, UpdatePart} from './core/layers/layerUpdate';

// Load a base that Keras wrote.
export {loadKerasModel} from './core/keras/loadKerasModel';

// Backends.
export {useRelaxedSIMD} from './backends/loraKernels';
export {startWasm, type WasmOptions, type WasmStart} from './backends/startWasm';
