import type * as tf from '@tensorflow/tfjs';

/**
 * The class of what the kernel of a `Dense` starts from that GPT-2 has as a `Conv1D`: a linear layer of PyTorch whose
 * weight is `[in, out]`, where that of a `Linear` is `[out, in]`. Of the fields that a `Dense` keeps in files and when
 * it is rebuilt, it is the one that can tell the two apart.
 */
export const CONV1D_INITIALIZER = 'Conv1DInitializer';

/** Whether a layer is a `Conv1D` of GPT-2. */
export function isConv1D(layer: tf.layers.Layer): boolean {
  const {kernelInitializer} = layer.getConfig() as {kernelInitializer?: {className?: unknown} | null};
  return layer.getClassName() === 'Dense' && kernelInitializer?.className === CONV1D_INITIALIZER;
}
