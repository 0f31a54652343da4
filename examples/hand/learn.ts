import * as tf from '@tensorflow/tfjs';
import {adam, applyLoRA, disposeModel, fitOnFeatures, learningRateSchedule, type LoRAConfig} from 'tfjs-lora';
import {fromGraphModel} from 'tfjs-lora/graph';
import {augmentLandmarks, landmarkLoss, normalizedMeanError} from 'tfjs-lora/landmarks';
import {shuffled} from '../shared/random';
import {heard, type OnStep, tellSteps} from '../shared/steps';
import type {Frames} from './data';

/** Where the graph is cut: what lies before runs once for each picture, what lies behind learns. */
export const CUT = 'model_1/model/add_4/ArithmeticOptimizer/AddOpsRewrite_add';
/** The outputs that are trained: the landmarks, three numbers each, and how likely there is a hand. */
export const OUTPUTS = {landmarks: 'Identity', presence: 'Identity_1'};

/** Depth is passed over: nobody can see it in a frame. */
const LAYOUT = {points: 21, dimensions: 2} as const;

/** What trains of the part behind the cut: the last layer; low-rank updates of every layer; every weight. */
export type Method = 'probe' | 'lora' | 'full';

/** How much the answer to whether there is a hand weighs, beside the landmarks. */
const PRESENCE_WEIGHT = 0.05;

/** How fast each learns: the better of a few. */
const RATES: Record<Method, number> = {probe: 3e-3, lora: 3e-3, full: 1e-3};

/** A graph in two parts. */
export interface Hand {
  front: tf.LayersModel;
  body: tf.LayersModel;
}

/** What the front computes of pictures, `[n, height, width, channels]`, and their landmarks as in `Frames`. */
export interface Features {
  xs: tf.Tensor4D;
  ys: tf.Tensor2D;
}

/** How long, and what is told meanwhile. */
export interface Settings {
  method: Method;
  epochs: number;
  seed: number;
  onStep?: OnStep;
}

/** Pictures in a step. */
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

/** What the front computes of pictures. */
export function featuresOf({front}: Hand, {xs, ys}: Frames): Features {
  return {xs: front.predict(xs, {batchSize: 10}) as tf.Tensor4D, ys: tf.clone(ys)};
}

/**
 * What the front computes of pictures and of altered copies of them: turned, scaled, shifted, mirrored and lit.
 *
 * @param goOn called after the pictures and after each copy. Whether to go on; without that there is no result.
 */
export async function featuresOfCopies(
  hand: Hand,
  frames: Frames,
  copies: number,
  seed: number,
  goOn: (done: number, total: number) => boolean = () => true,
): Promise<Features | null> {
  const most = {rotation: 25, scale: 1.2, shift: 0.06, brightness: 0.25};
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

/** The body, of which there trains what the method says. The body itself stays as it is. */
export function adapted(body: tf.LayersModel, method: Method, seed: number): tf.LayersModel {
  const layers = body.layers.filter(layer => layer.weights.length > 0 && !layer.getClassName().endsWith('GraphOp'));
  const names = layers.map(({name}) => name);
  const [landmarks, presence] = body.outputs.map(({sourceLayer}) => sourceLayer.name) as [string, string];
  const trains: Record<Method, LoRAConfig> = {
    probe: {exclude: [() => true], trainInFull: [landmarks, presence]},
    // A kernel with one column has nothing that a low rank would save.
    lora: {rank: 8, alpha: 16, targets: names.filter(name => name !== presence), trainInFull: [presence], seed},
    full: {exclude: [() => true], trainInFull: names},
  };
  return applyLoRA(body, trains[method]);
}

/** A body that has learned from features. The order in which it sees them hangs on the seed alone. */
export async function learn(
  body: tf.LayersModel,
  {xs, ys}: Features,
  {method, epochs, seed, onStep}: Settings,
): Promise<tf.LayersModel> {
  const model = adapted(body, method, seed);
  const order = tf.tensor1d(shuffled(Array.from({length: ys.shape[0]}, (_, i) => i), seed), 'int32'); // prettier-ignore
  const [x, y] = [tf.gather(xs, order), tf.gather(ys, order)];
  const optimizer = adam({learningRate: RATES[method]});
  const present = presenceOf(y);
  const isTold = tf.tidy(() => tf.min(present).dataSync()[0] === 0);
  model.compile({optimizer, loss: [landmarkLoss(LAYOUT), isTold ? presenceLoss : nothing]});
  const steps = epochs * Math.ceil(ys.shape[0] / BATCH);
  const callbacks = [learningRateSchedule({warmup: 0.1}), tellSteps(model, steps, onStep)];
  try {
    const args = {epochs, batchSize: BATCH, shuffle: false, verbose: 0, yieldEvery: 'never', callbacks} as const;
    // Before the last layer there is something that can run once; before the first one there is nothing.
    await (method === 'probe' ? fitOnFeatures(model, x, [y, present], args) : model.fit(x, [y, present], args));
  } catch (error) {
    disposeModel(model);
    throw error;
  } finally {
    tf.dispose([order, x, y, present]);
    optimizer.dispose();
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

/** Without a frame that has no hand there is nothing to tell them apart by. */
function nothing(_: tf.Tensor, guess: tf.Tensor): tf.Tensor {
  return tf.mul(0, tf.mean(guess, -1));
}

/** The mean error of landmarks, as a share of the diagonal of the box around the hand. */
export function errorOf(model: tf.LayersModel, {xs, ys}: Features): number {
  return tf.tidy(() => errorOfGuesses(guessesOf(model, xs).landmarks, ys));
}

/** What a body says of features: the landmarks, and how likely there is a hand, `[n, 1]`. */
export function guessesOf(model: tf.LayersModel, xs: tf.Tensor4D): Record<keyof typeof OUTPUTS, tf.Tensor> {
  const [landmarks, presence] = model.predict(xs, {batchSize: 20}) as [tf.Tensor, tf.Tensor];
  return {landmarks, presence};
}

/** The mean error of landmarks `[n, 63]` that something else gave. */
export function errorOfGuesses(guesses: tf.Tensor, ys: tf.Tensor2D): number {
  return tf.tidy(() => normalizedMeanError(LAYOUT)(ys, guesses).dataSync()[0]!);
}

/** In how many a hand is seen, of answers to how likely there is one. */
export function seenIn(presence: tf.Tensor): number {
  return tf.tidy(() => tf.sum(tf.greater(presence, 0.5)).dataSync()[0]!);
}
