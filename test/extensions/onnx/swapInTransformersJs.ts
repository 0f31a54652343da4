// Runs `swapAdapters` of docs/deploy.md in transformers.js, in Node and in Chromium on WASM and WebGPU: part of
// `npm run check -- lastmile`.

import {copyFileSync, mkdirSync, readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {adaptONNX} from '../../../src/onnx';
import {encodedInputs, TransformersJs} from './transformersJs';

const NAMES = {fp32: 'model', q4: 'model_q4', q8: 'model_quantized'};

/** A published decoder, and adapters of its model. */
export interface SwapCase {
  name: string;
  dtype: keyof typeof NAMES;
  /** The ONNX file, without external data. */
  file: string;
  /** The folder of the model in PyTorch: its config, and what PEFT generates. */
  model: string;
  /** The folders of two PEFT adapters. */
  adapters: readonly string[];
}

/** What a state of the switch does: none, one of two adapters, or none again. */
interface State {
  /** How long its tensors took to make, and how long a switch to them takes, in milliseconds. */
  making: number;
  switching: number;
  /** For each token that is generated, in the median. */
  perToken: number;
  /** How many logits have other bits than those of the file before, and how far they are from these at most. */
  changed: number;
  largest: number;
  tokens: number[][];
}

/** A program for Node and for pages, next to `swapAdapters.mjs`. */
const PROGRAM = `
import {AutoModelForCausalLM, env, Tensor} from '@huggingface/transformers';
import {begin, valuesOf} from './begin.mjs';
import {swapAdapters} from './swapAdapters.mjs';

export async function run({device, name, dtype, adapters, prompts, count, ...place}) {
  begin(env, place);
  const load = folder => AutoModelForCausalLM.from_pretrained(folder, {dtype, device});
  const feeds = ids => ({
    input_ids: new Tensor('int64', BigInt64Array.from(ids, BigInt), [1, ids.length]),
    attention_mask: new Tensor('int64', new BigInt64Array(ids.length).fill(1n), [1, ids.length]),
  });
  const logitsOf = async model => Float32Array.from((await model(feeds(prompts[0]))).logits.data);
  const generated = async (model, times) => {
    const rows = [];
    for (const ids of prompts) {
      let last = performance.now();
      const streamer = {put: () => times.push(-last + (last = performance.now())), end: () => undefined};
      const output = await model.generate({...feeds(ids), max_new_tokens: count, do_sample: false, streamer});
      rows.push(Array.from(output.data, Number));
    }
    return rows;
  };
  const states = [];
  const add = async (model, before, [making, switching] = [0, 0]) => {
    const [logits, times] = [await logitsOf(model), []];
    const tokens = await generated(model, times);
    const differences = Array.from(before ?? logits, (value, i) => Math.abs(value - logits[i]));
    states.push({
      making,
      switching,
      perToken: times.sort((a, b) => a - b)[times.length >> 1],
      changed: differences.filter(difference => difference !== 0).length,
      largest: differences.reduce((a, b) => Math.max(a, b), 0),
      tokens,
    });
    return logits;
  };
  const base = await load(name);
  const before = await add(base);
  await base.dispose();
  const model = await load(name + '-lora');
  const switches = swapAdapters(model);
  const timeUse = inputs => {
    const start = performance.now();
    switches.use(inputs);
    return performance.now() - start;
  };
  for (const inputs of [null, ...valuesOf(adapters), null]) {
    const making = timeUse(inputs);
    switches.use(null);
    await add(model, before, [making, timeUse(inputs)]);
  }
  await model.dispose();
  return states;
}
`;
/** Runs decoders in turn. @returns how many checks failed. */
export async function checkSwaps(out: string, cases: readonly SwapCase[], inPages: boolean): Promise<number> {
  const runtime = new TransformersJs(out, PROGRAM);
  try {
    const jobs = [];
    for (const swapCase of cases) {
      jobs.push({swapCase, ...(await prepare(out, swapCase))});
    }
    let failed = 0;
    for (const {swapCase, job, expected} of jobs) {
      failed += report(`${swapCase.name} in Node`, runtime.inNode<State[]>(job), expected);
    }
    for (const {swapCase, job, expected} of inPages ? jobs : []) {
      for (const device of ['wasm', 'webgpu'] as const) {
        const states = await runtime.inPage<State[]>(device, {...job, count: 16});
        failed += report(`${swapCase.name} in Chromium on ${device}`, states, device === 'wasm' ? expected : []);
      }
    }
    return failed;
  } finally {
    await runtime.close();
  }
}

/** Writes the folders that transformers.js loads, of the decoder and with inputs for adapters. */
async function prepare(out: string, {name, dtype, file, model, adapters}: SwapCase) {
  const folder = name.replaceAll(' ', '-');
  const inputs = [];
  let bytes: Uint8Array<ArrayBuffer> = readFileSync(file);
  for (const [suffix, isAdapted] of [
    ['', false],
    ['-lora', true],
  ] as const) {
    const to = join(out, `${folder}${suffix}`);
    mkdirSync(join(to, 'onnx'), {recursive: true});
    copyFileSync(join(model, 'config.json'), join(to, 'config.json'));
    for (const adapter of isAdapted ? adapters : []) {
      const config = readFileSync(join(adapter, 'adapter_config.json'), 'utf8');
      const weights = readFileSync(join(adapter, 'adapter_model.safetensors'));
      const adapted = await adaptONNX(bytes, {config, weights});
      bytes = adapted.file;
      inputs.push(encodedInputs(adapted.inputs));
    }
    writeFileSync(join(to, 'onnx', `${NAMES[dtype]}.onnx`), bytes);
  }
  const generated = JSON.parse(readFileSync(join(model, 'generated.json'), 'utf8')) as Record<string, number[][]>;
  const kinds = adapters.map(adapter => adapter.split('-').at(-1)!);
  return {
    job: {name: folder, dtype, adapters: inputs, prompts: generated.prompts, count: 64},
    expected: dtype === 'fp32' ? ['base', 'base', ...kinds, 'base'].map(kind => generated[kind]!) : [],
  };
}

/** Prints what the states compute. @returns whether it is wrong, as a number. */
function report(name: string, states: readonly State[], expected: readonly number[][][]): number {
  const [before, off, first, second, again] = states as [State, State, State, State, State];
  const same = (a: number[][], b: number[][]) => a.every((row, i) => row.every((token, at) => token === b[i]![at]));
  const faults = [
    ...[off, again].flatMap(({changed, largest}) => (changed > 0 ? [`${changed} logits differ by ${largest}`] : [])),
    ...[off, again].flatMap(({tokens}) => (same(tokens, before.tokens) ? [] : ['other tokens when off'])),
    ...[first, second].flatMap(({changed}) => (changed > 0 ? [] : ['an adapter changes nothing'])),
    ...expected.flatMap((tokens, i) => (same(states[i]!.tokens, tokens) ? [] : [`state ${i}: not the tokens of PEFT`])),
  ];
  const count = before.tokens.reduce((sum, row) => sum + row.length, 0);
  const ratios = [first, second].map(({perToken}) => (perToken / before.perToken).toFixed(2)).join(' and ');
  const times = (of: 'making' | 'switching', timed: readonly State[]) =>
    timed.map(state => state[of].toFixed(2)).join(', ');
  console.log(
    `${faults.length === 0 ? 'ok    ' : 'FAILED'} ${name}: ${count} tokens${expected.length > 0 ? ' as of PEFT' : ''}, ` +
      `tensors made in ${times('making', [first, second])} ms, switches ${times('switching', states.slice(1))} ms, ` +
      `time per token ${ratios} of the base's ${faults.join('; ')}`,
  );
  return faults.length === 0 ? 0 : 1;
}
