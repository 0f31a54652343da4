// Writes folders of language models with adapters beside their products, and compares 64 greedy tokens of three prompts
// of different lengths with `generateTexts`: in ONNX Runtime, and in transformers.js's pipeline in Node and in Chromium,
// with no adapter, one, another, and none again. Part of `npm run check -- lastmile`.

import {execFileSync} from 'node:child_process';
import {mkdirSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import type * as tf from '@tensorflow/tfjs';
import {CACHE, install} from '../../../scripts/graphModels/cache';
import {generateTexts, loadGGUF} from '../../../src/language';
import {applyLoRA, getAdapter, LoRAError} from '../../../src/index';
import {disposeModel} from '../../../src/node';
import {adaptONNX, toONNX} from '../../../src/onnx';
import {quantizeBase} from '../../../src/quantized';
import {loadTransformer} from '../../../src/transformers';
import {stirFactors} from '../../models';
import {fileOf} from '../language/ggufFiles';
import {
  blockDecoder,
  CACHES,
  type Decoder,
  FAMILIES,
  POSITIONS,
  tokenizerOf,
  wideCases,
  wideModel,
  writeFolder,
} from './decoders';
import {BEGIN, encodedInputs, TransformersJs} from './transformersJs';

const COUNT = 64;
const STATES = ['off', 'an adapter', 'another', 'off again'];
const PROMPTS = ['w5 w3 w11 w2 w9', 'w7', 'w4 w4 w12'];

/** The texts that each state generates. */
type Texts = string[][];

const PROGRAM = `
import {env, pipeline} from '@huggingface/transformers';
import {begin, valuesOf} from './begin.mjs';
import {swapAdapters} from './swapAdapters.mjs';

export async function run({device, name, dtype, adapters, prompts, count, ...place}) {
  begin(env, place);
  const generator = await pipeline('text-generation', name, {dtype, device});
  const {use} = swapAdapters(generator.model);
  const states = [];
  for (const inputs of [null, ...valuesOf(adapters), null]) {
    use(inputs);
    const texts = await generator(prompts, {max_new_tokens: count, do_sample: false, return_full_text: false});
    states.push(texts.map(([{generated_text}]) => generated_text));
  }
  await generator.dispose();
  return states;
}
`;

/** The same by ONNX Runtime alone, on tokens that are padded on the left. */
const IN_RUNTIME = `
import {readFileSync} from 'node:fs';
const {file, ids, adapters, count} = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const session = await ort.InferenceSession.create(file, {logSeverityLevel: 3});
const int64 = rows => new ort.Tensor('int64', BigInt64Array.from(rows.flat(), BigInt), [rows.length, rows[0].length]);
const longest = Math.max(...ids.map(row => row.length));
const caches = session.inputMetadata.filter(({name}) => name.startsWith('past'));
const isFactor = name => /lora_[AB]$/.test(name);
const tensorsOf = inputs => Object.fromEntries(Object.entries(inputs).map(([name, {type, data, dims}]) => {
  return [name, new ort.Tensor(type, data, dims)];
}));
const off = Object.fromEntries(session.inputMetadata.filter(({name}) => isFactor(name)).map(({name, shape}) => {
  const dims = shape.map(size => typeof size === 'number' ? size : 1);
  return [name, new ort.Tensor('float32', new Float32Array(dims[0] * dims[1]), dims)];
}));
const states = [];
for (const inputs of [{}, ...valuesOf(adapters), {}]) {
  const factors = {...off, ...tensorsOf(inputs)};
  const made = ids.map(() => []);
  const mask = ids.map(row => [...Array(longest - row.length).fill(0), ...row.map(() => 1)]);
  let next = ids.map(row => [...Array(longest - row.length).fill(0), ...row]);
  let places = mask.map(row => row.map((_, i) => row.slice(0, i).reduce((a, b) => a + b, 0)));
  let past = Object.fromEntries(caches.map(({name, shape}) => {
    return [name, empty(shape, ids.length)];
  }));
  for (let step = 0; step < count; step++) {
    const feeds = {input_ids: int64(next), attention_mask: int64(mask), position_ids: int64(places)};
    const outputs = await session.run({...feeds, ...past, ...factors});
    const [, length, width] = outputs.logits.dims;
    next = ids.map((_, row) => {
      const end = outputs.logits.data.subarray((row * length + length - 1) * width, (row + 1) * length * width);
      return [end.indexOf(Math.max(...end))];
    });
    next.forEach(([token], row) => made[row].push(token));
    places = places.map(row => [row.at(-1) + 1]);
    mask.forEach(row => row.push(1));
    past = Object.fromEntries(caches.map(({name}) => [name, outputs[presentOf(name)]]));
  }
  states.push(made);
}
console.log('RESULT' + JSON.stringify(states));
`;

function byRuntime(job: object, out: string): number[][][] {
  const script = join(CACHE, 'generated.mjs');
  const file = join(out, 'job.json');
  writeFileSync(file, JSON.stringify(job));
  writeFileSync(script, `${BEGIN}${CACHES}${IN_RUNTIME}`);
  const printed = execFileSync('node', [script, file], {encoding: 'utf8', maxBuffer: 2 ** 28});
  rmSync(script);
  return JSON.parse(printed.split('RESULT')[1]!) as number[][][];
}

interface Generating extends Decoder {
  name: string;
  prompts?: readonly string[];
  /** How many tokens. Default: 64. */
  count?: number;
  dtype?: 'float16';
}

/** A decoder of each family, and those whose weights are halves or blocks. */
async function* decoders(): AsyncGenerator<Generating> {
  // The random configs of LFM2 that can be written have no convolutions.
  for (const family of FAMILIES.filter(name => name !== 'lfm2')) {
    for (const drawn of wideCases(family)) {
      try {
        const decoder = await wideModel(drawn);
        await toONNX(decoder.model, {folder: true}); // may be refused
        // To the last position: transformers.js counts those of Gemma 3 from 1.
        const count = family === 'gemma3_text' ? POSITIONS + 1 - 5 : COUNT;
        yield {name: family, ...decoder, count};
        break;
      } catch (error) {
        if (!(error instanceof LoRAError)) {
          throw error;
        }
      }
    }
  }
  const blocks = {...blockDecoder({eos_token_id: null}), ...tokenizerOf(70)};
  const {model: base, ...llama} = await loadTransformer(blocks);
  for (const bits of [8, 4] as const) {
    yield {...llama, name: `llama-${bits}-bits`, model: await quantizeBase(base, {bits})};
  }
  const window = {model_type: 'mistral', architectures: ['MistralForCausalLM'], sliding_window: 3, eos_token_id: null};
  yield {name: 'window', ...(await loadTransformer({...blockDecoder(window), ...tokenizerOf(70)}))};
  const halves = {...blockDecoder({eos_token_id: null}, 'F16'), ...tokenizerOf(70)};
  yield {name: 'llama-float16', dtype: 'float16', ...(await loadTransformer(halves))};
  // Blocks with minima, short convolutions, and 64 positions.
  for (const name of ['llama', 'lfm2'] as const) {
    const prompts = ['a dog', 'the', 'one two three'];
    const loaded = await loadGGUF(fileOf(name));
    endless(loaded.model);
    yield {name: `${name}-of-GGUF`, prompts, count: 32, ...loaded};
  }
}

/** Removes the tokens that end texts: in batches, transformers.js writes on behind them until all texts have ended. */
function endless(model: tf.LayersModel): void {
  const metadata = model.getUserDefinedMetadata() as Record<string, object>;
  model.setUserDefinedMetadata({...metadata, language: {...metadata.language, ends: []}});
}

/** Writes the folder of a model with two adapters. @returns what programs take, and what they return. */
async function prepare(
  out: string,
  {name, model: base, tokenizer, dtype, prompts = PROMPTS, count = COUNT}: Generating,
) {
  const folder = join(out, name);
  const generated = (model: tf.LayersModel) => generateTexts(model, tokenizer, prompts, {maxTokens: count});
  const off = await generated(base);
  const expected: Texts = [off];
  const adapters = [];
  let path = '';
  for (const rank of [1, 2]) {
    const targets = (layer: tf.layers.Layer) => /^(?:Dense|.*>QuantizedDense)$/.test(layer.getClassName());
    const model = applyLoRA(base, {rank, seed: rank, targets});
    stirFactors(model);
    expected.push(await generated(model));
    if (path === '') {
      path = await writeFolder(folder, model, {tokenizer, merge: false, ...(dtype && {dtype})});
    }
    const graph = new Uint8Array(readFileSync(join(folder, path)));
    const {file, inputs} = await adaptONNX(graph, getAdapter(model));
    if (!Buffer.from(file).equals(graph)) {
      throw new Error(`${name}: the graph that toONNX wrote with {merge: false} lacks inputs.`);
    }
    adapters.push(encodedInputs(inputs));
    disposeModel(model);
  }
  expected.push(off);
  const config = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')) as Record<string, {dtype: string}>;
  const ids = prompts.map(text => tokenizer.encode(text).ids);
  const job = {name, dtype: config['transformers.js_config']!.dtype, adapters, prompts, count};
  return {job, runtimeJob: {file: join(folder, path), ids, adapters, count}, expected};
}

/** @returns how many checks failed. */
export async function checkGenerated(out: string, inPages: boolean, only?: readonly string[]): Promise<number> {
  install(['onnxruntime-node@1.30.0']);
  mkdirSync(out, {recursive: true});
  const runtime = new TransformersJs(out, PROGRAM);
  let failed = 0;
  const report = (name: string, texts: Texts, expected: Texts) => {
    const faults = STATES.flatMap((state, i) => {
      const rows = expected[i]!.flatMap((text, row) => (texts[i]![row]!.trim() === text.trim() ? [] : [row]));
      return rows.length > 0 ? [`${state}: other tokens of prompts ${rows.join()}`] : [];
    });
    const isSwapped = expected[0]!.join() !== expected[1]!.join() && expected[1]!.join() !== expected[2]!.join();
    faults.push(...(isSwapped ? [] : ['adapters change nothing']));
    failed += Number(faults.length > 0);
    console.log(`${faults.length > 0 ? 'FAILED' : 'ok    '} ${name} ${faults.join('; ')}`);
  };
  try {
    for await (const generating of decoders()) {
      const {name, model, tokenizer} = generating;
      if (only?.includes(name) ?? true) {
        const {job, runtimeJob, expected} = await prepare(out, generating);
        const texts = byRuntime(runtimeJob, out).map(rows =>
          rows.map(ids => tokenizer.decode(ids, {skip_special_tokens: true})),
        );
        report(`${name} in ONNX Runtime`, texts, expected);
        report(`${name} in transformers.js, in Node`, runtime.inNode<Texts>(job), expected);
        for (const device of inPages ? (['wasm', 'webgpu'] as const) : []) {
          report(`${name} in Chromium on ${device}`, await runtime.inPage<Texts>(device, job), expected);
        }
      }
      disposeModel(model);
    }
    return failed;
  } finally {
    await runtime.close();
  }
}
