import type * as tf from '@tensorflow/tfjs';
import {LoRAConv2D} from './loraConv2d';
import {LoRADense} from './loraDense';
import {type KernelLayer, fieldsOf} from './stock';

/** How layers of one class are adapted. */
export interface Adaptation {
  /** Class name of the LoRA layer. */
  className: string;
  /** The kernel that is updated, `[...fan-in axes, out]`. */
  kernel(layer: tf.layers.Layer): tf.LayerVariable;
}

const kernelOf = (layer: tf.layers.Layer) => fieldsOf<KernelLayer>(layer).kernel;

/** By the class name of the layer: a row for each class that can be adapted. */
const ADAPTATIONS: Readonly<Record<string, Adaptation>> = {
  Dense: {className: LoRADense.className, kernel: kernelOf},
  Conv2D: {className: LoRAConv2D.className, kernel: kernelOf},
};

/** The classes that can be adapted. */
export const ADAPTABLE: readonly string[] = Object.keys(ADAPTATIONS);

/** How a layer is adapted, or `undefined` if it cannot be. */
export function adaptationOf(layer: tf.layers.Layer): Adaptation | undefined {
  const className = layer.getClassName();
  return Object.hasOwn(ADAPTATIONS, className) ? ADAPTATIONS[className] : undefined;
}
