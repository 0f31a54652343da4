import * as tf from '@tensorflow/tfjs';
import {adam} from 'tfjs-lora';
import {type Examples, LENGTH, READ, SIGNS} from './data';
import {CausalSelfAttention, Positions} from './layers';

const WIDTH = 32;
const SEED = 5;

/**
 * A transformer with one block that predicts the next character at each position:
 * `[n, READ] → [n, READ, characters]`.
 */
export function buildWriter(): tf.LayersModel {
  const {layers} = tf;
  let seed = SEED;
  const dense = (units: number, name: string, activation: 'relu' | 'softmax' | 'linear') =>
    layers.dense({units, name, activation, kernelInitializer: tf.initializers.glorotUniform({seed: ++seed})});
  const on = (layer: tf.layers.Layer, ...inputs: tf.SymbolicTensor[]) =>
    layer.apply(inputs.length === 1 ? inputs[0]! : inputs) as tf.SymbolicTensor;

  const text = tf.input({shape: [READ], name: 'text'});
  const start = tf.initializers.randomNormal({stddev: 0.5, seed: SEED});
  const tokens = layers.embedding({
    inputDim: SIGNS.length,
    outputDim: WIDTH,
    embeddingsInitializer: start,
    name: 'tokens',
  });
  const x = on(new Positions({seed: SEED + 1, name: 'positions'}), on(tokens, text));

  const attention = new CausalSelfAttention({heads: 2, seed: SEED + 2, name: 'attention'});
  const seen = on(attention, on(layers.layerNormalization({name: 'norm_1'}), x));
  const y = on(layers.add({name: 'residual_1'}), x, seen);

  const hidden = on(dense(2 * WIDTH, 'expand', 'relu'), on(layers.layerNormalization({name: 'norm_2'}), y));
  const z = on(layers.add({name: 'residual_2'}), y, on(dense(WIDTH, 'contract', 'linear'), hidden));

  const next = on(dense(SIGNS.length, 'next', 'softmax'), on(layers.layerNormalization({name: 'norm_3'}), z));
  return tf.model({inputs: text, outputs: next, name: 'writer'});
}

/** Trains a model on examples, in order. */
export async function fit(
  model: tf.LayersModel,
  {texts, answers}: Examples,
  options: {epochs: number; learningRate: number; callbacks?: tf.Callback},
): Promise<void> {
  const {epochs, learningRate, callbacks} = options;
  model.compile({optimizer: adam({learningRate}), loss: 'categoricalCrossentropy'});
  await model.fit(texts, answers, {
    epochs,
    batchSize: BATCH,
    shuffle: false,
    verbose: 0,
    ...(callbacks && {callbacks}),
  });
}

/** Examples in a step. */
export const BATCH = 64;

/** The quality of a model's answers. */
export interface Score {
  /** Cross-entropy of a letter of the answer, in nats; ln 12 = 2.48 for a guess. */
  loss: number;
  /** The share of letters that are correct. */
  accuracy: number;
}

/** Evaluates a model on examples. */
export function score(model: tf.LayersModel, {texts, answers}: Examples): Score {
  const [loss, accuracy] = tf.tidy(() => {
    const from = (all: tf.Tensor) => tf.slice(all, [0, LENGTH, 0]); // the places where the answer is written
    const [chances, right] = [from(model.predict(texts, {batchSize: 256}) as tf.Tensor), from(answers)];
    const likelihood = tf.sum(tf.mul(chances, right), 2);
    const hits = tf.equal(tf.argMax(chances, 2), tf.argMax(right, 2));
    return tf.stack([tf.neg(tf.mean(tf.log(likelihood))), tf.mean(tf.cast(hits, 'float32'))]).dataSync();
  });
  return {loss: loss!, accuracy: accuracy!};
}
