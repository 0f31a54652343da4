/**
 * LoRA layers by hand: a digit reader made of `LoRAConv2D` and `LoRADense` learns digits that are rotated.
 *
 *     npm run example -- layers                         on wasm
 *     npm run example -- layers --backend tensorflow    on tfjs-node; or cpu
 */
import {fileURLToPath} from 'node:url';
import {parseArgs} from 'node:util';
import * as tf from '@tensorflow/tfjs';
import {adam, fileHandler, isLoRALayer, LoRAConv2D, LoRADense, progress, startWasm} from 'tfjs-lora';
import {digitReader, rotatedDigits} from 'tfjs-lora/quickstart';

const {backend} = parseArgs({options: {backend: {type: 'string', default: 'wasm'}}}).values;
if (backend === 'tensorflow') {
  const optional = '@tensorflow/tfjs-node'; // `npm run setup -- tfjs-node` brings it
  await import(optional);
}
await (backend === 'wasm' ? startWasm() : tf.setBackend(backend));

// 1. A pretrained model of stock layers, and data that it cannot read: its accuracy is that of guessing.
const base = digitReader();
const {images, labels} = rotatedDigits();
const [xs, unseenXs] = tf.split(images, [300, 100]) as [tf.Tensor, tf.Tensor];
const [ys, unseenYs] = tf.split(labels, [300, 100]) as [tf.Tensor, tf.Tensor];

// 2. A model of LoRA layers around the pretrained ones, whose weights they share. It computes what the base computes.
const model = tf.sequential({
  layers: [
    new LoRAConv2D({layer: base.getLayer('strokes'), rank: 4, seed: 1}),
    new LoRAConv2D({layer: base.getLayer('shapes'), rank: 8, seed: 2}),
    tf.layers.flatten(),
    new LoRADense({layer: base.getLayer('features'), rank: 8, alpha: 16, seed: 3}),
    new LoRADense({layer: base.getLayer('digits'), seed: 4}), // rank 8, the default
  ],
});
model.summary();
console.log(`Difference from the base before training: ${difference(base, model)}`);

// 3. Only A and B train. The base is frozen: not a bit of it changes.
const before = base.getWeights().map(weight => weight.dataSync().slice());
model.compile({optimizer: adam({learningRate: 1e-2}), loss: 'categoricalCrossentropy'});
await model.fit(xs, ys, {epochs: 20, verbose: 0, callbacks: [progress()]});
console.log(`Accuracy on unseen digits: ${accuracy(base)} before, ${accuracy(model)} after`);
const after = base.getWeights().map(weight => weight.dataSync());
console.log(`Base unchanged: ${before.every((values, i) => values.every((x, j) => x === after[i]![j]))}`);
console.log(await (model.layers[3] as LoRADense).getDiagnostics());

// 4. The model saves and loads as any model of tfjs, and goes on training.
const file = fileHandler(fileURLToPath(new URL('output/model', import.meta.url)));
await model.save(file);
const loaded = await tf.loadLayersModel(file);
console.log(`Difference after loading: ${difference(model, loaded)}`);

// 5. Merged, each layer is a stock layer with W + s·A·B as its kernel. The model needs nothing of this library.
const merged = tf.sequential({
  layers: loaded.layers.map(layer => (isLoRALayer(layer) ? layer.mergeToOriginalLayer() : tf.layers.flatten())),
});
console.log(`Difference after merging: ${difference(model, merged)}`);
console.log(merged.layers.map(layer => layer.getClassName()).join(', '));

/** The largest difference between the outputs of two models. */
function difference(one: tf.LayersModel, other: tf.LayersModel): number {
  const outputs = (m: tf.LayersModel) => m.predict(unseenXs) as tf.Tensor;
  return tf.tidy(() => tf.max(tf.abs(tf.sub(outputs(one), outputs(other)))).dataSync()[0]!);
}

function accuracy(m: tf.LayersModel): string {
  const hits = () => tf.mean(tf.metrics.categoricalAccuracy(unseenYs, m.predict(unseenXs) as tf.Tensor));
  return tf.tidy(() => hits().dataSync()[0]!.toFixed(2));
}
