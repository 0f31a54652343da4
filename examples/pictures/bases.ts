import * as tf from '@tensorflow/tfjs';
import {loadBase, SIZE} from './src/base';
import {withNewHead} from './src/learn';
import type {Picture} from './tasks';

/** A base with a new head, as the study trains it. */
export interface Base {
  /** With the new head. */
  model: tf.LayersModel;
  /** The name of the head. */
  head: string;
  /** The initial weights of the head. */
  freshHead: (seed: number) => tf.Tensor[];
  /** Images as the model takes them. */
  encode: (pictures: readonly Picture[]) => tf.Tensor4D;
  /** Classes as the loss takes them. */
  labels: (pictures: readonly Picture[]) => tf.Tensor;
  /** Compiles the model, or a piece of it that ends with the head. */
  compile: (model: tf.LayersModel, optimizer: tf.Optimizer) => void;
  /** What LoRA adapts from a block to the last one. */
  targets: (firstBlock: number) => {targets: (string | RegExp)[]; trainInFull?: string[]};
}

/** Base → what opens it with a new head for some number of classes. */
export const BASES: Readonly<Record<string, (classes: number) => Promise<Base>>> = {MobileNetV2: openMobileNet};

async function openMobileNet(classes: number): Promise<Base> {
  const [model, head, lastBlock] = [withNewHead(await loadBase(), classes), 'classes', 16];
  return {
    model,
    head,
    freshHead: seed => {
      const [kernel, bias] = model
        .getLayer(head)
        .getWeights()
        .map(({shape}) => shape) as [[number, number], [number]];
      return [tf.initializers.glorotUniform({seed}).apply(kernel), tf.zeros(bias)];
    },
    encode: pictures => {
      const pixels = pictures.map(picture => picture.pixels(SIZE));
      return tf.tidy(() =>
        tf.div<tf.Tensor4D>(tf.stack(pixels.map(values => tf.tensor3d(values, [SIZE, SIZE, 3]))), 255),
      );
    },
    labels: pictures => tf.tidy(() => tf.cast(tf.oneHot(labelsOf(pictures), classes), 'float32')),
    compile: (model, optimizer) => model.compile({optimizer, loss: 'categoricalCrossentropy'}),
    targets: firstBlock => {
      const blocks = Array.from({length: lastBlock + 1 - firstBlock}, (_, i) => firstBlock + i);
      return {targets: [new RegExp(`^block_(${blocks.join('|')})_(expand|project)$`), 'Conv_1']};
    },
  };
}

function labelsOf(pictures: readonly Picture[]): tf.Tensor1D {
  return tf.tensor1d(
    pictures.map(({label}) => label),
    'int32',
  );
}
