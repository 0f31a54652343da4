import * as tf from '@tensorflow/tfjs';

/**
 * What the kernel of a `Dense` layer starts from that GPT-2 has as a `Conv1D`: a linear layer of PyTorch whose weight is `[in, out]`, where that of
 * a `Linear` is `[out, in]`. Of the fields that a `Dense` keeps in files and when it is rebuilt, it is the one that can tell the two apart.
 */
class Conv1DInitializer extends tf.serialization.Serializable {
  static readonly className = 'Conv1DInitializer';

  /** N(0, 0.02), as in `transformers`. */
  apply(shape: number[]): tf.Tensor {
    return tf.randomNormal(shape, 0, 0.02);
  }

  override getConfig(): tf.serialization.ConfigDict {
    return {};
  }
}
tf.serialization.registerClass(Conv1DInitializer);

/** As an option of `tf.layers.dense`, which takes an initializer that is none of its own by its config alone. */
export const CONV1D = {
  kernelInitializer: {className: Conv1DInitializer.className, config: {}} as unknown as 'randomNormal',
};

/** Whether a layer is a `Conv1D` of GPT-2. */
export function isConv1D(layer: tf.layers.Layer): boolean {
  const {kernelInitializer} = layer.getConfig() as {kernelInitializer?: {className?: unknown} | null};
  return layer.getClassName() === 'Dense' && kernelInitializer?.className === Conv1DInitializer.className;
}
