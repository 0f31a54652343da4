import * as tf from '@tensorflow/tfjs';
import {adam, applyLoRA, compileModel, disposeModel, learningRateSchedule, type LoRAConfig} from 'tfjs-lora';
import {exportTransformer, loadTransformer, type StreamSource} from 'tfjs-lora/transformers';
import {type Split, splitAtFirstAdapter} from '../../src/core/model/split';
import {shuffled} from '../shared/random';
import {heard, type OnStep, tellSteps} from '../shared/steps';

/** What trains in addition to the new head: nothing, LoRA in the last blocks, or all their weights. */
export type Way = 'probe' | 'lora' | 'full';

/** The learning rates and epochs, the best of a few on another choice of drawings. */
export const SETTINGS: Record<Way, {rate: number; epochs: number}> = {
  probe: {rate: 3e-3, epochs: 40},
  lora: {rate: 3e-4, epochs: 8},
  full: {rate: 1e-4, epochs: 4},
};

/** The batch sizes of training and prediction. */
const [BATCH, LOOKED_AT] = [8, 10];

/** Rows and columns of patches in an image. The model was trained with 37, and fewer cost less. */
const PATCHES = 8;

/** The input of the head: the base's features of an image. */
const VIEW = 'classifier/input';

/** The files of a model of the hub. */
export interface BaseFiles {
  config: {patch_size: number};
  /** The published preprocessing. */
  preprocessor: Record<string, unknown>;
  weights: StreamSource;
}

/** Width and height of the model's input, in pixels. */
export function edgeOf({config}: BaseFiles): number {
  return PATCHES * config.patch_size;
}

/** The preprocessing here: small images, not cropped. */
function preprocessorOf(files: BaseFiles): Record<string, unknown> {
  const edge = edgeOf(files);
  return {...files.preprocessor, size: {height: edge, width: edge}, do_center_crop: false};
}

/** A base with a new head for some number of classes, initialized with zeros. */
export async function openBase(files: BaseFiles, labels: number): Promise<tf.LayersModel> {
  const {model: base} = await loadTransformer({...files, preprocessor: preprocessorOf(files), labels});
  const head = base.getLayer('classifier');
  tf.tidy(() => head.setWeights(head.getWeights().map(weight => tf.zerosLike(weight))));
  return base;
}

function blockOf(name: string): number {
  return Number(/encoder\/layer\/(\d+)\//.exec(name)?.[1] ?? -1);
}

/** The first block that trains: the last third of them do. */
function firstBlock({layers}: tf.LayersModel): number {
  const blocks = 1 + Math.max(...layers.map(({name}) => blockOf(name)));
  return Math.floor((2 * blocks) / 3);
}

/** What trains in a base, as a config for `applyLoRA`. */
export function configOf(base: tf.LayersModel, way: Way, seed: number): LoRAConfig {
  const first = firstBlock(base);
  const late = base.layers.filter(({name, weights}) => weights.length > 0 && blockOf(name) >= first);
  const namesOf = (chosen: tf.layers.Layer[]) => chosen.map(({name}) => name);
  const none: LoRAConfig = {targets: 'head'};
  switch (way) {
    case 'probe':
      return {...none, trainInFull: ['classifier']};
    case 'lora':
      return {
        rank: 8,
        alpha: 16,
        seed,
        targets: namesOf(late.filter(layer => layer.getClassName() === 'Dense')),
        trainInFull: ['classifier'],
      };
    case 'full':
      return {...none, trainInFull: [...namesOf(late), /(^|\/)layernorm$/, 'classifier']};
  }
}

/** The features of images that never change during training, by the names of layers. `[n, …]` each. */
export type Seen = Readonly<Record<string, tf.Tensor>>;

/**
 * What a base computes of pictures before anything trains, in any of the ways. It is the same in every epoch, and so it
 * is computed once.
 */
export async function see(
  base: tf.LayersModel,
  pixels: tf.Tensor4D,
  onProgress?: (done: number, total: number) => void,
): Promise<Seen> {
  const first = firstBlock(base);
  const {name} = base.layers.find(layer => blockOf(layer.name) === first)!;
  const names = [name, name.replace(/\/\d+\/.*/, `/${first - 1}/mlp/sum`), VIEW];
  const outputs = names.map(each => base.getLayer(each).output as tf.SymbolicTensor);
  const eye = tf.model({inputs: base.inputs, outputs});
  const count = pixels.shape[0];
  const parts: tf.Tensor[][] = [];
  for (let i = 0; i < count; i += LOOKED_AT) {
    const size = Math.min(LOOKED_AT, count - i);
    parts.push(tf.tidy(() => eye.predictOnBatch(tf.slice(pixels, i, size)) as tf.Tensor[]));
    onProgress?.(i + size, count);
    await heard();
  }
  const seen = Object.fromEntries(names.map((each, i) => [each, tf.concat(parts.map(part => part[i]!))]));
  tf.dispose(parts);
  return seen;
}

/** The features of some of the images, in another order. */
export function rowsOf(seen: Seen, rows: readonly number[]): Seen {
  const indices = tf.tensor1d([...rows], 'int32');
  const found = Object.entries(seen).map(([name, values]) => [name, tf.gather(values, indices)] as const);
  indices.dispose();
  return Object.fromEntries(found);
}

/** Concatenates features. */
export function joined(parts: readonly Seen[]): Seen {
  const names = Object.keys(parts[0]!);
  return Object.fromEntries(names.map(name => [name, tf.concat(parts.map(part => part[name]!))]));
}

/** The inputs of the part of a model that trains. */
function inputsOf({prefix}: Split, seen: Seen): tf.Tensor[] {
  return prefix.outputs.map(({sourceLayer}) => seen[sourceLayer.name]!);
}

/** The length of a training, and its callback. */
export interface Course {
  rate: number;
  epochs: number;
  seed: number;
  onStep?: OnStep;
}

/** Trains an adapted model on features. Their order depends only on the seed. */
export async function learn(
  model: tf.LayersModel,
  seen: Seen,
  labels: readonly number[],
  {rate, epochs, seed, onStep}: Course,
): Promise<void> {
  const split = splitAtFirstAdapter(model);
  const order = shuffled(
    labels.map((_, i) => i),
    seed,
  );
  const xs = tf.tidy(() => inputsOf(split, seen).map(each => tf.gather(each, tf.tensor1d(order, 'int32'))));
  const ys = tf.tensor1d(order.map(i => labels[i]!));
  const optimizer = adam({learningRate: rate});
  const {suffix} = split;
  const steps = epochs * Math.ceil(labels.length / BATCH);
  compileModel(suffix, {optimizer});
  try {
    await suffix.fit(xs, ys, {
      epochs,
      batchSize: BATCH,
      shuffle: false,
      verbose: 0,
      yieldEvery: 'never',
      callbacks: [learningRateSchedule({warmup: 0.1}), tellSteps(suffix, steps, onStep)],
    });
  } finally {
    tf.dispose([xs, ys]);
    optimizer.dispose();
  }
}

/**
 * Gives an adapted model the head that its base learns by itself, so that what lies before it does not follow a head
 * which knows nothing yet.
 */
export async function learnHead(
  base: tf.LayersModel,
  model: tf.LayersModel,
  seen: Seen,
  labels: readonly number[],
  seed: number,
): Promise<void> {
  const probe = applyLoRA(base, configOf(base, 'probe', seed));
  try {
    await learn(probe, seen, labels, {...SETTINGS.probe, seed});
    const [head, own] = [probe, model].map(each => each.getLayer('classifier')) as [tf.layers.Layer, tf.layers.Layer];
    own.setWeights(head.getWeights());
  } finally {
    disposeModel(probe);
  }
}

/**
 * Divides the logits of a trained model by a temperature, so that its probabilities are as certain as held-out images
 * justify. The head's weights change, and no prediction does.
 *
 * @returns the temperature.
 */
export function calibrate(model: tf.LayersModel, seen: Seen, labels: readonly number[]): number {
  const split = splitAtFirstAdapter(model);
  const logits = tf.tidy(() => (split.suffix.predict(inputsOf(split, seen)) as tf.Tensor2D).arraySync());
  const temperature = temperatureOf(logits, labels);
  const head = model.getLayer('classifier');
  tf.tidy(() => head.setWeights(head.getWeights().map(weight => tf.div(weight, temperature))));
  return temperature;
}

/**
 * The temperature, from 0.1 to 100, at which the probabilities fit labels best (Guo et al., 2017, arXiv 1706.04599). As
 * in Platt's method, the target for the true class is (n + 1) / (n + 2): n images are too few to prove certainty, even
 * if all of them are classified correctly.
 *
 * @param logits `[n, classes]`.
 */
export function temperatureOf(logits: readonly (readonly number[])[], labels: readonly number[]): number {
  const target = (labels.length + 1) / (labels.length + 2);
  const loss = (temperature: number) =>
    logits.reduce((sum, row, i) => {
      const scaled = row.map(value => value / temperature);
      const largest = Math.max(...scaled);
      const logSum = largest + Math.log(scaled.reduce((total, value) => total + Math.exp(value - largest), 0));
      const other = (1 - target) / (row.length - 1);
      return sum + scaled.reduce((part, z, k) => part + (k === labels[i] ? target : other) * (logSum - z), 0);
    }, 0);
  // The loss is convex in 1 / temperature, so it has one minimum.
  let [low, high] = [Math.log(0.1), Math.log(100)];
  for (let round = 0; round < 60; round++) {
    const third = (high - low) / 3;
    if (loss(Math.exp(low + third)) < loss(Math.exp(high - third))) {
      high -= third;
    } else {
      low += third;
    }
  }
  return Math.exp((low + high) / 2);
}

/** A class, and how likely it is. */
export interface Guess {
  label: number;
  chance: number;
}

/** The most likely class of each image, by an adapted model and features. */
export function guesses(model: tf.LayersModel, seen: Seen): Guess[] {
  const split = splitAtFirstAdapter(model);
  return likeliest(() => split.suffix.predict(inputsOf(split, seen), {batchSize: LOOKED_AT}) as tf.Tensor);
}

/** The most likely class of each image, by logits `[n, classes]`. */
export function likeliest(logits: () => tf.Tensor): Guess[] {
  const chances = tf.tidy(() => tf.softmax(logits()).arraySync() as number[][]);
  return chances.map(each => {
    const chance = Math.max(...each);
    return {label: each.indexOf(chance), chance};
  });
}

/**
 * What can be said without any training: the mean of what the base sees in the pictures of a class lies in some
 * direction, and that of the class which a picture gets is the nearest one.
 *
 * @param labels the classes of the pictures that were seen, all from 0 to the largest.
 */
export function nearestClasses(seen: Seen, labels: readonly number[], others: Seen): number[] {
  return tf.tidy(() => {
    const unit = (x: tf.Tensor) => tf.div(x, tf.norm(x, 2, 1, true));
    const classes = tf.cast(tf.oneHot(tf.tensor1d([...labels], 'int32'), Math.max(...labels) + 1), 'float32');
    const sums = tf.matMul(classes, unit(seen[VIEW]!), true);
    return [...tf.argMax(tf.matMul(unit(others[VIEW]!), unit(sums), false, true), 1).dataSync()];
  });
}

/** The merged model as files for transformers and `loadTransformer`. */
export async function hubFiles(
  model: tf.LayersModel,
  files: BaseFiles,
  classes: readonly string[],
): Promise<Record<string, string | Uint8Array<ArrayBuffer>>> {
  const {config, weights} = await exportTransformer(model, {dtype: 'float16'});
  const named = {
    ...(JSON.parse(config) as object),
    id2label: Object.fromEntries(classes.entries()),
    label2id: Object.fromEntries(classes.map((name, i) => [name, i])),
  };
  return {
    'config.json': JSON.stringify(named, null, 2),
    'preprocessor_config.json': JSON.stringify(preprocessorOf(files), null, 2),
    'model.safetensors': weights,
  };
}
