import {spawn, spawnSync, type ChildProcess} from 'node:child_process';
import {cpSync, existsSync, mkdirSync, rmSync} from 'node:fs';
import {join} from 'node:path';
import {textsUnder} from '../docs/pages';
import {describeInBrowser} from '../examples/site';
import {BundledSite, VITE_CONFIG} from './bundledSite';

jest.setTimeout(240_000);

// What docs/bundlers.md says, in projects that have the packed library.

const PAGE = 'docs/bundlers.md';
const [, ADDRESSES = ''] = textsUnder(PAGE, 'Vite and webpack', 'js');
const [FOLDER = ''] = textsUnder(PAGE, 'Next, and any bundler', 'js');
const [COPY = ''] = textsUnder(PAGE, 'Next, and any bundler', 'sh');
const [SCRIPTS = ''] = textsUnder(PAGE, 'A script tag', 'html');
const ONE_THREAD = textsUnder(PAGE, 'Threads in a minified page', 'js').at(-1)!;
const PLAIN = 'export default {};';

/** A page that says nothing of where the binaries are, as the package's own page has it. */
const UNTOLD = `
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';

await tf.setBackend('wasm');
await tf.ready();
window.result = {backend: tf.getBackend()};
`;

/** Trains two epochs on what is then current. */
const STEP = `
import {getThreadsCount} from '@tensorflow/tfjs-backend-wasm';
import {adam, applyLoRA, useRelaxedSIMD} from 'tfjs-lora';
import {digitReader, rotatedDigits} from 'tfjs-lora/quickstart';

const model = applyLoRA(digitReader(), {rank: 2, seed: 1});
model.compile({optimizer: adam({learningRate: 1e-2}), loss: 'categoricalCrossentropy'});
const {images, labels} = rotatedDigits();
const {history} = await model.fit(images, labels, {epochs: 2, shuffle: false});
// The library's module alone has these instructions.
const kernels = useRelaxedSIMD() ? 'module' : 'other';
const threads = tf.getBackend() === 'wasm' ? getThreadsCount() : 1;
window.result = {backend: tf.getBackend(), loss: history.loss, kernels, threads};
`;

interface Result {
  backend: string;
  loss: number[];
  kernels: string;
  threads: number;
}

/** Whether it trained on wasm, with what the library has for that. */
function trained({backend, kernels, loss}: Result): boolean {
  return backend === 'wasm' && kernels === 'module' && loss.length === 2 && loss[1]! < loss[0]!;
}

/** The program with a line of the page before it sets the backend. */
function before(program: string, line: string): string {
  return program.replace(/^.*await tf\.setBackend/m, text => `${line}\n${text}`);
}

describeInBrowser('the wasm backend in a page', () => {
  let site: BundledSite;

  beforeAll(async () => {
    site = await BundledSite.open();
  });

  afterAll(() => site.close());

  async function build(program: string, config = PLAIN): Promise<void> {
    site.write({'main.js': program});
    await site.buildWithVite(config);
  }

  describe('built by Vite', () => {
    beforeEach(() => site.serve('dist'));

    test('does not start without paths of its binaries, and tfjs silently uses another backend', async () => {
      await build(UNTOLD);
      const {page, complaints} = await site.visit();
      await page.waitForFunction(() => 'result' in window);
      expect(complaints.join('\n')).toContain('expected magic word 00 61 73 6d, found 3c 21 64 6f');
      expect(await page.evaluate(() => (window as unknown as {result: Result}).result.backend)).not.toBe('wasm');
      await page.context().close();
    });

    test('starts with their addresses', async () => {
      await build(ADDRESSES + STEP);
      const result = await site.resultOf<Result>();
      expect(result.threads).toBe(1);
      expect(trained(result)).toBe(true);
    });

    test('starts with the folder that they are copied to', async () => {
      expect(spawnSync(COPY, {cwd: site.project, shell: true}).status).toBe(0);
      await build(FOLDER + STEP);
      rmSync(join(site.project, 'public'), {recursive: true});
      expect(trained(await site.resultOf<Result>())).toBe(true);
    });

    test('does not start in an isolated page that is minified, and has threads with the plugin for it', async () => {
      site.serve('dist', true);
      await build(ADDRESSES + STEP);
      const {page, complaints} = await site.visit();
      const isReported = () => complaints.some(text => text.includes(' is not defined'));
      for (const last = Date.now() + 60_000; !isReported() && Date.now() < last;) {
        await page.waitForTimeout(100);
      }
      expect(complaints.join('\n')).toMatch(/ is not defined/);
      expect(await page.evaluate(() => 'result' in window)).toBe(false);
      await page.context().close();

      await build(ADDRESSES + STEP, VITE_CONFIG);
      const result = await site.resultOf<Result>();
      expect(result.threads).toBeGreaterThan(1);
      expect(trained(result)).toBe(true);
    });

    test('starts in an isolated page without threads', async () => {
      site.serve('dist', true);
      await build(before(ADDRESSES, ONE_THREAD) + STEP);
      const result = await site.resultOf<Result>();
      expect(result.threads).toBe(1);
      expect(trained(result)).toBe(true);
    });
  });

  test("starts with their addresses in Vite's development server", async () => {
    // The packages are links to a folder outside, which the server would not give away.
    site.write({'main.js': ADDRESSES + STEP, 'vite.config.js': 'export default {server: {fs: {strict: false}}};'});
    const {NODE_OPTIONS: _, ...env} = process.env;
    const vite: ChildProcess = spawn(process.execPath, ['node_modules/vite/bin/vite.js', '--host', '127.0.0.1'], {
      cwd: site.project,
      env: {...env, NO_COLOR: '1'},
    });
    try {
      const url = await new Promise<string>((resolve, reject) => {
        let output = '';
        vite.stdout!.on('data', chunk => {
          output += String(chunk);
          const address = /http:\/\/127\.0\.0\.1:\d+\//.exec(output);
          if (address !== null) {
            resolve(address[0]);
          }
        });
        vite.on('close', () => {
          reject(new Error(output));
        });
      });
      expect(trained(await site.resultOf<Result>({url}))).toBe(true);
    } finally {
      vite.kill();
    }
  });

  test.each([false, true])('starts with their addresses where webpack builds it; isolated: %p', async isolated => {
    const packed = join(site.project, 'packed');
    if (!existsSync(packed)) {
      mkdirSync(packed);
      site.write({'main.js': ADDRESSES + STEP});
      // To minify all of tfjs takes half a minute; what matters is its wasm backend.
      const externals = `{externals: {'@tensorflow/tfjs': 'tf', '@tensorflow/tfjs-core': 'tf'}}`;
      await site.buildWithWebpack(externals, ['/tf.min.js']);
      cpSync(join(site.project, 'node_modules/@tensorflow/tfjs/dist/tf.min.js'), join(packed, 'tf.min.js'));
    }
    site.serve('packed', isolated);
    const result = await site.resultOf<Result>();
    expect(result.threads > 1).toBe(isolated);
    expect(trained(result)).toBe(true);
  });

  test('starts from script tags without a setting', async () => {
    site.serve('');
    site.write({'index.html': `${SCRIPTS}<link rel="icon" href="data:," />`});
    const {page} = await site.visit();
    await page.waitForFunction(() => document.body.innerText !== '');
    expect(await page.innerText('body')).toBe('wasm');
    await page.context().close();
  });
});
