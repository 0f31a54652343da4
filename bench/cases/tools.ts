import * as tf from '@tensorflow/tfjs';

/** Names of the layers of a class, in the order of the model. */
export function layerNames(model: tf.LayersModel, className: string): string[] {
  return model.layers.filter(layer => layer.getClassName() === className).map(({name}) => name);
}

/** Labels, each class as often as any other. */
export function oneHot(rows: number, classes: number): tf.Tensor {
  return tf.tidy(() => {
    const labels = tf.tensor1d(
      Array.from({length: rows}, (_, i) => i % classes),
      'int32',
    );
    return tf.cast(tf.oneHot(labels, classes), 'float32');
  });
}
