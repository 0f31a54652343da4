import type * as tf from '@tensorflow/tfjs';
import '../methods/table';
import {type Adaptation, plainClass} from './adaptation';
import type {Forward} from './forward';
import {LoRAConv1D} from './loraConv1d';
import {LoRAConv2D} from './loraConv2d';
import {LoRAConv2DTranspose} from './loraConv2dTranspose';
import {LoRAConv3D} from './loraConv3d';
import {LoRADense} from './loraDense';
import {LoRADepthwiseConv2D} from './loraDepthwiseConv2d';
import {LoRAEmbedding} from './loraEmbedding';
import type {LoRALayerArgs} from './layerArgs';
import type {LoRALayer} from './loraLayer';
import {LoRABidirectional, LoRAGRU, LoRALSTM, LoRARNN, LoRASimpleRNN} from './loraRecurrent';
import {LoRASeparableConv2D} from './loraSeparableConv2d';
import {PLAIN_FORWARDS} from './plainForwards';

/** The class of a LoRA layer, which can be constructed and says how it adapts layers. */
export interface LoRALayerClass {
  readonly className: string;
  readonly adaptation: Adaptation;
  new (args: LoRALayerArgs): LoRALayer;
}

/** A row for each kind of layer with its own LoRA class. */
const CLASSES: readonly LoRALayerClass[] = [
  LoRADense,
  LoRAConv1D,
  LoRAConv2D,
  LoRAConv2DTranspose,
  LoRAConv3D,
  LoRASeparableConv2D,
  LoRADepthwiseConv2D,
  LoRAEmbedding,
  LoRASimpleRNN,
  LoRAGRU,
  LoRALSTM,
  LoRARNN,
  LoRABidirectional,
];

export const KINDS: ReadonlyMap<string, LoRALayerClass> = new Map(
  CLASSES.map(loraClass => [loraClass.adaptation.baseClassName, loraClass]),
);

/** How a layer is computed without its stock class; `undefined` if its own `call` computes it. */
export function forwardOf(layer: tf.layers.Layer): Forward | undefined {
  const className = layer.getClassName();
  const plain = Object.hasOwn(PLAIN_FORWARDS, className) ? PLAIN_FORWARDS[className] : undefined;
  return plain ?? KINDS.get(plainClass(className))?.adaptation.forward;
}
