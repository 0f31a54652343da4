import * as tf from '@tensorflow/tfjs';
import {
  adam,
  applyLoRA,
  disposeModel,
  fitOnFeatures,
  learningRateSchedule,
  type LoRAConfig,
  trainableVariables,
} from 'tfjs-lora';
import {fromONNX} from 'tfjs-lora/onnx';
import {shuffled} from '../shared/random';
import {type OnStep, tellSteps} from '../shared/steps';
import {HEIGHT, type Line, upsideDown, valuesOf, WIDTH} from './lines';

/** What trains: the last layer, LoRA in the convolutions and the last layer, or all kernels. */
export type Way = 'head' | 'lora' | 'full';

/** Learning rates and epochs, chosen on other lines. */
export const SETTINGS: Readonly<Record<Way, {rate: number; epochs: number}>> = {
  head: {rate: 1e-2, epochs: 40},
  lora: {rate: 5e-3, epochs: 10},
  full: {rate: 3e-3, epochs: 10},
};

/** The batch sizes of training and prediction. */
const [BATCH, LOOKED_AT] = [16, 20];

/** The first convolution that LoRA adapts, of 53. What is before it runs once for each line. */
const FIRST = 5;

/** Loads the classifier. In the file, the height and width of its input are open. */
export function openBase(file: Uint8Array): Promise<tf.LayersModel> {
  return fromONNX(file, {inputShapes: {x: [3, HEIGHT, WIDTH]}});
}

function configOf({layers}: tf.LayersModel, way: Way, seed: number): LoRAConfig {
  const convolution = (name: string) => Number(/Conv\.(\d+)$/.exec(name)?.[1] ?? -1);
  const head = layers.filter(layer => layer.getClassName() === 'Dense').map(({name}) => name);
  switch (way) {
    case 'head':
      return {targets: 'head', trainInFull: head};
    case 'lora': {
      const late = layers.filter(layer => layer.getClassName() === 'Conv2D' && convolution(layer.name) >= FIRST);
      return {rank: 8, alpha: 16, seed, targets: late.map(({name}) => name), trainInFull: head};
    }
    case 'full': {
      // So few lines would spoil the statistics of normalizations.
      const all = layers.filter(({weights}) => weights.length > 0);
      const kernels = all.filter(layer => layer.getClassName() !== 'BatchNormalization');
      return {targets: 'head', trainInFull: kernels.map(({name}) => name)};
    }
  }
}

/** Lines as images, and the classes of the file: 0 if it is as it was written, 1 if it is turned. */
interface Examples {
  images: tf.Tensor4D;
  labels: tf.Tensor2D;
}

/** Each line as it was written and turned, in an order that depends only on the seed. */
function examplesOf(lines: readonly Line[], turn: (line: Line) => Line, seed: number): Examples {
  const both = lines.flatMap(line => [
    {line, label: [1, 0]},
    {line: turn(line), label: [0, 1]},
  ]);
  const order = shuffled(both, seed);
  return {images: imagesOf(order.map(({line}) => line)), labels: tf.tensor2d(order.map(({label}) => label))};
}

function imagesOf(lines: readonly Line[]): tf.Tensor4D {
  return tf.tensor4d(valuesOf(lines), [lines.length, 3, HEIGHT, WIDTH]);
}

/** The length of a training, and its callback. */
export interface Course {
  epochs: number;
  seed: number;
  /** What makes a line of the second class from one of the first. Default: `upsideDown`. */
  turn?: (line: Line) => Line;
  onStep?: OnStep;
}

/** Adapts a base and trains it on lines, each of them as it was written and turned. */
export async function learn(
  base: tf.LayersModel,
  lines: readonly Line[],
  way: Way,
  {epochs, seed, turn = upsideDown, onStep}: Course,
): Promise<tf.LayersModel> {
  const model = applyLoRA(base, configOf(base, way, seed));
  model.compile({optimizer: adam({learningRate: SETTINGS[way].rate}), loss: 'categoricalCrossentropy'});
  const {images, labels} = examplesOf(lines, turn, seed);
  const steps = epochs * Math.ceil(images.shape[0] / BATCH);
  const args = {
    epochs,
    batchSize: BATCH,
    shuffle: false,
    verbose: 0 as const,
    yieldEvery: 'never' as const,
    callbacks: [learningRateSchedule({warmup: 0.1}), tellSteps(model, steps, onStep)],
  };
  try {
    await (way === 'full' ? model.fit(images, labels, args) : fitOnFeatures(model, images, labels, args));
    return model;
  } catch (error) {
    disposeModel(model);
    throw error;
  } finally {
    tf.dispose([images, labels]);
  }
}

export function parametersOf(model: tf.LayersModel): number {
  return trainableVariables(model).reduce((sum, {size}) => sum + size, 0);
}

/** The probability that each line is turned. */
export async function chancesOf(model: tf.LayersModel, lines: readonly Line[]): Promise<number[]> {
  const chances: number[] = [];
  for (let from = 0; from < lines.length; from += LOOKED_AT) {
    const images = imagesOf(lines.slice(from, from + LOOKED_AT));
    const outputs = tf.tidy(() => model.predictOnBatch(images) as tf.Tensor2D);
    chances.push(...(await outputs.array()).map(([, chance]) => chance!));
    tf.dispose([images, outputs]);
  }
  return chances;
}

/** The share of lines whose class is found. */
export function shareRight(chances: readonly number[], isTurned: readonly boolean[]): number {
  return chances.filter((chance, i) => chance > 0.5 === isTurned[i]).length / chances.length;
}
