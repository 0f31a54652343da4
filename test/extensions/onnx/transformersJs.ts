// Runs programs in transformers.js, in Node and in Chromium on WASM and WebGPU.

import {execFileSync} from 'node:child_process';
import {createReadStream, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync} from 'node:fs';
import {createServer, type Server} from 'node:http';
import {join} from 'node:path';
import {type Browser, chromium} from 'playwright-core';
import {CACHE, cached, install} from '../../../scripts/graphModels/cache';
import {ARGUMENTS, contentType, listen, WEBGPU_ARGUMENTS} from '../../chromium';
import {findChromium} from '../../backends/everywhere/browser';

/** onnxruntime-node and -web are those that it depends on. */
export const PACKAGE = '@huggingface/transformers@4.3.2';

/** Where a program runs: the root of the folders of models, and in pages the address of the runtime. */
interface Place {
  root: string;
  device: string;
  wasm?: string;
}

/** Kernels of ONNX Runtime count on workgroup memory that is zero at first. */
const UNCLEARED = '--enable-dawn-features=disable_workgroup_init';

const IN_NODE = `
import {readFileSync} from 'node:fs';
import {run} from './program.mjs';
console.log('RESULT' + JSON.stringify(await run(JSON.parse(readFileSync(process.argv[2], 'utf8')))));
`;
const PAGE = `<!doctype html><link rel="icon" href="data:," />
<script type="importmap">{"imports": {"@huggingface/transformers": "/transformers/transformers.min.js"}}</script>
<script type="module">import {run} from '/program.mjs'; window.run = run;</script>`;

/** What programs begin with, which `run` calls: models are read from a folder alone. */
export const BEGIN = `
export function begin(env, {root, wasm}) {
  Object.assign(env, {allowRemoteModels: false, allowLocalModels: true, localModelPath: root, useBrowserCache: false});
  if (wasm) Object.assign(env.backends.onnx.wasm, {wasmPaths: wasm, numThreads: 1});
}
export const valuesOf = adapters => adapters.map(inputs => Object.fromEntries(
  Object.entries(inputs).map(([key, {data, ...input}]) => {
    return [key, {...input, data: new Float32Array(Uint8Array.from(atob(data), c => c.charCodeAt(0)).buffer)}];
  }),
));
`;

/** The inputs of an adapted file as JSON that `valuesOf` reads. */
export function encodedInputs(inputs: Readonly<Record<string, {data: ArrayBufferView}>>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(inputs).map(([key, {data, ...input}]) => {
      return [key, {...input, data: Buffer.from(data.buffer).toString('base64')}];
    }),
  );
}

/** A program that exports `run`, with `swapAdapters` of docs/deploy.md next to it. */
export class TransformersJs {
  private readonly programs: string;
  private server: Server | undefined;
  private browser: Browser | undefined;
  private url = '';

  /** @param models the folder that has those of the models. */
  constructor(
    private readonly models: string,
    program: string,
  ) {
    install([PACKAGE]);
    this.programs = mkdtempSync(join(CACHE, 'program-'));
    const [, docs = ''] = /```js\n(import \{Tensor\}[^`]*?function swapAdapters[^`]*)```/.exec(
      readFileSync('docs/deploy.md', 'utf8'),
    )!;
    for (const [name, text] of Object.entries({swapAdapters: docs, begin: BEGIN, program, node: IN_NODE})) {
      writeFileSync(join(this.programs, `${name}.mjs`), text);
    }
  }

  inNode<T>(job: object): T {
    const file = join(this.models, 'job.json');
    const place: Place = {root: `${this.models}/`, device: 'cpu'};
    writeFileSync(file, JSON.stringify({...job, ...place}));
    const script = join(this.programs, 'node.mjs');
    const printed = execFileSync('node', [script, file], {encoding: 'utf8', maxBuffer: 2 ** 28});
    return JSON.parse(printed.split('RESULT')[1]!) as T;
  }

  async inPage<T>(device: 'wasm' | 'webgpu', job: object): Promise<T> {
    this.server ??= this.serve();
    this.url ||= await listen(this.server);
    this.browser ??= await chromium.launch({
      executablePath: findChromium()!,
      args: [...ARGUMENTS, ...WEBGPU_ARGUMENTS.filter(argument => argument !== UNCLEARED)],
    });
    const page = await this.browser.newPage();
    await page.goto(this.url);
    await page.waitForFunction('window.run');
    const place: Place = {root: '/models/', device, wasm: `${this.url}/ort/`};
    const result = await page.evaluate<T>(`window.run(${JSON.stringify({...job, ...place})})`);
    await page.close();
    return result;
  }

  async close(): Promise<void> {
    await this.browser?.close();
    this.server?.close();
    rmSync(this.programs, {recursive: true});
  }

  private serve(): Server {
    const dist = cached('@huggingface/transformers/dist');
    const ort = [cached('@huggingface/transformers/node_modules/onnxruntime-web/dist'), cached('onnxruntime-web/dist')];
    const folders: Record<string, string> = {models: this.models, transformers: dist, ort: ort.find(existsSync)!};
    return createServer(({url = '/'}, response) => {
      const [, first = '', ...names] = url.split('?')[0]!.split('/');
      const file = folders[first] === undefined ? join(this.programs, first) : join(folders[first], ...names);
      if (url === '/') {
        response.setHeader('content-type', 'text/html').end(PAGE);
      } else if (existsSync(file)) {
        response.writeHead(200, {'content-type': contentType(file), 'content-length': statSync(file).size});
        createReadStream(file).pipe(response);
      } else {
        response.writeHead(404).end();
      }
    });
  }
}
