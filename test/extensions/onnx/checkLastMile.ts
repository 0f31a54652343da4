// Puts adapters beside files of tiny decoders that onnxruntime-genai's model builder, optimum and torch write, and
// compares them in ONNX Runtime with PEFT. transformers.js swaps adapters of some of them: `npm run check -- lastmile`.
//
//     npm run check -- lastmile [files] [swaps] [speech] [written] [decoders] [times] [--smollm2] [--pages]
//
// Without names of parts, all of them run: `times` only with `--smollm2`, which has transformers.js generate with
// SmolLM2-135M too. With `--pages` it also runs in Chromium.

import {execFileSync, spawnSync} from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import process from 'node:process';
import {parseArgs} from 'node:util';
import * as tf from '@tensorflow/tfjs';
import {smollm2} from '../../../scripts/pretrained';
import {builderPython, optimumPython} from '../../../scripts/pythonEnvironments';
import {adaptONNX} from '../../../src/onnx';
import {checkDecoders} from './checkDecoders';
import {checkGenerated} from './checkGenerated';
import {checkSpeech} from './checkSpeech';
import {checkSwaps, type SwapCase} from './swapInTransformersJs';
import {timeTokens} from './timeTokens';

const {values: flags, positionals} = parseArgs({
  allowPositionals: true,
  options: {smollm2: {type: 'boolean', default: false}, pages: {type: 'boolean', default: false}},
});

/** The models that each exporter writes, by the versions that are installed. */
const BUILT = ['llama', 'qwen2', 'qwen3', 'mistral'].flatMap(model =>
  // Its attention with norms of queries and keys runs in float16 on cards alone.
  ['fp32', 'int4', ...(model === 'qwen3' ? [] : ['fp16'])].map(type => ({model, type})),
);
const EXPORTED = ['llama', 'qwen3', 'phi3'];
const QUANTIZED = 'llama';

const OPTIMUM = ['-m', 'optimum.commands.optimum_cli', 'export', 'onnx', '--model'];

function run(program: string, ...args: string[]): void {
  execFileSync(program, args, {stdio: ['ignore', 'ignore', 'ignore'], maxBuffer: 2 ** 28});
}

/** Writes a file with an adapter, next to copies of its data files, and the adapter's factors. */
async function adapt(folder: string, adapter: string, to: string) {
  mkdirSync(to, {recursive: true});
  readdirSync(folder)
    .filter(name => name.includes('data'))
    .forEach(name => copyFileSync(join(folder, name), join(to, name)));
  const {file, inputs} = await adaptONNX(readFileSync(join(folder, 'model.onnx')), {
    config: readFileSync(join(adapter, 'adapter_config.json'), 'utf8'),
    weights: readFileSync(join(adapter, 'adapter_model.safetensors')),
  });
  const factors = Object.entries(inputs).map(([name, {data, ...input}]) => {
    return [name, {...input, data: Buffer.from(data.buffer).toString('hex')}];
  });
  const paths = {adapted: join(to, 'model.onnx'), factors: join(to, 'factors.json')};
  writeFileSync(paths.adapted, file);
  writeFileSync(paths.factors, JSON.stringify(Object.fromEntries(factors)));
  return paths;
}

/** Writes a model of a folder by the model builder. @returns the folder of its file. */
function built(out: string, model: string, type: string): string {
  const folder = join(out, `${model}-builder-${type}`);
  const provider = type === 'fp16' ? 'cuda' : 'cpu';
  const options = ['-i', join(out, model), '-o', folder, '-p', type, '-e', provider, '-c', join(out, 'cache')];
  run(builderPython(), '-m', 'onnxruntime_genai.models.builder', ...options);
  return folder;
}

/** Exports a model of a folder by optimum. @returns the folder of its file. */
function exported(out: string, model: string): string {
  const folder = join(out, `${model}-optimum`);
  const task = ['--task', 'text-generation-with-past', '--no-post-process'];
  run(optimumPython(), ...OPTIMUM, join(out, model), ...task, folder);
  return folder;
}

function quantize(folder: string) {
  run(optimumPython(), 'test/python/make_lastmile.py', 'quantize', join(folder, 'model.onnx'), folder);
  return ['q4', 'q8'].map(type => ({type, folder: join(folder, type)}));
}

/** Compares files of all exporters in ONNX Runtime with PEFT. @returns how many of these checks failed. */
async function checkFiles(out: string): Promise<number> {
  const builder = builderPython();
  const files: {name: string; model: string; folder: string}[] = [];
  for (const {model, type} of BUILT) {
    files.push({name: `builder ${model} ${type}`, model, folder: built(out, model, type)});
  }
  EXPORTED.forEach(model => files.push({name: `optimum ${model} fp32`, model, folder: exported(out, model)}));
  const traced = join(out, `${QUANTIZED}-dynamo`);
  run(builder, 'test/python/make_lastmile.py', 'dynamo', join(out, QUANTIZED), join(traced, 'model.onnx'));
  files.push({name: `dynamo ${QUANTIZED} fp32`, model: QUANTIZED, folder: traced});
  quantize(join(out, `${QUANTIZED}-optimum`)).forEach(({type, folder}) =>
    files.push({name: `optimum ${QUANTIZED} ${type}`, model: QUANTIZED, folder}),
  );
  const cases = [];
  for (const {name, model, folder} of files) {
    for (const kind of ['qv', 'all']) {
      const adapter = `${model}-${kind}`;
      const paths = await adapt(folder, join(out, adapter), `${folder}-${kind}`);
      cases.push({name: `${name}, ${kind}`, model, adapter, file: join(folder, 'model.onnx'), ...paths});
    }
  }
  writeFileSync(join(out, 'cases.json'), JSON.stringify(cases));
  return spawnSync(builder, ['test/python/check_lastmile.py', out], {stdio: 'inherit'}).status === 0 ? 0 : 1;
}

/** SmolLM2-135M in float32, and its adapters. */
function makeSmolLM2(out: string): void {
  if (!existsSync(join(out, 'smollm2'))) {
    run(builderPython(), 'test/python/make_lastmile.py', 'smollm2', smollm2(), join(out, 'smollm2'));
  }
}

/** Swaps adapters beside files of optimum in transformers.js. @returns how many checks failed. */
async function checkPublishedSwaps(out: string): Promise<number> {
  if (flags.smollm2) {
    makeSmolLM2(out);
  }
  const models = [QUANTIZED, ...(flags.smollm2 ? ['smollm2'] : [])];
  const swaps = models.flatMap(model => {
    if (!existsSync(join(out, `${model}-optimum/q4`))) {
      quantize(exported(out, model));
    }
    const adapters = ['qv', 'all'].map(kind => join(out, `${model}-${kind}`));
    return (['fp32', 'q4', 'q8'] as const).map((dtype): SwapCase => {
      const file = join(out, `${model}-optimum`, dtype === 'fp32' ? '' : dtype, 'model.onnx');
      return {name: `${model} ${dtype}`, dtype, file, model: join(out, model), adapters};
    });
  });
  return checkSwaps(join(out, 'swaps'), swaps, flags.pages);
}

async function checkPublishedSpeech(out: string): Promise<number> {
  const [model, files] = [join(out, 'whisper'), join(out, 'whisper-optimum')];
  run(builderPython(), 'test/python/make_lastmile.py', 'whisper', model);
  run(optimumPython(), ...OPTIMUM, model, '--task', 'automatic-speech-recognition-with-past', files);
  return checkSpeech(model, files, flags.pages);
}

/** Times tokens of SmolLM2-135M in 4 bits, with rank 8 on queries and values, and rank 16 on all modules. */
async function timeAdapted(out: string): Promise<number> {
  makeSmolLM2(out);
  const cases = [];
  for (const [name, folder] of [
    ['optimum, q4', join(out, 'smollm2-optimum/q4')],
    ['the model builder, int4', built(out, 'smollm2', 'int4')],
  ] as const) {
    if (!existsSync(folder)) {
      quantize(exported(out, 'smollm2'));
    }
    const adapted = [];
    for (const kind of ['qv', 'all']) {
      const {adapted: file, factors} = await adapt(folder, join(out, `smollm2-${kind}`), `${folder}-${kind}`);
      adapted.push({name: kind, file, factors});
    }
    cases.push({name, file: join(folder, 'model.onnx'), heads: 3, size: 64, adapted});
  }
  timeTokens(cases);
  return 0;
}

const PARTS: Readonly<Record<string, (out: string) => Promise<number>>> = {
  files: checkFiles,
  swaps: checkPublishedSwaps,
  speech: checkPublishedSpeech,
  written: out => checkGenerated(join(out, 'written'), flags.pages),
  decoders: () => checkDecoders(),
  times: timeAdapted,
};

async function main(): Promise<void> {
  const unknown = positionals.find(name => !Object.hasOwn(PARTS, name));
  if (unknown !== undefined) {
    throw new Error(`There is no part "${unknown}". The parts are ${Object.keys(PARTS).join(', ')}.`);
  }
  const all = Object.keys(PARTS).filter(name => name !== 'times' || flags.smollm2);
  const names = positionals.length > 0 ? positionals : all;
  const out = mkdtempSync(join(tmpdir(), 'lastmile-'));
  process.on('exit', () => rmSync(out, {recursive: true}));
  if (names.some(name => ['files', 'swaps'].includes(name))) {
    run(builderPython(), 'test/python/make_lastmile.py', 'models', out);
  }
  await tf.ready();
  const failed: string[] = [];
  for (const name of names) {
    console.log(`\n${name}`);
    if ((await PARTS[name]!(out)) > 0) {
      failed.push(name);
    }
  }
  console.log(failed.length === 0 ? '\nAll parts passed.' : `\nFailed: ${failed.join(', ')}.`);
  process.exitCode = failed.length > 0 ? 1 : 0;
}

void main();
