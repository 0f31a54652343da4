import * as tf from '@tensorflow/tfjs';
import type {BenchCase} from './case';
import {layerNames, oneHot} from './tools';

const BATCH = 8;
const SIZE = 32;
const CHANNELS = 64;
const DEPTH = 6;
const CLASSES = 10;

export const conv: BenchCase = {
  title: (examples = BATCH) =>
    `conv net: ${DEPTH} × [Conv2D 3×3, ${CHANNELS} → BatchNormalization → ReLU] on ${SIZE}×${SIZE}×3, batch ` +
    `${examples}, rank 8 on every convolution`,
  loss: 'categoricalCrossentropy',
  build: () => {
    const model = tf.sequential();
    for (let i = 0; i < DEPTH; i++) {
      model.add(
        tf.layers.conv2d({
          filters: CHANNELS,
          kernelSize: 3,
          padding: 'same',
          ...(i === 0 && {inputShape: [SIZE, SIZE, 3]}),
        }),
      );
      model.add(tf.layers.batchNormalization());
      model.add(tf.layers.reLU());
    }
    model.add(tf.layers.globalAveragePooling2d({}));
    model.add(tf.layers.dense({units: CLASSES, activation: 'softmax', name: 'head'}));
    return Promise.resolve(model);
  },
  batch: (examples = BATCH) => ({
    xs: tf.randomNormal([examples, SIZE, SIZE, 3]),
    ys: oneHot(examples, CLASSES),
  }),
  targets: model => ({rank: 8, targets: layerNames(model, 'Conv2D'), trainInFull: ['head']}),
};
