// Puts adapters beside files of tiny decoders that onnxruntime-genai's model builder, optimum and torch write, and
// compares them in ONNX Runtime with PEFT. transformers.js swaps adapters of some of them: `npm run check -- lastmile`.
//
//     npm run check -- lastmile [--smollm2] [--pages]
//
// With `--smollm2` transformers.js generates with SmolLM2-135M too, and with `--pages` also in Chromium.

import {execFileSync, spawnSync} from 'node:child_process';
import {copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import process from 'node:process';
import {parseArgs} from 'node:util';
import {smollm2} from '../../../scripts/pretrained';
import {builderPython, optimumPython} from '../../../scripts/pythonEnvironments';
import {adaptONNX} from '../../../src/onnx';
import {checkDecoders} from './checkDecoders';
import {checkGenerated} from './checkGenerated';
import {checkSpeech} from './checkSpeech';
import {checkSwaps, type SwapCase} from './swapInTransformersJs';

const {values: flags} = parseArgs({
  options: {smollm2: {type: 'boolean', default: false}, pages: {type: 'boolean', default: false}},
});

/** The models that each exporter writes, by the versions that are installed. */
const BUILT = ['llama', 'qwen2', 'qwen3', 'mistral'].flatMap(model =>
  // Its attention with norms of queries and keys runs in float16 on cards alone.
  ['fp32', 'int4', ...(model === 'qwen3' ? [] : ['fp16'])].map(type => ({model, type})),
);
const EXPORTED = ['llama', 'qwen3', 'phi3'];
const QUANTIZED = 'llama';

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

async function main(): Promise<void> {
  const out = mkdtempSync(join(tmpdir(), 'lastmile-'));
  process.on('exit', () => rmSync(out, {recursive: true}));
  const [builder, optimum] = [builderPython(), optimumPython()];
  run(builder, 'test/python/make_lastmile.py', 'models', out);
  const files: {name: string; model: string; folder: string}[] = [];
  for (const {model, type} of BUILT) {
    const folder = join(out, `${model}-builder-${type}`);
    const provider = type === 'fp16' ? 'cuda' : 'cpu';
    const options = ['-i', join(out, model), '-o', folder, '-p', type, '-e', provider, '-c', join(out, 'cache')];
    run(builder, '-m', 'onnxruntime_genai.models.builder', ...options);
    files.push({name: `builder ${model} ${type}`, model, folder});
  }
  const exported = (model: string) => {
    const folder = join(out, `${model}-optimum`);
    const task = ['--task', 'text-generation-with-past', '--no-post-process'];
    run(optimum, '-m', 'optimum.commands.optimum_cli', 'export', 'onnx', '--model', join(out, model), ...task, folder);
    return folder;
  };
  const quantize = (folder: string) => {
    run(optimum, 'test/python/make_lastmile.py', 'quantize', join(folder, 'model.onnx'), folder);
    return ['q4', 'q8'].map(type => ({type, folder: join(folder, type)}));
  };
  EXPORTED.forEach(model => files.push({name: `optimum ${model} fp32`, model, folder: exported(model)}));
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
  const {status} = spawnSync(builder, ['test/python/check_lastmile.py', out], {stdio: 'inherit'});
  const models = [QUANTIZED];
  if (flags.smollm2) {
    run(builder, 'test/python/make_lastmile.py', 'smollm2', smollm2(), join(out, 'smollm2'));
    quantize(exported('smollm2'));
    models.push('smollm2');
  }
  const swaps = models.flatMap(model => {
    const adapters = ['qv', 'all'].map(kind => join(out, `${model}-${kind}`));
    return (['fp32', 'q4', 'q8'] as const).map((dtype): SwapCase => {
      const file = join(out, `${model}-optimum`, dtype === 'fp32' ? '' : dtype, 'model.onnx');
      return {name: `${model} ${dtype}`, dtype, file, model: join(out, model), adapters};
    });
  });
  run(builder, 'test/python/make_lastmile.py', 'whisper', join(out, 'whisper'));
  const exportedSpeech = join(out, 'whisper-optimum');
  const task = ['--task', 'automatic-speech-recognition-with-past'];
  run(
    optimum,
    '-m',
    'optimum.commands.optimum_cli',
    'export',
    'onnx',
    '--model',
    join(out, 'whisper'),
    ...task,
    exportedSpeech,
  );
  const speechAgrees = await checkSpeech(join(out, 'whisper'), exportedSpeech);
  const failed =
    (await checkSwaps(join(out, 'swaps'), swaps, flags.pages)) +
    (await checkGenerated(join(out, 'written'), flags.pages));
  const decodersAgree = await checkDecoders();
  process.exitCode = failed > 0 || !speechAgrees || !decodersAgree ? 1 : (status ?? 1);
}

void main();
