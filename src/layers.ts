import './backends/backends';

// The entry point for models that are built by hand: the LoRA layers, and taking their updates into stock layers.

export {adaptLayer} from './core/layers/registry';
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
export type {LoRAStrength, MethodName} from './core/methods/method';
export type {Initializer, PrincipalInit} from './core/methods/initializer';

export {mergeLoRA} from './core/model/restore';
export {disposeModel, trainableVariables} from './core/rewire/dispose';
export {LoRAError, type LoRAErrorCode} from './platform/errors';
