import * as tf from '@tensorflow/tfjs';
import {adam, applyLoRA, disposeModel, fitOnFeatures, learningRateSchedule, type LoRAConfig} from 'tfjs-lora';
import {fromGraphModel} from 'tfjs-lora/graph';
import {augmentLandmarks, landmarkLoss, normalizedMeanError} from 'tfjs-lora/landmarks';
import {shuffled} from '../shared/random';
import {heard, type OnStep, tellSteps} from '../shared/steps';
import type {Frames} from './data';

/** Where the graph is cut. The part before the cut runs once for each image, the part after it trains. */
export const CUT = 'model_1/model/add_4/ArithmeticOptimizer/AddOpsRewrite_add';
/** The outputs that are trained: the landmarks, three values each, and the probability of a hand. */
export const OUTPUTS = {landmarks: 'Identity', presence: 'Identity_1'};

/** Depth is ignored, because nobody can see it in a frame. */
const LAYOUT = {points: 21, dimensions: 2} as const;

/** What trains after the cut: the last layer, LoRA on every layer, or every weight. */
export type Method = 'probe' | 'lora' | 'full';

/** The weight of the loss of the hand's presence, relative to that of the landmarks. */
const PRESENCE_WEIGHT = 0.05;

/** The learning rates, the best of a few. */
const RATES: Record<Method, number> = {probe: 3e-3, lora: 3e-3, full: 1e-3};

/** A graph in two parts. */
export interface Hand {
  front: tf.LayersModel;
  body: tf.LayersModel;
}

/** The front's output for images, `[n, height, width, channels]`, and their landmarks as in `Frames`. */
export interface Features {
  xs: tf.Tensor4D;
  ys: tf.Tensor2D;
}

/** The length of a training, and its callback. */
export interface Settings {
  method: Method;
  epochs: number;
  seed: number;
  onStep?: OnStep;
}

/** The batch size. */
export const BATCH = 8;

/** Cuts the graph of the hand in two. */
export async function openHand(graph: tf.GraphModel): Promise<Hand> {
  const front = await fromGraphModel(graph, {outputs: [CUT]});
  const [, ...shape] = front.outputs[0]!.shape;
  const body = await fromGraphModel(graph, {
    inputs: [CUT],
    inputShapes: {[CUT]: shape},
    outputs: Object.values(OUTPUTS),
  });
  return {front, body};
}

/** The front's output for images. */
export function featuresOf({front}: Hand, {xs, ys}: Frames): Features {
  return {xs: front.predict(xs, {batchSize: 10}) as tf.Tensor4D, ys: tf.clone(ys)};
}

/**
 * The front's output for images and for augmented copies of them: rotated, scaled, shifted, mirrored, and lit.
 *
 * @param goOn called after the images and after each copy. If it returns `false`, the result is `null`.
 */
export async function featuresOfCopies(
  hand: Hand,
  frames: Frames,
  copies: number,
  seed: number,
  goOn: (done: number, total: number) => boolean = () => true,
): Promise<Features | null> {
  const most = {rotation: 25, scale: 1.2, translation: 0.06, brightness: 0.25};
  const alter = augmentLandmarks({...LAYOUT, ...most, mirror: [], seed});
  const parts: Features[] = [];
  try {
    for (let copy = 0; copy <= copies; copy++) {
      const altered = copy === 0 ? frames : (alter({...frames}) as unknown as Frames);
      parts.push(featuresOf(hand, altered));
      if (copy > 0) {
        tf.dispose([altered.xs, altered.ys]);
      }
      await heard();
      if (!goOn(copy + 1, copies + 1)) {
        return null;
      }
    }
    return {xs: tf.concat(parts.map(({xs}) => xs)), ys: tf.concat(parts.map(({ys}) => ys))};
  } finally {
    tf.dispose(parts.flatMap(({xs, ys}) => [xs, ys]));
  }
}

/** The adapted body, in which the method says what trains. The body itself stays as it is. */
export function adapted(body: tf.LayersModel, method: Method, seed: number): tf.LayersModel {
  const layers = body.layers.filter(layer => layer.weights.length > 0 && !layer.getClassName().endsWith('GraphOp'));
  const names = layers.map(({name}) => name);
  const [landmarks, presence] = body.outputs.map(({sourceLayer}) => sourceLayer.name) as [string, string];
  const trains: Record<Method, LoRAConfig> = {
    probe: {targets: 'head', trainInFull: [landmarks, presence]},
    // For a kernel with one column, a low rank saves nothing.
    lora: {rank: 8, alpha: 16, targets: names.filter(name => name !== presence), trainInFull: [presence], seed},
    full: {targets: 'head', trainInFull: names},
  };
  return applyLoRA(body, trains[method]);
}

/** Trains a body on features. Their order depends only on the seed. */
export async function learn(
  body: tf.LayersModel,
  {xs, ys}: Features,
  {method, epochs, seed, onStep}: Settings,
): Promise<tf.LayersModel> {
  const model = adapted(body, method, seed);
  const order = tf.tensor1d(shuffled(Array.from({length: ys.shape[0]}, (_, i) => i), seed), 'int32'); // prettier-ignore
  const [x, y] = [tf.gather(xs, order), tf.gather(ys, order)];
  const present = presenceOf(y);
  const isTold = tf.tidy(() => tf.min(present).dataSync()[0] === 0);
  model.compile({
    optimizer: adam({learningRate: RATES[method]}),
    loss: [landmarkLoss(LAYOUT), isTold ? presenceLoss : nothing],
  });
  const steps = epochs * Math.ceil(ys.shape[0] / BATCH);
  const callbacks = [learningRateSchedule({warmup: 0.1}), tellSteps(model, steps, onStep)];
  try {
    const args = {epochs, batchSize: BATCH, shuffle: false, verbose: 0, yieldEvery: 'never', callbacks} as const;
    // Layers before the last one can run once. Before the first one there are none.
    await (method === 'probe' ? fitOnFeatures(model, x, [y, present], args) : model.fit(x, [y, present], args));
  } catch (error) {
    disposeModel(model);
    throw error;
  } finally {
    tf.dispose([order, x, y, present]);
  }
  return model;
}

/** Whether there is a hand in each frame, `[n, 1]`: 1, or 0 where the landmarks are NaN. */
function presenceOf(ys: tf.Tensor2D): tf.Tensor2D {
  return tf.tidy(() => tf.sub(1, tf.cast(tf.isNaN(tf.slice(ys, [0, 0], [-1, 1])), 'float32')));
}

function presenceLoss(truth: tf.Tensor, guess: tf.Tensor): tf.Tensor {
  return tf.mul(PRESENCE_WEIGHT, tf.metrics.binaryCrossentropy(truth, guess));
}

/** Without frames that have no hand, presence cannot be learned. */
function nothing(_: tf.Tensor, guess: tf.Tensor): tf.Tensor {
  return tf.mul(0, tf.mean(guess, -1));
}

/** The mean error of landmarks, as a share of the diagonal of the box around the hand. */
export function errorOf(model: tf.LayersModel, {xs, ys}: Features): number {
  return tf.tidy(() => errorOfGuesses(guessesOf(model, xs).landmarks, ys));
}

/** A body's predictions: the landmarks, and the probability of a hand, `[n, 1]`. */
export function guessesOf(model: tf.LayersModel, xs: tf.Tensor4D): Record<keyof typeof OUTPUTS, tf.Tensor> {
  const [landmarks, presence] = model.predict(xs, {batchSize: 20}) as [tf.Tensor, tf.Tensor];
  return {landmarks, presence};
}

/** A graph's predictions for images, one at a time, as its file requires. */
export function guessesInGraph(graph: tf.GraphModel, images: tf.Tensor4D): Record<keyof typeof OUTPUTS, tf.Tensor> {
  return tf.tidy(() => {
    const each = tf.split(images, images.shape[0]);
    const answers = each.map(image => graph.execute(image, Object.values(OUTPUTS)) as [tf.Tensor, tf.Tensor]);
    return {landmarks: tf.concat(answers.map(([places]) => places)), presence: tf.concat(answers.map(([, is]) => is))};
  });
}

/** The mean error of landmarks `[n, 63]`. */
export function errorOfGuesses(guesses: tf.Tensor, ys: tf.Tensor2D): number {
  return tf.tidy(() => normalizedMeanError(LAYOUT)(ys, guesses).dataSync()[0]!);
}

/** In how many frames a hand is found. */
export function seenIn(presence: tf.Tensor): number {
  return tf.tidy(() => tf.sum(tf.greater(presence, 0.5)).dataSync()[0]!);
}
