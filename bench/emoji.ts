/**
 * What dropout, a schedule and the best epoch gain where data are few: the late blocks of a MobileNetV2 learn six kinds
 * of emoji from 60 drawings each, over several seeds.
 *
 *     npm run bench -- emoji [--seeds 1,2,3,4,5] [--ways plain,guided,byLoss] [--on test] [--epochs 12] [--rate 1e-3]
 *
 * A seed decides which drawings are trained on, where the factors start, and the order. The test drawings are the same
 * for all seeds; all ways of a seed have the same drawings in the same order. The early blocks are frozen: what they
 * give is computed once.
 *
 * The rate of each way was chosen with other seeds and on other drawings: `--seeds 11,12,13 --on rest --rate …`.
 */
import {readFileSync} from 'node:fs';
import {Resvg} from '@resvg/resvg-js';
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import {adam, applyLoRA, bestAdapter, learningRateSchedule, seededBatches, stopOnNaN} from 'tfjs-lora';
import {splitAtFirstAdapter} from '../src/core/model/split';
import {loadBody} from './cases/mobilenet';
import {printTable} from './table';

const SIZE = 96;
const KINDS = ['Animals & Nature', 'Food & Drink', 'Objects', 'Smileys & Emotion', 'Symbols', 'Travel & Places'];
/** Of each kind. Of the rest, groups of drawings that look alike count once. */
const COUNTS = {test: 50, validation: 25, train: 60, rest: 120};
const BATCH = 16;

const SEEDS = valuesAfter('--seeds', ['1', '2', '3', '4', '5']).map(Number);
const EPOCHS = Number(valuesAfter('--epochs', ['12'])[0]);
/** What the accuracy is measured on. */
const MEASURED = valuesAfter('--on', ['test'])[0] === 'rest' ? 'rest' : 'test';
/** The highest learning rate, for all ways. */
const RATE = valuesAfter('--rate', []).map(Number)[0];

/** Features of drawings, as the frozen part of the body gives them, and their kinds. */
interface Drawings {
  features: tf.Tensor;
  labels: tf.Tensor2D;
}

type Split = Record<keyof typeof COUNTS, Drawings>;

/** For each kind, the numbers of its drawings, in groups that look alike. */
type Groups = number[][][];

/** A way to train: the highest rate, and callbacks of a fit. */
interface Way {
  title: string;
  rate: number;
  dropout?: number;
  callbacks: () => tf.Callback[];
}

const WAYS: Record<string, Way> = {
  plain: {title: 'LoRA', rate: 1e-3, callbacks: () => []},
  guided: {
    title: 'with dropout, schedule and best adapter',
    rate: 4e-3,
    dropout: 0.1,
    callbacks: () => [learningRateSchedule({warmup: 0.1}), bestAdapter({monitor: 'val_acc'}), stopOnNaN()],
  },
  byLoss: {
    title: 'the same, best by val_loss',
    rate: 4e-3,
    dropout: 0.1,
    callbacks: () => [learningRateSchedule({warmup: 0.1}), bestAdapter(), stopOnNaN()],
  },
};

/** LoRA from the last blocks of the body on; what lies before gives the same in every step, and is run once. */
function adapt(base: tf.LayersModel, seed: number, dropout = 0): tf.LayersModel {
  const late = (layer: tf.layers.Layer, path: string) =>
    layer.getClassName() === 'Conv2D' && /^block_1[3-6]|^Conv_1/.test(path);
  return applyLoRA(base, {rank: 4, targets: late, trainInFull: ['head'], seed, dropout});
}

function valuesAfter(flag: string, otherwise: string[]): string[] {
  const at = process.argv.indexOf(flag);
  return at < 0 ? otherwise : process.argv[at + 1]!.split(',');
}

/** A small seeded generator of numbers in [0, 1). */
function generator(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), seed | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The pixels of a drawing on white, 0 to 1. */
function rasterise(body: string): Float32Array {
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">${body}</svg>`;
  const {pixels} = new Resvg(svg, {
    fitTo: {mode: 'width', value: SIZE},
    background: 'white',
    font: {loadSystemFonts: false},
  }).render();
  return Float32Array.from({length: SIZE * SIZE * 3}, (_, i) => pixels[Math.floor(i / 3) * 4 + (i % 3)]! / 255);
}

/** A drawing seen from afar: 12 × 12 means. */
function coarse(pixels: Float32Array): Float32Array {
  const [side, cell] = [12, SIZE / 12];
  const means = new Float32Array(side * side * 3);
  pixels.forEach((value, i) => {
    const [y, x] = [Math.floor(i / 3 / SIZE), Math.floor(i / 3) % SIZE];
    means[(Math.floor(y / cell) * side + Math.floor(x / cell)) * 3 + (i % 3)]! += value / cell ** 2;
  });
  return means;
}

/**
 * Drawings of one kind, the first of number `first`, in groups of such as look alike: a group is never on both sides of
 * a split.
 */
function groupsOf(drawings: Float32Array[], first: number): number[][] {
  const small = drawings.map(coarse);
  const group = drawings.map((_, i) => i);
  const rootOf = (i: number): number => (group[i] === i ? i : rootOf(group[i]!));
  for (let i = 0; i < small.length; i++) {
    for (let j = 0; j < i; j++) {
      const distance = small[i]!.reduce((sum, value, k) => sum + (value - small[j]![k]!) ** 2, 0) / small[i]!.length;
      if (distance < ALIKE ** 2) {
        group[rootOf(i)] = rootOf(j);
      }
    }
  }
  const groups = new Map<number, number[]>();
  drawings.forEach((_, i) => groups.set(rootOf(i), [...(groups.get(rootOf(i)) ?? []), first + i]));
  return [...groups.values()];
}

/** Drawings whose coarse pixels differ by less than this, of 1, look alike. */
const ALIKE = 0.08;

function loadKinds(): {groups: Groups; drawings: Float32Array[]} {
  const folder = 'node_modules/@iconify-json/fluent-emoji-flat/';
  const {icons} = JSON.parse(readFileSync(`${folder}icons.json`, 'utf8')) as {icons: Record<string, {body: string}>};
  const {categories} = JSON.parse(readFileSync(`${folder}metadata.json`, 'utf8')) as {
    categories: Record<string, string[]>;
  };
  const drawings: Float32Array[] = [];
  const groups = KINDS.map(kind => {
    const names = categories[kind]!.filter(name => name in icons).sort();
    const own = names.map(name => rasterise(icons[name]!.body));
    const first = drawings.length;
    drawings.push(...own);
    return groupsOf(own, first);
  });
  return {groups, drawings};
}

/** Fills the parts of the split with groups in a random order, each part up to its count. */
function split(groups: Groups, features: tf.Tensor, seed: number): Split {
  const parts: Record<keyof typeof COUNTS, [place: number, label: number][]> = {
    test: [],
    validation: [],
    train: [],
    rest: [],
  };
  const [fixed, random] = [generator(0), generator(seed)];
  groups.forEach((kind, label) => {
    const left = {...COUNTS};
    const order = shuffled(kind, fixed);
    // Behind the test drawings the order is the seed's.
    const sizes = order.map((_, i) => order.slice(0, i).reduce((sum, {length}) => sum + length, 0));
    const tested = sizes.filter(size => size < COUNTS.test).length;
    order.push(...shuffled(order.splice(tested), random));
    for (const group of order) {
      const part = (['test', 'validation', 'train', 'rest'] as const).find(name => left[name] > 0);
      if (part !== undefined) {
        const taken = group.slice(0, part === 'rest' ? 1 : left[part]);
        left[part] -= taken.length;
        parts[part].push(...taken.map((place): [number, number] => [place, label]));
      }
    }
    if (left.train > 0) {
      throw new Error(`${KINDS[label]} has too few drawings.`);
    }
  });
  const chosen = (part: [number, number][]): Drawings =>
    tf.tidy(() => {
      const [places, labels] = [0, 1].map(i =>
        tf.tensor1d(
          part.map(entry => entry[i]!),
          'int32',
        ),
      );
      return {
        features: tf.gather(features, places!),
        labels: tf.cast(tf.oneHot(labels!, KINDS.length), 'float32') as tf.Tensor2D,
      };
    });
  const {test, validation, train, rest} = parts;
  return {test: chosen(test), validation: chosen(validation), train: chosen(train), rest: chosen(rest)};
}

function shuffled<T>(items: readonly T[], random: () => number): T[] {
  return items
    .map(item => [random(), item] as const)
    .sort(([a], [b]) => a - b)
    .map(([, item]) => item);
}

/** The body with a new head. */
function classifier(body: tf.LayersModel, seed: number): tf.LayersModel {
  const pooled = tf.layers.globalAveragePooling2d({name: 'pooled'}).apply(body.outputs) as tf.SymbolicTensor;
  const head = tf.layers.dense({
    units: KINDS.length,
    activation: 'softmax',
    name: 'head',
    kernelInitializer: tf.initializers.glorotUniform({seed}),
  });
  return tf.model({inputs: body.inputs, outputs: head.apply(pooled) as tf.SymbolicTensor});
}

/** What the frozen part of the body makes of all drawings. */
function featuresOf(body: tf.LayersModel, drawings: Float32Array[]): tf.Tensor {
  const {prefix} = splitAtFirstAdapter(adapt(classifier(body, 0), 0));
  const parts = Array.from({length: Math.ceil(drawings.length / BATCH)}, (_, i) =>
    tf.tidy(() => {
      const batch = drawings.slice(i * BATCH, (i + 1) * BATCH);
      return prefix.predict(tf.stack(batch.map(pixels => tf.tensor3d(pixels, [SIZE, SIZE, 3])))) as tf.Tensor;
    }),
  );
  const features = tf.concat(parts);
  tf.dispose(parts);
  return features;
}

function accuracy(model: tf.LayersModel, {features, labels}: Drawings): number {
  return tf.tidy(() => {
    const guesses = tf.argMax(model.predict(features, {batchSize: 40}) as tf.Tensor, 1);
    return 100 * tf.mean(tf.cast(tf.equal(guesses, tf.argMax(labels, 1)), 'float32')).dataSync()[0]!;
  });
}

async function run(
  body: tf.LayersModel,
  {rate, dropout, callbacks}: Way,
  {train, validation, ...others}: Split,
  seed: number,
): Promise<Record<'validation' | 'measured' | 'seconds', number>> {
  const {suffix} = splitAtFirstAdapter(adapt(classifier(body, seed), seed, dropout));
  const optimizer = adam({learningRate: RATE ?? rate});
  suffix.compile({optimizer, loss: 'categoricalCrossentropy', metrics: ['accuracy']});
  const start = process.cpuUsage();
  await suffix.fitDataset(seededBatches(train.features, train.labels, {batchSize: BATCH, seed}), {
    epochs: EPOCHS,
    verbose: 0,
    validationData: [validation.features, validation.labels],
    callbacks: callbacks(),
  });
  const {user, system} = process.cpuUsage(start);
  optimizer.dispose();
  return {
    validation: accuracy(suffix, validation),
    measured: accuracy(suffix, others[MEASURED]),
    seconds: (user + system) / 1e6,
  };
}

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
const deviation = (values: readonly number[]) =>
  Math.sqrt(values.reduce((sum, value) => sum + (value - mean(values)) ** 2, 0) / Math.max(1, values.length - 1));

await tf.setBackend('wasm');
tf.enableProdMode();
const {groups, drawings} = loadKinds();
const body = await loadBody();
const features = featuresOf(body, drawings);
const chosen = valuesAfter('--ways', ['plain', 'guided']).map(name => WAYS[name]!);
const results = new Map(chosen.map(way => [way, [] as number[]]));
for (const seed of SEEDS) {
  const data = split(groups, features, seed);
  for (const way of chosen) {
    const {validation, measured, seconds} = await run(body, way, data, seed);
    results.get(way)!.push(measured);
    console.log(
      `seed ${seed}, ${way.title}: ${measured.toFixed(1)} % of the drawings of ${MEASURED}, ` +
        `${validation.toFixed(1)} % for validation, ${seconds.toFixed(0)} s of processor`,
    );
  }
  tf.dispose(Object.values(data).flatMap(part => [part.features, part.labels]));
}
printTable(
  ['way', 'mean, %', 'deviation', ...SEEDS.map(seed => `seed ${seed}`)],
  [...results].map(([{title}, values]) => [
    title,
    mean(values).toFixed(1),
    deviation(values).toFixed(1),
    ...values.map(value => value.toFixed(1)),
  ]),
);
