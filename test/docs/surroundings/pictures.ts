import * as tf from '@tensorflow/tfjs';
import {modelFiles} from '../makeFiles';

/** A classifier with the names of the real one, and few numbers. */
function classifier(): tf.LayersModel {
  const {layers} = tf;
  const pixels = (name: string, filters: number) => layers.conv2d({name, filters, kernelSize: 1});
  return tf.sequential({
    layers: [
      layers.conv2d({name: 'Conv1', filters: 4, kernelSize: 3, inputShape: [8, 8, 3]}),
      ...[pixels('block_16_expand', 8), pixels('block_16_project', 6), pixels('Conv_1', 1280)],
      layers.averagePooling2d({name: 'average_pooling2d_1', poolSize: 6}),
      layers.flatten({name: 'flatten_1'}),
      layers.dense({name: 'dense_1', units: 256, activation: 'relu'}),
      layers.dropout({name: 'dropout_2', rate: 0.5}),
      layers.dense({name: 'dense_2', units: 128, activation: 'relu'}),
      layers.dropout({name: 'dropout_3', rate: 0.5}),
      layers.dense({name: 'dense_3', units: 5, activation: 'softmax'}),
    ],
  });
}

export const url = 'https://example.com/pictures/model.json';
export const images = tf.ones([10, 8, 8, 3]);
export const labels = tf.oneHot(tf.tensor1d([0, 1, 2, 3, 4, 0, 1, 2, 3, 4], 'int32'), 5).toFloat();

export function files() {
  return modelFiles('https://example.com/pictures', classifier());
}
