/**
 * Teaches a MobileNetV2 five kinds of drawings from ten of each, and says whether it needed more than a new head.
 *
 *     npm run example -- pictures
 *     npm run example -- pictures --quick     three kinds, fewer to judge by
 */
import {fileURLToPath} from 'node:url';
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import {applyLoRA, disposeModel, fileHandler, loadAdapter, mergeLoRA, planLoRA, saveAdapter} from 'tfjs-lora';
import {rasterise} from '../shared/drawings';
import {kilobytes, SHORT, table} from '../shared/report';
import {type Sample, samples} from './data';
import {loadBase, SIZE} from './src/base';
import {accuracyOf, chancesOf, learn, type Pictures, type Way, WAYS, withNewHead} from './src/learn';

const QUICK = process.argv.includes('--quick');
const CLASSES = QUICK ? 3 : 5;
const SETTINGS = QUICK ? {epochs: 8, copies: 0} : {epochs: 20, copies: 2};
const OUTPUT = fileURLToPath(new URL('output/', import.meta.url));

await tf.setBackend('wasm');
tf.enableProdMode();

// 1. Ten pictures of each class. Eight are learned from, two say when to stop; others that nobody has seen say how good
//    it is.
const train = toPictures(samples(CLASSES, 0, 8));
const validation = toPictures(samples(CLASSES, 8, 2));
const test = toPictures(samples(CLASSES, 10, QUICK ? 6 : 12));

// 2. A base by its name, and where the new head goes.
const base = await loadBase();
const headed = withNewHead(base, CLASSES);
const [line] = /The new head goes .*/.exec(String(planLoRA(headed, WAYS.LoRA)))!;
console.log(`${line}\n`);
disposeModel(headed);

// 3. The head alone, and then with low-rank updates of the last convolutions.
const rows: string[][] = [];
const models = {} as Record<Way, tf.LayersModel>;
for (const way of Object.keys(WAYS) as Way[]) {
  const start = Date.now();
  models[way] = await learn(base, train, validation, way, SETTINGS);
  const seconds = (Date.now() - start) / 1000;
  const shares = [await accuracyOf(models[way], validation), await accuracyOf(models[way], test)];
  const parameters = models[way].trainableWeights.reduce(
    (sum, {shape}) => sum + tf.util.sizeFromShape(shape as number[]),
    0,
  );
  rows.push([way, ...shares.map(percent), parameters.toLocaleString('en'), seconds.toFixed(0)]);
}
console.log(table([['', 'validation', 'held out', 'parameters', 'seconds'], ...rows]));

// 4. What was learned is a small file, and that with the base is the model again.
await saveAdapter(models.LoRA, `file://${OUTPUT}pictures.safetensors`);
const again = applyLoRA(base, await loadAdapter(`file://${OUTPUT}pictures.safetensors`));

// 5. Merged it is a plain layers model, which any page loads with tf.loadLayersModel.
const merged = fileHandler(`${OUTPUT}merged`);
await mergeLoRA(models.LoRA).save(merged);
const plain = await tf.loadLayersModel(merged);
const [first, ...others] = await Promise.all(
  [models.LoRA, again, plain].map(model => chancesOf(model, tf.slice(test.images, 0, 3))),
);
const differences = others.map(chances =>
  Math.max(...chances.flat().map((chance, i) => Math.abs(chance - first!.flat()[i]!))),
);
console.log(
  `\nThe adapter has ${kilobytes(`${OUTPUT}pictures.safetensors`)} kB, the merged model ${kilobytes(`${OUTPUT}merged`)} kB. ` +
    `From their files they compute what the trained model does, to ${differences.map(value => value.toExponential(0)).join(' and ')}.`,
);
if (QUICK) {
  console.log(`\n${SHORT}`);
}

function toPictures(drawings: Sample[]): Pictures {
  const kinds = [...new Set(drawings.map(({kind}) => kind))];
  return tf.tidy(() => {
    const pixels = drawings.map(({body}) => tf.tensor3d(rasterise(body, SIZE), [SIZE, SIZE, 3]));
    const classes = tf.tensor1d(drawings.map(({kind}) => kinds.indexOf(kind)), 'int32'); // prettier-ignore
    return {
      images: tf.div<tf.Tensor4D>(tf.stack(pixels), 255),
      labels: tf.cast(tf.oneHot(classes, kinds.length), 'float32') as tf.Tensor2D,
    };
  });
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}
