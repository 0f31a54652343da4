import {readFileSync} from 'node:fs';
import {createServer, type Server} from 'node:http';
import {join} from 'node:path';
import type * as TF from '@tensorflow/tfjs';
import type {Browser} from 'playwright-core';
import type * as Core from 'tfjs-lora';
import type * as Language from 'tfjs-lora/language';
import {blocksOf} from '../docs/pages';
import {listen} from '../chromium';
import {describeInBrowser, launchBrowser} from '../examples/site';

jest.setTimeout(120_000);

const ROOT = join(__dirname, '../..');
const TFJS = 'node_modules/@tensorflow/tfjs/dist';

/**
 * A step of training, and an adapter through its bytes: what `lora_B` is after the step, and what it is when it is read
 * again.
 */
const STEP = `async (tf, lora) => {
  await tf.setBackend('cpu');
  // A random kernel may give outputs near zero, whose gradient is not large beside Adam's epsilon.
  const layer = tf.layers.dense({units: 2, inputShape: [3], name: 'fc', kernelInitializer: 'ones'});
  const base = tf.sequential({layers: [layer]});
  const model = lora.applyLoRA(base, {rank: 1, seed: 1});
  model.compile({optimizer: lora.adam({learningRate: 0.1}), loss: 'meanSquaredError'});
  await model.fit(tf.ones([4, 3]), tf.zeros([4, 2]), {epochs: 1, verbose: 0});
  const bytes = await lora.toSafetensors(model);
  const again = await lora.loadAdapter(bytes);
  const [trained, read] = [lora.getAdapter(model), again].map(({tensors}) => Array.from(tensors['fc/lora_B'].dataSync()));
  return {trained, read, graphs: typeof lora.fromGraphModel};
}`;

const PAGES: Record<string, string> = {
  '/script': `<!doctype html><link rel="icon" href="data:,">
    <script src="/tf.min.js"></script><script src="/tfjs-lora.min.js"></script>
    <script>window.result = (${STEP})(tf, tfjsLoRA);</script>`,
  '/map': `<!doctype html><link rel="icon" href="data:,">
    <script type="importmap">{"imports": {"@tensorflow/tfjs": "/tf.fesm.js", "tfjs-lora": "/dist/index.js", "tfjs-lora/graph": "/dist/graph.js"}}</script>
    <script type="module">
      import * as tf from '@tensorflow/tfjs';
      import * as lora from 'tfjs-lora';
      import * as graph from 'tfjs-lora/graph';
      window.result = (${STEP})(tf, {...lora, ...graph});
    </script>`,
  '/words': `<!doctype html><link rel="icon" href="data:,">
    <script type="importmap">{"imports": {"@tensorflow/tfjs": "/tf.fesm.js"}}</script>
    <script type="module">
      import * as tf from '@tensorflow/tfjs';
      import {loadWordBase} from '/dist/words.js';
      await tf.setBackend('cpu');
      const before = performance.getEntriesByType('resource').filter(({name}) => name.includes('wordBaseData'));
      const {model, encode} = await loadWordBase();
      const {shape} = model.predict(encode({samples: new Float32Array(48_000), sampleRate: 48_000}));
      window.result = {before: before.length, parameters: model.countParams(), shape};
    </script>`,
  '/worker': `<!doctype html><link rel="icon" href="data:,">
    <script>window.result = new Promise((resolve, reject) => {
      const worker = new Worker('/worker.js');
      worker.onmessage = ({data}) => resolve(data);
      worker.onerror = ({message}) => reject(new Error(message));
    });</script>`,
};
/** The pages of docs/quick-start.md, which lie beside a folder node_modules. */
const WRITTEN = blocksOf('docs/quick-start.md', 'html').map(({text}) => text);
WRITTEN.forEach((text, i) => (PAGES[`/written-${i}`] = `${text}<link rel="icon" href="data:,">`));

const [LANGUAGE = ''] = blocksOf('docs/language.md', 'html').map(({text}) => text);
PAGES['/language'] = `${LANGUAGE}<link rel="icon" href="data:,">`;
PAGES['/language-alone'] = `<!doctype html><link rel="icon" href="data:,">
  <script src="/tf.min.js"></script><script src="/dist/tfjs-lora-language.min.js"></script>`;

const SCRIPTS: Record<string, () => string | Buffer> = {
  '/model.gguf': () => readFileSync(join(ROOT, 'test/fixtures/gguf/llama.gguf')),
  '/tf.min.js': () => readFileSync(join(ROOT, TFJS, 'tf.min.js')),
  '/tf.fesm.js': () => readFileSync(join(ROOT, TFJS, 'tf.fesm.js')),
  '/tfjs-lora.min.js': () => readFileSync(join(ROOT, 'dist/tfjs-lora.min.js')),
  '/worker.js': () =>
    `importScripts('/tf.min.js', '/tfjs-lora.min.js'); (${STEP})(tf, tfjsLoRA).then(result => postMessage(result));`,
};

describeInBrowser('in a page without a bundler', () => {
  let browser: Browser;
  let server: Server;
  let origin: string;

  beforeAll(async () => {
    server = createServer((request, response) => {
      const path = request.url ?? '/';
      const page = PAGES[path];
      const file = path.replace(/^\/node_modules\/tfjs-lora\//, '/');
      const script = /^\/(dist|node_modules)\//.test(file) ? () => readFileSync(join(ROOT, file)) : SCRIPTS[path];
      if (page === undefined && script === undefined) {
        response.writeHead(404).end();
        return;
      }
      response.writeHead(200, {'content-type': page === undefined ? 'text/javascript' : 'text/html'});
      response.end(page ?? script!());
    });
    origin = await listen(server);
    browser = await launchBrowser();
  });

  afterAll(async () => {
    await browser.close();
    server.close();
  });

  test.each([
    ['a script tag', '/script'],
    ['an import map', '/map'],
    ['a worker with importScripts', '/worker'],
  ])('%s is enough to train a step and to keep the adapter', async (_way, path) => {
    const page = await browser.newPage();
    const errors: string[] = [];
    page.on('pageerror', error => errors.push(error.message));
    await page.goto(origin + path);
    await page.waitForFunction(() => 'result' in window);
    const {trained, read, graphs} = await page.evaluate(
      () => (window as unknown as {result: Promise<{trained: number[]; read: number[]; graphs: string}>}).result,
    );
    expect(errors).toEqual([]);
    expect(graphs).toBe('function');
    // Adam's first step is the learning rate, up or down.
    trained.forEach(value => expect(Math.abs(value)).toBeCloseTo(0.1, 5));
    expect(read).toEqual(trained);
  });

  test('the network for words is loaded when it is asked for, from next to its entry point', async () => {
    const page = await browser.newPage();
    await page.goto(`${origin}/words`);
    await page.waitForFunction(() => 'result' in window);
    const result = await page.evaluate(() => (window as unknown as {result: object}).result);
    expect(result).toEqual({before: 0, parameters: 195_144, shape: [1, 96]});
  });

  test.each(WRITTEN.map((_text, i) => i))('page %i of the quick start shows what trains', async i => {
    const page = await browser.newPage();
    const errors: string[] = [];
    page.on('pageerror', error => errors.push(error.message));
    await page.goto(`${origin}/written-${i}`);
    await page.getByText(/trainable params: \d/).waitFor();
    expect(errors).toEqual([]);
  });

  test('the page of docs/language.md generates text with a script tag', async () => {
    const page = await browser.newPage();
    const errors: string[] = [];
    page.on('pageerror', error => errors.push(error.message));
    await page.goto(`${origin}/language`);
    await page.waitForFunction(() => document.body.innerText.trim().length > 0);
    expect(errors).toEqual([]);
    // Both files have the same modules: the one adapts and trains what the other loads.
    const losses = await page.evaluate(async () => {
      const {tf, tfjsLoRA} = window as unknown as {tf: typeof TF; tfjsLoRA: typeof Core & typeof Language};
      const {model} = await tfjsLoRA.loadGGUF('model.gguf');
      const adapted = tfjsLoRA.applyLoRA(model, {rank: 2});
      tfjsLoRA.compileModel(adapted, {optimizer: tf.train.adam(0.01)});
      const [ids, mask, next] = [
        [1, 2, 3, 4],
        [1, 1, 1, 1],
        [2, 3, 4, 5],
      ].map(row => tf.tensor2d([row], [1, 4], 'int32'));
      const {history} = await adapted.fit([ids!, mask!], next!, {epochs: 3, verbose: 0});
      return history.loss as number[];
    });
    expect(losses[2]).toBeLessThan(losses[0]!);
  });

  test('the script tag for language models says what it needs before it', async () => {
    const page = await browser.newPage();
    const errors: string[] = [];
    page.on('pageerror', error => errors.push(error.message));
    await page.goto(`${origin}/language-alone`);
    expect(errors).toEqual([expect.stringMatching(/^tfjs-lora-language\.min\.js .* needs tfjs-lora\.min\.js /)]);
  });
});
