/**
 * Teaches a MobileNetV2 five kinds of drawings from ten of each, and compares LoRA with a new head alone.
 *
 *     npm run example -- pictures
 *     npm run example -- pictures --quick     three kinds, one seed, fewer test images
 */
import {fileURLToPath} from 'node:url';
import * as tf from '@tensorflow/tfjs';
import {
  applyLoRA,
  disposeModel,
  fileHandler,
  loadAdapter,
  mergeLoRA,
  planLoRA,
  saveAdapter,
  startWasm,
} from 'tfjs-lora';
import {fromGraphModel, toGraphModel} from 'tfjs-lora/graph';
import {rasterise} from '../shared/drawings';
import {kilobytes, overSeeds, percent, SHORT, table} from '../shared/report';
import {choose, DRAWINGS} from '../vision/data';
import {loadGraph} from './graphBase';
import {loadBase, SIZE} from './src/base';
import {chancesOf, learn, type Pictures, rightOf, type Way, WAYS, withNewHead} from './src/learn';

const QUICK = process.argv.includes('--quick');
const CLASSES = QUICK ? 3 : 5;
const SETTINGS = QUICK ? {epochs: 8, copies: 0} : {epochs: 20, copies: 2};
const SEEDS = QUICK ? [1] : [1, 2, 3, 4, 5];
const OUTPUT = fileURLToPath(new URL('output/', import.meta.url));

await startWasm();
tf.enableProdMode();

// 1. For each seed, ten other drawings of each class to train on, and others that measure the accuracy.
const sets = SEEDS.map(seed => {
  const {train, test} = choose({train: 10, test: QUICK ? 6 : 12}, seed);
  return {seed, train: toPictures(train), test: toPictures(test)};
});
const [{test}] = sets as [(typeof sets)[0]];

// 2. The base model, and where the new head goes.
const base = await loadBase();
const headed = withNewHead(base, CLASSES);
const [line] = /The new head goes .*/.exec(String(planLoRA(headed, WAYS.LoRA)))!;
console.log(`${line}\n`);
disposeModel(headed);

// 3. The head alone, and then with low-rank updates of the last convolutions.
const rows: string[][] = [];
const models = {} as Record<Way, tf.LayersModel>;
for (const way of Object.keys(WAYS) as Way[]) {
  models[way] = await measured(way, base, way);
}

// 4. The same with a GraphModel as the base.
const graph = await loadGraph();
const imported = await measured('LoRA, base a GraphModel', await fromGraphModel(graph), 'LoRA', 1);
console.log(`\n${table([['', 'test accuracy', 'each seed', 'trainable', 'seconds'], ...rows])}`);

// 5. The adapter is a small file. Applied to the base, it gives the trained model again.
await saveAdapter(models.LoRA, `file://${OUTPUT}pictures.safetensors`);
const again = applyLoRA(base, await loadAdapter(`file://${OUTPUT}pictures.safetensors`));

// 6. Merged, it is a plain layers model, which any page loads with tf.loadLayersModel.
const merged = fileHandler(`${OUTPUT}merged`);
await mergeLoRA(models.LoRA).save(merged);
const plain = await tf.loadLayersModel(merged);
const [first, ...others] = await Promise.all(
  [models.LoRA, again, plain].map(model => chancesOf(model, tf.slice(test.images, 0, 3))),
);
console.log(
  `\nThe adapter is ${kilobytes(`${OUTPUT}pictures.safetensors`)} kB, the merged model ${kilobytes(`${OUTPUT}merged`)} kB. ` +
    `Loaded again, their predictions differ from the trained model's by at most ` +
    `${others.map(chances => largestDifference(first!, chances)).join(' and ')}.`,
);

// 7. The GraphModel is written back as one, for pages that load it with tf.loadGraphModel.
const written = fileHandler(`${OUTPUT}graph`);
await (await toGraphModel(imported, graph)).save(written);
const few: tf.Tensor4D = tf.slice(test.images, 0, 3);
const [trained, deployed] = [await chancesOf(imported, few), await chancesOf(await tf.loadGraphModel(written), few)];
console.log(
  `The GraphModel is ${kilobytes(`${OUTPUT}graph`)} kB. Its predictions differ by at most ${largestDifference(trained, deployed)}.`,
);
if (QUICK) {
  console.log(`\n${SHORT}`);
}

/** Trains with the first few seeds, adds a row with the accuracy, and returns the model of the first seed. */
async function measured(name: string, on: tf.LayersModel, way: Way, seeds = SEEDS.length): Promise<tf.LayersModel> {
  const start = Date.now();
  const trained: tf.LayersModel[] = [];
  const shares: number[] = [];
  for (const {seed, train, test} of sets.slice(0, seeds)) {
    const model = await learn(on, train, way, {...SETTINGS, seed});
    const share = (await rightOf(model, test)) / test.labels.shape[0];
    console.log(`${name}, seed ${seed}: ${percent(share)}`);
    shares.push(share);
    trained.push(model);
  }
  const seconds = (Date.now() - start) / 1000 / seeds;
  const [first, ...others] = trained as [tf.LayersModel, ...tf.LayersModel[]];
  others.forEach(disposeModel);
  const parameters = first.trainableWeights.reduce((sum, {shape}) => sum + tf.util.sizeFromShape(shape as number[]), 0);
  rows.push([name, ...overSeeds(shares), parameters.toLocaleString('en'), seconds.toFixed(0)]);
  return first;
}

function largestDifference(one: number[][], other: number[][]): string {
  const others = other.flat();
  return Math.max(...one.flat().map((chance, i) => Math.abs(chance - others[i]!))).toExponential(0);
}

function toPictures(chosen: readonly number[]): Pictures {
  const drawings = chosen.map(i => DRAWINGS[i]!).filter(({label}) => label < CLASSES);
  return tf.tidy(() => {
    const pixels = drawings.map(({body}) => tf.tensor3d(rasterise(body, SIZE), [SIZE, SIZE, 3]));
    const classes = tf.tensor1d(drawings.map(({label}) => label), 'int32'); // prettier-ignore
    return {
      images: tf.div<tf.Tensor4D>(tf.stack(pixels), 255),
      labels: tf.cast(tf.oneHot(classes, CLASSES), 'float32') as tf.Tensor2D,
    };
  });
}
