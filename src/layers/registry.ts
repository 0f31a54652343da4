import type * as tf from '@tensorflow/tfjs';
import {LoRAConv1D} from './loraConv1d';
import {LoRAConv2D} from './loraConv2d';
import {LoRAConv2DTranspose} from './loraConv2dTranspose';
import {LoRAConv3D} from './loraConv3d';
import {LoRADense} from './loraDense';
import {type KernelLayer, fieldsOf} from './stock';

/** How layers of one class are adapted. */
export interface Adaptation {
  /** Class name of the LoRA layer. */
  className: string;
  /** The kernel that is updated, `[...fan-in axes, out]`, or `[kh, kw, out, in]` of a transposed convolution. */
  kernel(layer: tf.layers.Layer): tf.LayerVariable;
}

const kernelOf = (layer: tf.layers.Layer) => fieldsOf<KernelLayer>(layer).kernel;

/** By the class name of the layer: a row for each class that can be adapted. */
const ADAPTATIONS: Readonly<Record<string, Adaptation>> = {
  Dense: {className: LoRADense.className, kernel: kernelOf},
  Conv1D: {className: LoRAConv1D.className, kernel: kernelOf},
  Conv2D: {className: LoRAConv2D.className, kernel: kernelOf},
  Conv2DTranspose: {className: LoRAConv2DTranspose.className, kernel: kernelOf},
  Conv3D: {className: LoRAConv3D.className, kernel: kernelOf},
};

/** The classes that can be adapted. */
export const ADAPTABLE: readonly string[] = Object.keys(ADAPTATIONS);

/** How a layer is adapted, or `undefined` if it cannot be. */
export function adaptationOf(layer: tf.layers.Layer): Adaptation | undefined {
  const className = layer.getClassName();
  return Object.hasOwn(ADAPTATIONS, className) ? ADAPTATIONS[className] : undefined;
}
