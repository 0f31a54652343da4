import * as tf from '@tensorflow/tfjs';
import {convolution, graphOf, input, node} from '../../extensions/graph/graphs';
import {modelFiles} from '../makeFiles';

/** A classifier with the names of the real one, and few parameters. */
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

/** A model with the two parts of a Teachable Machine project: features, and a classifier. */
function teachableMachine(): tf.LayersModel {
  const {layers} = tf;
  const features = tf.sequential({
    layers: [
      tf.sequential({layers: [layers.conv2d({filters: 6, kernelSize: 3, inputShape: [8, 8, 3]})]}),
      layers.globalAveragePooling2d({dataFormat: 'channelsLast'}),
    ],
  });
  const classes = tf.sequential({
    layers: [
      layers.dense({units: 100, activation: 'relu', inputShape: [6]}),
      layers.dense({units: 3, activation: 'softmax', useBias: false}),
    ],
  });
  return tf.sequential({layers: [features, classes]});
}

/** A graph with some of the names of the real one. */
function graph(): Promise<tf.GraphModel> {
  const pointwise = (name: string, from: string, kernel: string) =>
    node(`net/${name}`, 'Conv2D', [from, kernel], convolution());
  return graphOf(
    [
      input('input', [-1, 8, 8, 3]),
      pointwise('Conv/Relu6', 'input', 'first'),
      pointwise('expanded_conv_16/expand/Relu6', 'net/Conv/Relu6', 'expand'),
      pointwise('expanded_conv_16/project/FusedBatchNormV3', 'net/expanded_conv_16/expand/Relu6', 'project'),
      pointwise('Conv_1/Relu6', 'net/expanded_conv_16/project/FusedBatchNormV3', 'last'),
      node('net/Logits', 'Mean', ['net/Conv_1/Relu6', 'axes'], {keep_dims: {b: false}}),
      node('dense', 'MatMul', ['net/Logits', 'w']),
      node('classes_of_old', 'Softmax', ['dense']),
    ],
    {
      first: tf.randomNormal([1, 1, 3, 4]),
      expand: tf.randomNormal([1, 1, 4, 8]),
      project: tf.randomNormal([1, 1, 8, 6]),
      last: tf.randomNormal([1, 1, 6, 16]),
      axes: tf.tensor1d([1, 2], 'int32'),
      w: tf.randomNormal([16, 5]),
    },
  );
}

export const url = 'https://example.com/pictures/model.json';
export const projectUrl = 'https://example.com/project/model.json';
export const graphUrl = 'https://example.com/graph/model.json';
export const photo = tf.ones([10, 12, 3]);
export const images = tf.ones([10, 8, 8, 3]);
export const labels = tf.oneHot(tf.tensor1d([0, 1, 2, 3, 4, 0, 1, 2, 3, 4], 'int32'), 5).toFloat();

export async function files() {
  return {
    ...(await modelFiles('https://example.com/pictures', classifier())),
    ...(await modelFiles('https://example.com/project', teachableMachine())),
    ...(await modelFiles('https://example.com/graph', await graph())),
  };
}
