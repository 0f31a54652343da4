// Runs `swapAdapters` of docs/deploy.md in transformers.js, in Node and in Chromium on WASM and WebGPU: part of
// `npm run check -- lastmile`.

import {execFileSync} from 'node:child_process';
import {createReadStream, existsSync, statSync} from 'node:fs';
import {copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {createServer} from 'node:http';
import {join} from 'node:path';
import {chromium, type Page} from 'playwright-core';
import {adaptONNX} from '../../../src/onnx';
import {CACHE, cached, install} from '../../../scripts/graphModels/cache';
import {ARGUMENTS, contentType, listen, WEBGPU_ARGUMENTS} from '../../chromium';
import {findChromium} from '../../backends/everywhere/browser';

/** onnxruntime-node and -web are those that it depends on. */
const PACKAGE = '@huggingface/transformers@4.3.2';
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
  /** For the switch. */
  milliseconds: number;
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
import {swapAdapters} from './swapAdapters.mjs';

export async function swap({root, wasm, device, name, dtype, adapters, prompts, count}) {
  Object.assign(env, {allowRemoteModels: false, allowLocalModels: true, localModelPath: root, useBrowserCache: false});
  if (wasm) Object.assign(env.backends.onnx.wasm, {wasmPaths: wasm, numThreads: 1});
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
  const add = async (model, milliseconds, before) => {
    const [logits, times] = [await logitsOf(model), []];
    const tokens = await generated(model, times);
    const differences = Array.from(before ?? logits, (value, i) => Math.abs(value - logits[i]));
    states.push({
      milliseconds,
      perToken: times.sort((a, b) => a - b)[times.length >> 1],
      changed: differences.filter(difference => difference !== 0).length,
      largest: differences.reduce((a, b) => Math.max(a, b), 0),
      tokens,
    });
    return logits;
  };
  const base = await load(name);
  const before = await add(base, 0);
  await base.dispose();
  const model = await load(name + '-lora');
  const switches = swapAdapters(model);
  const values = adapters.map(inputs => Object.fromEntries(Object.entries(inputs).map(([key, {data, ...input}]) => {
    return [key, {...input, data: new Float32Array(Uint8Array.from(atob(data), c => c.charCodeAt(0)).buffer)}];
  })));
  for (const inputs of [null, ...values, null]) {
    const start = performance.now();
    switches.use(inputs);
    await add(model, performance.now() - start, before);
  }
  await model.dispose();
  return states;
}
`;
const IN_NODE = `
import {readFileSync} from 'node:fs';
import {swap} from './program.mjs';
console.log('RESULT' + JSON.stringify(await swap(JSON.parse(readFileSync(process.argv[2], 'utf8')))));
`;
const PAGE = `<!doctype html><link rel="icon" href="data:," />
<script type="importmap">{"imports": {"@huggingface/transformers": "/transformers/transformers.min.js"}}</script>
<script type="module">import {swap} from '/program.mjs'; window.swap = swap;</script>`;

/** Runs decoders in turn. @returns how many checks failed. */
export async function checkSwaps(out: string, cases: readonly SwapCase[], inPages: boolean): Promise<number> {
  install([PACKAGE]);
  const programs = mkdtempSync(join(CACHE, 'swap-'));
  try {
    const [, docs = ''] = /```js\n(import \{Tensor\}[^`]*?function swapAdapters[^`]*)```/.exec(
      readFileSync('docs/deploy.md', 'utf8'),
    )!;
    writeFileSync(join(programs, 'swapAdapters.mjs'), docs);
    writeFileSync(join(programs, 'program.mjs'), PROGRAM);
    writeFileSync(join(programs, 'node.mjs'), IN_NODE);
    const jobs = [];
    for (const swapCase of cases) {
      jobs.push({swapCase, ...(await prepare(out, swapCase))});
    }
    let failed = 0;
    for (const {swapCase, job, expected} of jobs) {
      const file = join(out, 'job.json');
      writeFileSync(file, JSON.stringify({...job, root: `${out}/`, device: 'cpu'}));
      const printed = execFileSync('node', [join(programs, 'node.mjs'), file], {encoding: 'utf8', maxBuffer: 2 ** 28});
      failed += report(`${swapCase.name} in Node`, JSON.parse(printed.split('RESULT')[1]!) as State[], expected);
    }
    if (inPages) {
      const {url, close} = await serve(out, programs);
      const browser = await chromium.launch({
        executablePath: findChromium()!,
        args: [...ARGUMENTS, ...WEBGPU_ARGUMENTS],
      });
      for (const {swapCase, job, expected} of jobs) {
        for (const device of ['wasm', 'webgpu']) {
          const page = await browser.newPage();
          await page.goto(url);
          const states = await runInPage(page, {...job, device, root: '/models/', wasm: `${url}/ort/`, count: 16});
          failed += report(`${swapCase.name} in Chromium on ${device}`, states, device === 'wasm' ? expected : []);
          await page.close();
        }
      }
      await browser.close();
      close();
    }
    return failed;
  } finally {
    rmSync(programs, {recursive: true});
  }
}

async function runInPage(page: Page, job: object): Promise<State[]> {
  await page.waitForFunction('window.swap');
  return page.evaluate<State[]>(`window.swap(${JSON.stringify(job)})`);
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
      const encoded = Object.entries(adapted.inputs).map(([key, {data, ...input}]) => {
        return [key, {...input, data: Buffer.from(data.buffer).toString('base64')}];
      });
      inputs.push(Object.fromEntries(encoded) as Record<string, unknown>);
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
  const times = states
    .slice(1)
    .map(({milliseconds}) => milliseconds.toFixed(2))
    .join(', ');
  console.log(
    `${faults.length === 0 ? 'ok    ' : 'FAILED'} ${name}: ${count} tokens${expected.length > 0 ? ' as of PEFT' : ''}, ` +
      `switches ${times} ms, time per token ${ratios} of the base's ${faults.join('; ')}`,
  );
  return faults.length === 0 ? 0 : 1;
}

async function serve(models: string, programs: string): Promise<{url: string; close: () => void}> {
  const dist = cached('@huggingface/transformers/dist');
  const ort = [cached('@huggingface/transformers/node_modules/onnxruntime-web/dist'), cached('onnxruntime-web/dist')];
  const folders: Record<string, string> = {models, transformers: dist, ort: ort.find(existsSync)!};
  const server = createServer(({url = '/'}, response) => {
    const [, first = '', ...names] = url.split('?')[0]!.split('/');
    const file = folders[first] === undefined ? join(programs, first) : join(folders[first], ...names);
    if (url === '/') {
      response.setHeader('content-type', 'text/html').end(PAGE);
    } else if (existsSync(file)) {
      response.writeHead(200, {'content-type': contentType(file), 'content-length': statSync(file).size});
      createReadStream(file).pipe(response);
    } else {
      response.writeHead(404).end();
    }
  });
  const address = await listen(server);
  return {url: address, close: () => server.close()};
}
