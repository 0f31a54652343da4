export {getAdapter, setAdapter, withAdapter} from './adapter/adapter';
export {type KernelSource, loraKernels} from './backends/loraKernels';
export {combineAdapters} from './adapter/combine';
export type {CombineOptions} from './adapter/combineOptions';
export {type ExportedPEFT, exportPEFT, type ExportOptions} from './adapter/exportPeft';
export {importPEFT, type ImportOptions} from './adapter/importPeft';
export type {WeightedAdapter} from './adapter/joint';
export type {MajoritySign} from './adapter/mixing';
export {predictWith, type PredictWithOptions} from './adapter/predictWith';
export {fromSafetensors, type SafetensorsOptions, type StoredType, toSafetensors} from './adapter/safetensors';
export {scaleAdapter} from './adapter/scale';
export {type ByteSource, type PEFTSources, readAdapter, readPEFT} from './adapter/sources';
export {loadAdapter, saveAdapter, type SaveOptions} from './adapter/storage';
export type {
  Adapter,
  AdapterConfig,
  BiasChoice,
  HeadConfig,
  Initializer,
  LayerConfig,
  LayerEntry,
  LayerMatcher,
  LoRAConfig,
  LoRAOverride,
  LoRAStrength,
  WeightTarget,
} from './config';
export {LoRAError} from './errors';
export type {KeyMap} from './formats/names';
export type {PEFTFiles} from './formats/peft';
export type {AdaptableWeight, Adaptation} from './layers/adaptation';
export {BiasLayer} from './layers/biasLayer';
export {FrozenLayer} from './layers/frozenLayer';
export {loraBidirectional, LoRABidirectional} from './layers/loraBidirectional';
export {loraConv1d, LoRAConv1D} from './layers/loraConv1d';
export {loraConv2d, LoRAConv2D} from './layers/loraConv2d';
export {loraConv2dTranspose, LoRAConv2DTranspose} from './layers/loraConv2dTranspose';
export {loraConv3d, LoRAConv3D} from './layers/loraConv3d';
export {loraDense, LoRADense} from './layers/loraDense';
export {loraDepthwiseConv2d, LoRADepthwiseConv2D} from './layers/loraDepthwiseConv2d';
export {loraEmbedding, LoRAEmbedding} from './layers/loraEmbedding';
export {loraGRU, LoRAGRU} from './layers/loraGRU';
export {loraLSTM, LoRALSTM} from './layers/loraLSTM';
export {loraRNN, LoRARNN} from './layers/loraRNN';
export {LoRARecurrentLayer} from './layers/loraRecurrent';
export {loraSimpleRNN, LoRASimpleRNN} from './layers/loraSimpleRNN';
export {LoRALayer, type LoRALayerArgs, type LowRankPart} from './layers/loraLayer';
export {LoRAKernelLayer} from './layers/loraKernelLayer';
export {loraSeparableConv2d, LoRASeparableConv2D} from './layers/loraSeparableConv2d';
export {loraWeights, LoRAWeights, type LoRAWeightsArgs} from './layers/loraWeights';
export type {LoadReport, NameMapping, WeightsReport} from './layers/namedWeights';
export {ParameterLayer} from './layers/parameterLayer';
export {registerAdaptable} from './layers/registry';
export {TrainedLayer} from './layers/trainedLayer';
export {type BaseTraining, type CallArgs, type WrapperArgs, WrapperLayer} from './layers/wrapperLayer';
export {applyLoRA} from './model/apply';
export {type Split, splitAtFirstAdapter} from './model/split';
export {disposeModel, trainableVariables} from './model/dispose';
export {type Batches, type FeatureFitArgs, fitOnFeatures} from './model/fitOnFeatures';
export {resetOptimizer} from './model/optimizer';
export {adam, type AdamOptions, LoRAAdam, LoRAMomentum, LoRASGD, sgd, type SGDOptions} from './model/optimizers';
export {replaceHead, type ReplaceHeadOptions} from './model/head';
export {mergeLoRA, type MergeOptions, removeLoRA} from './model/restore';
export {type LayerSummary, type LeftLayer, type LoRASummary, summarizeLoRA, type SummaryOptions} from './model/summary';
