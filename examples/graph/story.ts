import * as tf from '@tensorflow/tfjs';
import {adam, applyLoRA, disposeModel, replaceHead} from 'tfjs-lora';
import {shuffled} from '../shared/random';

/** Features that are computed once, and the classes of the examples. */
export interface Features {
  /** The tensors at the cut, one row for each example. */
  xs: tf.Tensor[];
  /** One-hot: `[n, classes]`. */
  labels: tf.Tensor2D;
}

/**
 * What trains: a linear classifier on the graph's output; the same with LoRA; the same with every weight after the cut.
 */
export type Method = 'probe' | 'lora' | 'full';

/** A graph and its training task. */
export interface Task {
  graph: tf.GraphModel;
  /** The part that trains, after the cut. */
  body: tf.LayersModel;
  /** Layers that turn the body's output into a vector. */
  pooling: () => tf.layers.Layer[];
  train: Features;
  test: Features;
  /** The predictions of a whole graph with a new head for the test examples: `[n, classes]`. */
  predict: (graph: tf.GraphModel) => Promise<tf.Tensor2D>;
  epochs: Record<Method, number>;
  /** The learning rate of each method. A method without a rate is left out. */
  rates: Partial<Record<Method, number>>;
  /** The batch size. */
  batch: number;
  seeds: readonly number[];
  rank: number;
}

/** The result of a method. */
export interface Result {
  method: Method;
  /** The test accuracy for each seed. */
  accuracies: number[];
  parameters: number;
  /** The mean duration of a training. */
  seconds: number;
}

/** The results, and the models of the last seed. */
export interface Outcome {
  results: Result[];
  models: Partial<Record<Method, tf.LayersModel>>;
}

/** Trains a part of a graph with each method, for each seed. */
export async function fineTune(task: Task, log: (line: string) => void): Promise<Outcome> {
  const methods = (['probe', 'lora', 'full'] as const).filter(method => task.rates[method] !== undefined);
  const embedded = embed(task);
  const outcome: Outcome = {results: [], models: {}};
  for (const method of methods) {
    const {train, test} = method === 'probe' ? embedded : task;
    const accuracies: number[] = [];
    const start = Date.now();
    for (const seed of task.seeds) {
      const model = modelFor(method, task, embedded.train, seed);
      const {[method]: epochs} = task.epochs;
      await fit(model, train, {epochs, learningRate: task.rates[method]!, batchSize: task.batch, seed});
      accuracies.push(accuracyOf(model, test));
      log(`${method}, seed ${seed}: ${(100 * accuracies.at(-1)!).toFixed(1)} %`);
      if (outcome.models[method] !== undefined) {
        disposeModel(outcome.models[method]);
      }
      outcome.models[method] = model;
    }
    const seconds = (Date.now() - start) / 1000 / task.seeds.length;
    outcome.results.push({method, accuracies, parameters: countTrainable(outcome.models[method]!), seconds});
  }
  tf.dispose([embedded.train.xs, embedded.test.xs]);
  return outcome;
}

/** The output of the unchanged body, for the linear classifier. */
function embed({body, pooling, train, test}: Task): {train: Features; test: Features} {
  const layers = pooling();
  const model = layers.length === 0 ? body : replaceHead(body, layers, {after: lastOf(body)});
  const [ofTrain, ofTest] = [train, test].map(({xs, labels}) => ({xs: [predict(model, xs)], labels}));
  if (model !== body) {
    disposeModel(model);
  }
  return {train: ofTrain!, test: ofTest!};
}

/** A model with a new head. The method says what trains. */
function modelFor(method: Method, task: Task, embedded: Features, seed: number): tf.LayersModel {
  const args = {
    units: embedded.labels.shape[1],
    activation: 'softmax' as const,
    kernelInitializer: tf.initializers.glorotUniform({seed}),
    name: 'classes',
  };
  if (method === 'probe') {
    return tf.sequential({layers: [tf.layers.dense({...args, inputShape: embedded.xs[0]!.shape.slice(1)})]});
  }
  const {body, pooling, rank} = task;
  const headed = replaceHead(body, [...pooling(), tf.layers.dense(args)], {after: lastOf(body)});
  if (method === 'full') {
    return headed;
  }
  const adapted = applyLoRA(headed, {rank, alpha: 2 * rank, seed});
  disposeModel(headed); // the adapted model shares what both need
  return adapted;
}

/** Epochs with smaller steps. */
const LAST = 2;

/** Trains a model. The order of the examples depends only on the seed. */
async function fit(
  model: tf.LayersModel,
  {xs, labels}: Features,
  {epochs, batchSize, learningRate, seed}: Record<'epochs' | 'batchSize' | 'learningRate' | 'seed', number>,
): Promise<void> {
  const numbers = shuffled(Array.from({length: labels.shape[0]}, (_, i) => i), seed); // prettier-ignore
  const order = tf.tensor1d(numbers, 'int32');
  const [y, ...x] = [labels, ...xs].map(tensor => tf.gather(tensor, order)) as [tf.Tensor, ...tf.Tensor[]];
  // Smaller steps at the end, or the result depends on the last few batches.
  for (const [count, rate] of [
    [epochs - LAST, learningRate],
    [LAST, learningRate / 10],
  ] as const) {
    model.compile({optimizer: adam({learningRate: rate}), loss: 'categoricalCrossentropy'});
    await model.fit(oneOrMany(x), y, {epochs: count, batchSize, shuffle: false, verbose: 0});
  }
  tf.dispose([order, x, y]);
}

/** The test accuracy of a whole graph. */
export async function accuracyOfGraph({predict: run, test}: Task, graph: tf.GraphModel): Promise<number> {
  const chances = await run(graph);
  const share = agreement(chances, test.labels);
  chances.dispose();
  return share;
}

function accuracyOf(model: tf.LayersModel, {xs, labels}: Features): number {
  return tf.tidy(() => agreement(predict(model, xs), labels));
}

/** The share of rows whose largest values are in the same column. */
function agreement(chances: tf.Tensor, labels: tf.Tensor): number {
  return tf.tidy(() => {
    const hits = tf.equal(tf.argMax(chances, 1), tf.argMax(labels, 1));
    return tf.mean(tf.cast(hits, 'float32')).dataSync()[0]!;
  });
}

function predict(model: tf.LayersModel, xs: tf.Tensor[]): tf.Tensor {
  return model.predict(oneOrMany(xs), {batchSize: 32}) as tf.Tensor;
}

function countTrainable(model: tf.LayersModel): number {
  return model.trainableWeights.reduce((sum, {shape}) => sum + tf.util.sizeFromShape(shape as number[]), 0);
}

function lastOf(model: tf.LayersModel): string {
  return model.layers.at(-1)!.name;
}

function oneOrMany(tensors: tf.Tensor[]): tf.Tensor | tf.Tensor[] {
  return tensors.length === 1 ? tensors[0]! : tensors;
}
