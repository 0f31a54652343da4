import * as tf from '@tensorflow/tfjs';
import {compileModel} from 'tfjs-lora';
import {fromGraphModel} from 'tfjs-lora/graph';
import {encodeImages} from 'tfjs-lora/images';
import {baseFiles} from '../vision/files';
import {edgeOf, openBase} from '../vision/learn';
import {loadGraph} from './graphBase';
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
  encode: (pictures: readonly Picture[]) => Promise<tf.Tensor4D>;
  /** Classes as the loss takes them. */
  labels: (pictures: readonly Picture[]) => tf.Tensor;
  /** Compiles the model, or a piece of it that ends with the head. */
  compile: (model: tf.LayersModel, optimizer: tf.Optimizer) => void;
  /** What LoRA adapts from a block to the last one. */
  targets: (firstBlock: number) => {targets: (string | RegExp)[]; trainInFull?: string[]};
}

/** Base → what opens it with a new head for some number of classes. */
export const BASES: Readonly<Record<string, (classes: number) => Promise<Base>>> = {
  MobileNetV2: async classes => openMobileNet(await loadBase(), classes),
  'MobileNetV2 1.4, a GraphModel': openGraph,
  DINOv2: openDino,
};

async function openGraph(classes: number): Promise<Base> {
  const graph = await loadGraph();
  const base = await fromGraphModel(graph);
  graph.dispose();
  return openMobileNet(base, classes);
}

function openMobileNet(base: tf.LayersModel, classes: number): Base {
  const [model, head, lastBlock] = [withNewHead(base, classes), 'classes', 16];
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
      const images = tf.tidy(() =>
        tf.div<tf.Tensor4D>(tf.stack(pixels.map(values => tf.tensor3d(values, [SIZE, SIZE, 3]))), 255),
      );
      return Promise.resolve(images);
    },
    labels: pictures => tf.tidy(() => tf.cast(tf.oneHot(labelsOf(pictures), classes), 'float32')),
    compile: (model, optimizer) => model.compile({optimizer, loss: 'categoricalCrossentropy'}),
    targets: firstBlock => {
      const blocks = Array.from({length: lastBlock + 1 - firstBlock}, (_, i) => firstBlock + i);
      const inBlocks = new RegExp(`(block|expanded_conv)_(${blocks.join('|')})[_/](expand|project)(/|$)`);
      return {targets: [inBlocks, /(^|\/)Conv_1(\/|$)/]};
    },
  };
}

async function openDino(classes: number): Promise<Base> {
  const files = await baseFiles();
  const [model, head, lastBlock, edge] = [await openBase(files, classes), 'classifier', 11, edgeOf(files)];
  return {
    model,
    head,
    freshHead: () =>
      model
        .getLayer(head)
        .getWeights()
        .map(weight => tf.zerosLike(weight)),
    encode: pictures => {
      const images = pictures.map(picture => ({
        data: Uint8Array.from(picture.pixels(edge)),
        width: edge,
        height: edge,
      }));
      return encodeImages(model, images);
    },
    labels: pictures => tf.cast(labelsOf(pictures), 'float32'),
    compile: (suffix, optimizer) => compileModel(suffix, {optimizer}),
    targets: firstBlock => {
      const blocks = Array.from({length: lastBlock + 1 - firstBlock}, (_, i) => firstBlock + i);
      return {targets: [new RegExp(`encoder/layer/(${blocks.join('|')})/`)], trainInFull: [head]};
    },
  };
}

function labelsOf(pictures: readonly Picture[]): tf.Tensor1D {
  return tf.tensor1d(
    pictures.map(({label}) => label),
    'int32',
  );
}
