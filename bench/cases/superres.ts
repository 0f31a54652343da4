import {readFile} from 'node:fs/promises';
import * as tf from '@tensorflow/tfjs';
import type {BenchCase} from './case';
import {layerNames} from './tools';

const BATCH = 8;
const SIZE = 32;

/** The package's `exports` hide the files of the model. */
const FOLDER = new URL('../../node_modules/@upscalerjs/default-model/models/', import.meta.url);

export const superres: BenchCase = {
  title:
    `super-resolution: 2× upscaler of @upscalerjs/default-model, batch ${BATCH} of ${SIZE} px, rank 8 on every ` +
    'convolution',
  loss: 'meanSquaredError',
  build: async () => {
    const json = JSON.parse(await readFile(new URL('model.json', FOLDER), 'utf8')) as tf.io.ModelJSON;
    const files = json.weightsManifest.flatMap(group => group.paths);
    const shards = await Promise.all(files.map(path => readFile(new URL(path, FOLDER))));
    return tf.loadLayersModel(
      tf.io.fromMemory({
        modelTopology: json.modelTopology,
        weightSpecs: json.weightsManifest.flatMap(group => group.weights),
        weightData: Uint8Array.from(Buffer.concat(shards)).buffer,
      }),
    );
  },
  batch: () => ({
    xs: tf.randomUniform([BATCH, SIZE, SIZE, 3], 0, 255),
    ys: tf.randomUniform([BATCH, 2 * SIZE, 2 * SIZE, 3], 0, 255),
  }),
  targets: model => ({
    rank: 8,
    targets: layerNames(model, 'Conv2D'),
    // These have no more output channels.
    overrides: [
      {targets: ['F_1_1', 'F_2_1'], rank: 4},
      {targets: ['SR'], rank: 3},
    ],
  }),
};
