import * as tf from '@tensorflow/tfjs';

/** Frames and mel filters of one second. */
export const [FRAMES, MELS] = [98, 40];
/** Frames a second. */
export const FRAME_RATE = 100;

/** Frames with one byte for each value, which a small file holds. */
export function bytesOf(frames: tf.Tensor2D): Uint8Array {
  return tf.tidy(() => Uint8Array.from(tf.clipByValue(tf.round(tf.mul(tf.add(frames, 1.2), 80)), 0, 255).dataSync()));
}

/** The frames in a file of bytes. */
export function framesFrom(bytes: Uint8Array): tf.Tensor2D {
  return tf.tidy(() => tf.sub(tf.div(tf.tensor2d(bytes, [bytes.length / MELS, MELS], 'float32'), 80), 1.2));
}

/** Filters of each convolution, and values of the embedding. */
const [FILTERS, EMBEDDING] = [[16, 40, 64, 96], 96];

/**
 * A convolutional network for words: four convolutions, and an embedding. To train one from scratch, all convolutions
 * but the first are followed by a batch normalization, and the embedding by a classifier of the words.
 */
export function newBase(toTrain?: {words: number; seed: number}): tf.Sequential {
  const model = tf.sequential();
  const seeded = (i: number) => tf.initializers.heNormal({seed: 100 * (toTrain?.seed ?? 0) + i});
  FILTERS.forEach((filters, i) => {
    const isNormalized = toTrain !== undefined && i > 0;
    model.add(
      tf.layers.conv2d({
        ...{filters, kernelSize: 3, strides: 2, name: `conv${i + 1}`, kernelInitializer: seeded(i)},
        padding: i < 3 ? 'same' : 'valid',
        activation: isNormalized ? 'linear' : 'relu',
        ...(i === 0 && {inputShape: [FRAMES, MELS, 1]}),
      }),
    );
    if (isNormalized) {
      model.add(tf.layers.batchNormalization({name: `norm${i + 1}`}));
      model.add(tf.layers.reLU());
    }
  });
  model.add(tf.layers.flatten({name: 'flat'}));
  const [units, kernelInitializer] = [EMBEDDING, seeded(FILTERS.length)];
  model.add(tf.layers.dense({units, activation: 'relu', name: 'embedding', kernelInitializer}));
  if (toTrain) {
    const last = seeded(FILTERS.length + 1);
    model.add(tf.layers.dense({units: toTrain.words, activation: 'softmax', name: 'words', kernelInitializer: last}));
  }
  return model;
}
