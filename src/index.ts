export {getAdapter, setAdapter, withAdapter} from './adapter/adapter';
export {loadAdapter, saveAdapter} from './adapter/storage';
export type {
  Adapter,
  AdapterConfig,
  Initializer,
  LayerConfig,
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
export type {LayerEntry} from './layers/stock';
export {TrainedLayer} from './layers/trainedLayer';
export {type CallArgs, type WrapperArgs, WrapperLayer} from './layers/wrapperLayer';
export {applyLoRA} from './model/apply';
export {type Split, splitAtFirstAdapter} from './model/split';
export {disposeModel, trainableVariables} from './model/dispose';
export {type Batches, type FeatureFitArgs, fitOnFeatures} from './model/fitOnFeatures';
export {mergeLoRA, type MergeOptions, removeLoRA} from './model/restore';
export {type LayerSummary, type LeftLayer, type LoRASummary, summarizeLoRA, type SummaryOptions} from './model/summary';
