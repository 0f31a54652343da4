import type * as tf from '@tensorflow/tfjs';
import type {Adaptation} from './adaptation';
import {LoRAConv1D} from './loraConv1d';
import {LoRAConv2D} from './loraConv2d';
import {LoRAConv2DTranspose} from './loraConv2dTranspose';
import {LoRAConv3D} from './loraConv3d';
import {LoRADense} from './loraDense';
import type {LoRALayer} from './loraLayer';
import {baseOf, wrapperKind} from './wrapperLayer';

/** The class of a LoRA layer, as far as it speaks for itself. */
interface LoRALayerClass {
  readonly className: string;
  readonly adaptation: Adaptation;
}

/** A row for each class of layers that can be adapted: the LoRA layer that adapts it. */
const CLASSES: readonly LoRALayerClass[] = [LoRADense, LoRAConv1D, LoRAConv2D, LoRAConv2DTranspose, LoRAConv3D];

const BY_BASE = new Map(CLASSES.map(loraClass => [loraClass.adaptation.baseClassName, loraClass]));

/** The classes that can be adapted. */
export const ADAPTABLE: readonly string[] = [...BY_BASE.keys()];

/** The LoRA layer class that adapts a layer, or `undefined` if its class cannot be adapted. */
export function loraClassOf(layer: tf.layers.Layer): LoRALayerClass | undefined {
  return BY_BASE.get(layer.getClassName());
}

/** How a layer is adapted, or could be; `undefined` if its class cannot be adapted. */
export function adaptationOf(layer: tf.layers.Layer): Adaptation | undefined {
  return wrapperKind(layer) === 'lora' ? (layer as LoRALayer).adaptation : loraClassOf(baseOf(layer))?.adaptation;
}

/**
 * Why a layer cannot be adapted, as the rest of a sentence about it, or `undefined` if it can.
 *
 * @param named whether the user named the layer, beyond asking for all.
 */
export function reasonNotAdaptable(layer: tf.layers.Layer, named: boolean): string | undefined {
  const adaptation = adaptationOf(layer);
  if (adaptation === undefined) {
    return `is a ${layer.getClassName()}, which LoRA cannot adapt. Adaptable: ${ADAPTABLE.join(', ')}.`;
  }
  return adaptation.refusal?.(layer) ?? (named ? undefined : adaptation.unlessNamed);
}

/** Whether a layer has a weight that multiplies, of two axes or more. */
export function hasKernel(layer: tf.layers.Layer): boolean {
  return layer.weights.some(({shape}) => shape.length >= 2);
}
