import * as tf from '@tensorflow/tfjs';
import {
  adam,
  applyLoRA,
  bestAdapter,
  disposeModel,
  fitOnFeatures,
  learningRateSchedule,
  type LoRAConfig,
  replaceHead,
} from 'tfjs-lora';
import {augment} from './augment';

/** Pictures of each class, as many of one as of another. */
export interface Pictures {
  /** `[n, SIZE, SIZE, 3]`, values from 0 to 1. */
  images: tf.Tensor4D;
  /** One-hot: `[n, classes]`. */
  labels: tf.Tensor2D;
}

/** What trains beside the new head: nothing, or low-rank updates of the last convolutions. */
export const WAYS = {
  'head alone': {exclude: [() => true]},
  // By the names that Keras gave them, and by those of a graph, `…/expanded_conv_16/expand/Relu6`.
  LoRA: {rank: 4, targets: [/(block|expanded_conv)_16[_/](expand|project)(\/|$)/, /(^|\/)Conv_1(\/|$)/], seed: 1},
} satisfies Record<string, LoRAConfig>;

export type Way = keyof typeof WAYS;

/** How long, and how hard. */
export interface Settings {
  /** At most; the best one counts, and after three without a better one it is over. */
  epochs: number;
  /** Altered copies of each picture. */
  copies: number;
  /** Ends training. The best epoch until then counts; before the first step, the call rejects. */
  signal?: AbortSignal;
  /** Called with the share that is done, from 0 to 1. */
  onProgress?: (share: number) => void;
}

/** The base with a head for new classes in place of its own. */
export function withNewHead(base: tf.LayersModel, classes: number): tf.LayersModel {
  const kernelInitializer = tf.initializers.glorotUniform({seed: 1});
  return replaceHead(base, [
    tf.layers.dense({units: classes, activation: 'softmax', name: 'classes', kernelInitializer}),
  ]);
}

/** The base with a new head, trained on some pictures. Others say in which epoch it was best. */
export async function learn(
  base: tf.LayersModel,
  train: Pictures,
  validation: Pictures,
  way: Way,
  {epochs, copies, signal, onProgress}: Settings,
): Promise<tf.LayersModel> {
  const headed = withNewHead(base, train.labels.shape[1]);
  const model = applyLoRA(headed, WAYS[way]);
  disposeModel(headed); // the adapted model shares what both need

  // Shuffled, and behind them those that do not train: fit takes the last ones for validation.
  const {images, labels} = tf.tidy(() => {
    const count = train.labels.shape[0] * (copies + 1);
    const order = tf.topk(tf.randomUniform([count], 0, 1, 'float32', 1), count).indices; // the same each time
    const trained = tf.gather(augment(train.images, copies, 1), order);
    const targets = tf.gather(tf.tile(train.labels, [copies + 1, 1]), order);
    return {
      images: tf.concat<tf.Tensor4D>([trained, validation.images]),
      labels: tf.concat<tf.Tensor2D>([targets, validation.labels]),
    };
  });
  let epochsDone = 0;
  const optimizer = adam({learningRate: way === 'LoRA' ? 1e-3 : 3e-3});
  model.compile({optimizer, loss: 'categoricalCrossentropy', metrics: ['accuracy']});
  try {
    // What lies before the first update gives the same in every epoch, so it runs once.
    await fitOnFeatures(model, images, labels, {
      epochs,
      batchSize: 8,
      verbose: 0,
      ...(signal && {signal}),
      validationSplit: validation.labels.shape[0] / labels.shape[0],
      onProgress: ({done, total}) => onProgress?.((0.7 * done) / total),
      callbacks: [
        learningRateSchedule({warmup: 0.1}),
        bestAdapter({patience: 3}),
        new tf.CustomCallback({
          onEpochEnd: () => onProgress?.(0.7 + (0.3 * ++epochsDone) / epochs),
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
    optimizer.dispose();
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

/** The share of pictures that are put into their class. */
export async function accuracyOf(model: tf.LayersModel, {images, labels}: Pictures): Promise<number> {
  const [chances, targets] = [await chancesOf(model, images), await labels.array()];
  const best = (row: number[]) => row.indexOf(Math.max(...row));
  return chances.filter((row, i) => best(row) === best(targets[i]!)).length / chances.length;
}
