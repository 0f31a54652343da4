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
  WeightTarget,
} from './config';
export {LoRAError} from './errors';
export type {AdaptableWeight, Adaptation} from './layers/adaptation';
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
export type {LayerEntry} from './layers/stock';
export {TrainedLayer} from './layers/trainedLayer';
export {type CallArgs, type WrapperArgs, WrapperLayer} from './layers/wrapperLayer';
export {applyLoRA} from './model/apply';
export {type Split, splitAtFirstAdapter} from './model/split';
export {disposeModel, trainableVariables} from './model/dispose';
export {type Batches, type FeatureFitArgs, fitOnFeatures} from './model/fitOnFeatures';
export {mergeLoRA, type MergeOptions, removeLoRA} from './model/restore';
export {type LayerSummary, type LeftLayer, type LoRASummary, summarizeLoRA, type SummaryOptions} from './model/summary';
