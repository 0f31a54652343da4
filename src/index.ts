export {getAdapter, setAdapter, withAdapter} from './adapter/adapter';
export {combineAdapters} from './adapter/combine';
export type {CombineOptions} from './adapter/combineOptions';
export type {WeightedAdapter} from './adapter/joint';
export type {MajoritySign} from './adapter/mixing';
export {predictWith, type PredictWithOptions} from './adapter/predictWith';
export {scaleAdapter} from './adapter/scale';
export {loadAdapter, saveAdapter} from './adapter/storage';
export type {
  Adapter,
  AdapterConfig,
  HeadConfig,
  Initializer,
  LayerConfig,
  LayerEntry,
  LayerMatcher,
  LoRAConfig,
  LoRAOverride,
  LoRAStrength,
} from './config';
export {LoRAError} from './errors';
export type {AdaptableWeight, Adaptation} from './layers/adaptation';
export {FrozenLayer} from './layers/frozenLayer';
export {loraConv1d, LoRAConv1D} from './layers/loraConv1d';
export {loraConv2d, LoRAConv2D} from './layers/loraConv2d';
export {loraConv2dTranspose, LoRAConv2DTranspose} from './layers/loraConv2dTranspose';
export {loraConv3d, LoRAConv3D} from './layers/loraConv3d';
export {loraDense, LoRADense} from './layers/loraDense';
export {LoRALayer, type LoRALayerArgs, type LowRankPart} from './layers/loraLayer';
export {LoRAKernelLayer} from './layers/loraKernelLayer';
export type {LoadReport, NameMapping, WeightsReport} from './layers/namedWeights';
export {ParameterLayer} from './layers/parameterLayer';
export {TrainedLayer} from './layers/trainedLayer';
export {type CallArgs, type WrapperArgs, WrapperLayer} from './layers/wrapperLayer';
export {applyLoRA} from './model/apply';
export {type Split, splitAtFirstAdapter} from './model/split';
export {disposeModel, trainableVariables} from './model/dispose';
export {type Batches, type FeatureFitArgs, fitOnFeatures} from './model/fitOnFeatures';
export {resetOptimizer} from './model/optimizer';
export {replaceHead, type ReplaceHeadOptions} from './model/head';
export {mergeLoRA, type MergeOptions, removeLoRA} from './model/restore';
export {type LayerSummary, type LeftLayer, type LoRASummary, summarizeLoRA, type SummaryOptions} from './model/summary';
