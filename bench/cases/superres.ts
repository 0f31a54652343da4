import * as tf from '@tensorflow/tfjs';
import type {BenchCase} from './case';
import {layerNames} from './tools';

const BATCH = 8;
const SIZE = 32;

/** The case, with a model whose files are brought by name. */
export function superresFrom(bring: (file: string) => Promise<Uint8Array<ArrayBuffer>>): BenchCase {
  return {
    title: (examples = BATCH) =>
      `super-resolution: 2× upscaler of @upscalerjs/default-model, batch ${examples} of ${SIZE} px, rank 8 on every ` +
      'convolution',
    loss: 'meanSquaredError',
    build: async () => {
      const json = JSON.parse(new TextDecoder().decode(await bring('model.json'))) as tf.io.ModelJSON;
      const files = json.weightsManifest.flatMap(group => group.paths);
      const shards = await Promise.all(files.map(bring));
      return tf.loadLayersModel(
        tf.io.fromMemory({
          modelTopology: json.modelTopology,
          weightSpecs: json.weightsManifest.flatMap(group => group.weights),
          weightData: await new Blob(shards).arrayBuffer(),
        }),
      );
    },
    batch: (examples = BATCH) => ({
      xs: tf.randomUniform([examples, SIZE, SIZE, 3], 0, 255),
      ys: tf.randomUniform([examples, 2 * SIZE, 2 * SIZE, 3], 0, 255),
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
}
