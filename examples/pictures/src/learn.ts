import * as tf from '@tensorflow/tfjs';
import {adam, applyLoRA, disposeModel, fitOnFeatures, type LoRAConfig, replaceHead} from 'tfjs-lora';
import {augment} from './augment';

/** Pictures of each class, as many of one as of another. */
export interface Pictures {
  /** `[n, SIZE, SIZE, 3]`, values from 0 to 1. */
  images: tf.Tensor4D;
  /** One-hot: `[n, classes]`. */
  labels: tf.Tensor2D;
}

/** LoRA stops when the mean loss of an epoch is below this. */
const LEARNED = 0.01;

/** What trains beside the new head: nothing, or low-rank updates of the last five blocks. */
export const WAYS = {
  'head alone': {targets: 'head'},
  // By the names that Keras gave them, and by those of a graph, `…/expanded_conv_16/expand/Relu6`.
  LoRA: {rank: 8, targets: [/(block|expanded_conv)_1[2-6][_/](expand|project)(\/|$)/, /(^|\/)Conv_1(\/|$)/]},
} satisfies Record<string, LoRAConfig>;

export type Way = keyof typeof WAYS;

/** How long, and how hard. */
export interface Settings {
  /** How many the head trains for. LoRA goes on from there for at most as many, until it has learned the pictures. */
  epochs: number;
  /** Altered copies of each picture. */
  copies: number;
  /** Of the initial values and the copies. Default: 1. */
  seed?: number;
  /** Ends training after the present step. Before the first epoch is over, the call rejects. */
  signal?: AbortSignal;
  /** Called with the share that is done, from 0 to 1. */
  onProgress?: (share: number) => void;
}

/** The base with a head for new classes in place of its own. */
export function withNewHead(base: tf.LayersModel, classes: number, seed = 1): tf.LayersModel {
  const kernelInitializer = tf.initializers.glorotUniform({seed});
  return replaceHead(base, [
    tf.layers.dense({units: classes, activation: 'softmax', name: 'classes', kernelInitializer}),
  ]);
}

/**
 * The base with a new head, trained on some pictures. None are held out to choose an epoch by: of so few, they would
 * choose by chance.
 */
export async function learn(
  base: tf.LayersModel,
  train: Pictures,
  way: Way,
  {epochs, copies, seed = 1, signal, onProgress}: Settings,
): Promise<tf.LayersModel> {
  const headed = withNewHead(base, train.labels.shape[1], seed);
  const model = applyLoRA(headed, {...WAYS[way], seed});
  disposeModel(headed); // the adapted model shares what both need

  const images = augment(train.images, copies, seed);
  const labels = tf.tile(train.labels, [copies + 1, 1]);
  const isLoRA = way === 'LoRA';
  let epochsDone = 0;
  model.compile({
    optimizer: adam({learningRate: isLoRA ? 1e-3 : 3e-3}),
    loss: 'categoricalCrossentropy',
    metrics: ['accuracy'],
  });
  try {
    // What lies before the first update gives the same in every epoch, so it runs once.
    await fitOnFeatures(model, images, labels, {
      epochs,
      batchSize: 8,
      verbose: 0,
      headFirst: isLoRA && {epochs},
      ...(signal && {signal}),
      onProgress: ({done, total, what}) =>
        onProgress?.(what === 'training the head' ? 0.6 + (0.1 * done) / total : (0.6 * done) / total),
      callbacks: [
        new tf.CustomCallback({
          onEpochEnd: (_, logs) => {
            onProgress?.(0.7 + (0.3 * ++epochsDone) / epochs);
            model.stopTraining = isLoRA && Number(logs?.loss) < LEARNED;
          },
        }),
      ],
    });
  } catch (error) {
    if (epochsDone === 0 || signal?.aborted !== true) {
      disposeModel(model);
      throw error;
    }
  } finally {
    tf.dispose([images, labels]);
  }
  return model;
}

/** Of each picture the chance of each class, one at a time so that a page can draw in between. */
export async function chancesOf(model: tf.LayersModel | tf.GraphModel, images: tf.Tensor4D): Promise<number[][]> {
  const rows: number[][] = [];
  for (let i = 0; i < images.shape[0]; i++) {
    const chances = tf.tidy(() => model.predict(tf.slice(images, i, 1)) as tf.Tensor);
    rows.push([...(await chances.data())]);
    chances.dispose();
    await tf.nextFrame();
  }
  return rows;
}

/** How many pictures are put into their class. */
export async function rightOf(model: tf.LayersModel, {images, labels}: Pictures): Promise<number> {
  const [chances, targets] = [await chancesOf(model, images), await labels.array()];
  const best = (row: number[]) => row.indexOf(Math.max(...row));
  return chances.filter((row, i) => best(row) === best(targets[i]!)).length;
}
