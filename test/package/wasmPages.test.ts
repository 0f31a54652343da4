import {spawn, spawnSync, type ChildProcess} from 'node:child_process';
import {cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {createServer, type Server} from 'node:http';
import {join} from 'node:path';
import type {Browser, Page} from 'playwright-core';
import {contentType, listen, manyCores} from '../chromium';
import {textsUnder} from '../docs/pages';
import {describeInBrowser, launchBrowser} from '../examples/site';
import {makeProject, runIn} from './project';

jest.setTimeout(240_000);

// What docs/bundlers.md says, in projects that have the packed library.

const PAGE = 'docs/bundlers.md';
const [FILES = '', ADDRESSES = ''] = textsUnder(PAGE, 'Vite and webpack', 'js');
const [FOLDER = ''] = textsUnder(PAGE, 'Next, and any bundler', 'js');
const [COPY = ''] = textsUnder(PAGE, 'Next, and any bundler', 'sh');
const [SCRIPTS = ''] = textsUnder(PAGE, 'A script tag', 'html');
const [VITE = '', WEBPACK = '', LOADER = '', ONE_THREAD = ''] = textsUnder(PAGE, 'Threads in a minified page', 'js');

/** A page that says nothing of where the binaries are, as the package's own page has it. */
const UNTOLD = `
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';

await tf.setBackend('wasm');
`;

/** Trains two epochs on what is then current. */
const STEP = `
import {getThreadsCount} from '@tensorflow/tfjs-backend-wasm';
import {adam, applyLoRA, loraKernels} from 'tfjs-lora';
import {digitReader, turnedDigits} from 'tfjs-lora/quickstart';

const model = applyLoRA(digitReader(), {rank: 2, seed: 1});
model.compile({optimizer: adam({learningRate: 1e-2}), loss: 'categoricalCrossentropy'});
const {images, labels} = turnedDigits();
const {history} = await model.fit(images, labels, {epochs: 2, shuffle: false});
const threads = tf.getBackend() === 'wasm' ? getThreadsCount() : 1;
window.result = {backend: tf.getBackend(), loss: history.loss, kernels: loraKernels(), threads};
`;

interface Result {
  backend: string;
  loss: number[];
  kernels: string;
  threads: number;
}

/** The program with a line of the page before it sets the backend. */
function before(program: string, line: string): string {
  return program.replace(/^.*await tf\.setBackend/m, text => `${line}\n${text}`);
}

describeInBrowser('the wasm backend in a page', () => {
  let browser: Browser;
  let project: string;
  let server: Server;
  let origin: string;
  /** The folder that is served, and whether its pages are isolated. */
  let site: {folder: string; isolated: boolean};

  beforeAll(async () => {
    project = makeProject(['@tensorflow', 'vite', 'webpack']);
    writeFileSync(join(project, 'index.html'), '<!doctype html><script type="module" src="/main.js"></script>');
    writeFileSync(join(project, 'wasmFiles.js'), FILES);
    writeFileSync(join(project, 'tfjsThreads.cjs'), LOADER);
    writeFileSync(join(project, 'webpack.config.cjs'), WEBPACK);
    writeFileSync(
      join(project, 'pack.mjs'),
      `import webpack from 'webpack';
       import config from './webpack.config.cjs';
       const output = {path: import.meta.dirname + '/packed'};
       // To minify all of tfjs takes half a minute; what matters is its wasm backend.
       const externals = {'@tensorflow/tfjs': 'tf', '@tensorflow/tfjs-core': 'tf'};
       webpack({...config, context: import.meta.dirname, output, externals}, (error, stats) => {
         if (error !== null || stats.hasErrors()) {
           throw error ?? new Error(stats.toString());
         }
       });`,
    );
    // As hosts of pages of one file do, it answers every other address with that file.
    server = createServer((request, response) => {
      const {pathname} = new URL(request.url ?? '/', 'http://localhost');
      const asked = join(site.folder, pathname);
      const file = pathname !== '/' && existsSync(asked) ? asked : join(site.folder, 'index.html');
      const isolation = {
        'cross-origin-opener-policy': 'same-origin',
        'cross-origin-embedder-policy': 'require-corp',
      };
      response.writeHead(200, {'content-type': contentType(file), ...(site.isolated ? isolation : {})});
      response.end(readFileSync(file));
    });
    origin = await listen(server);
    browser = await launchBrowser();
  });

  afterAll(async () => {
    await browser.close();
    server.close();
    rmSync(project, {recursive: true, force: true});
  });

  /** Opens a page, and gives it with what it complains of. */
  async function open(url: string): Promise<{page: Page; complaints: string[]}> {
    const page = await (await browser.newContext()).newPage();
    await page.addInitScript(manyCores(4));
    const complaints: string[] = [];
    page.on('pageerror', error => complaints.push(error.message));
    page.on('console', message => complaints.push(message.text()));
    await page.goto(url);
    return {page, complaints};
  }

  /** What the page computed, once it has; it complains of nothing. */
  async function resultOf(url: string): Promise<Result> {
    const {page, complaints} = await open(url);
    await page
      .waitForFunction(() => 'result' in window)
      .catch((error: unknown) => {
        throw new Error(`${String(error)}\n${complaints.join('\n')}`);
      });
    const result = await page.evaluate(() => (window as unknown as {result: Result}).result);
    await page.context().close();
    return result;
  }

  function writeProgram(program: string): void {
    writeFileSync(join(project, 'main.js'), program + STEP);
  }

  async function build(program: string, config = 'export default {};'): Promise<void> {
    writeProgram(program);
    writeFileSync(join(project, 'vite.config.js'), config);
    const {code, output} = await runIn(project, ['node_modules/vite/bin/vite.js', 'build', '--logLevel', 'error']);
    expect({code, output}).toMatchObject({code: 0});
  }

  /** Whether it trained on wasm, with what the library has for that. */
  function trained({backend, kernels, loss}: Result): boolean {
    return backend === 'wasm' && kernels === 'module' && loss.length === 2 && loss[1]! < loss[0]!;
  }

  describe('built by Vite', () => {
    beforeEach(() => (site = {folder: join(project, 'dist'), isolated: false}));

    test('does not start where nobody says where its binaries are, and tfjs takes another in silence', async () => {
      await build(UNTOLD);
      const {page, complaints} = await open(origin);
      await page.waitForFunction(() => 'result' in window);
      expect(complaints.join('\n')).toContain('expected magic word 00 61 73 6d, found 3c 21 64 6f');
      expect(await page.evaluate(() => (window as unknown as {result: Result}).result.backend)).not.toBe('wasm');
      await page.context().close();
    });

    test('starts with their addresses', async () => {
      await build(ADDRESSES);
      const result = await resultOf(origin);
      expect(result.threads).toBe(1);
      expect(trained(result)).toBe(true);
    });

    test('starts with the folder that they are copied to', async () => {
      const modules = join(project, 'node_modules');
      expect(existsSync(join(modules, '@tensorflow/tfjs-backend-wasm'))).toBe(true);
      expect(spawnSync(COPY, {cwd: project, shell: true}).status).toBe(0);
      await build(FOLDER);
      rmSync(join(project, 'public'), {recursive: true});
      const result = await resultOf(origin);
      expect(trained(result)).toBe(true);
    });

    test('has threads in an isolated page with the plugin of the page, and does not start without', async () => {
      site.isolated = true;
      await build(ADDRESSES);
      const {page, complaints} = await open(origin);
      const isReported = () => complaints.some(text => / is not defined/.test(text));
      for (const last = Date.now() + 60_000; !isReported() && Date.now() < last;) {
        await page.waitForTimeout(100);
      }
      expect(complaints.join('\n')).toMatch(/ is not defined/);
      expect(await page.evaluate(() => 'result' in window)).toBe(false);
      await page.context().close();

      await build(ADDRESSES, VITE);
      const result = await resultOf(origin);
      expect(result.threads).toBeGreaterThan(1);
      expect(trained(result)).toBe(true);
    });

    test('starts in an isolated page without threads', async () => {
      site.isolated = true;
      await build(before(ADDRESSES, ONE_THREAD));
      const result = await resultOf(origin);
      expect(result.threads).toBe(1);
      expect(trained(result)).toBe(true);
    });
  });

  test("starts with their addresses in Vite's development server", async () => {
    writeProgram(ADDRESSES);
    // The packages are links to a folder outside, which the server would not give away.
    writeFileSync(join(project, 'vite.config.js'), 'export default {server: {fs: {strict: false}}};');
    const {NODE_OPTIONS: _, ...env} = process.env;
    const vite: ChildProcess = spawn(process.execPath, ['node_modules/vite/bin/vite.js', '--host', '127.0.0.1'], {
      cwd: project,
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
        vite.on('close', () => reject(new Error(output)));
      });
      const result = await resultOf(url);
      expect(trained(result)).toBe(true);
    } finally {
      vite.kill();
    }
  });

  test.each([false, true])('starts with their addresses where webpack builds it; isolated: %p', async isolated => {
    site = {folder: join(project, 'packed'), isolated};
    if (!existsSync(site.folder)) {
      mkdirSync(site.folder);
      writeFileSync(
        join(site.folder, 'index.html'),
        '<!doctype html><script src="/tf.min.js"></script><script src="/main.js"></script>',
      );
      cpSync(join(project, 'node_modules/@tensorflow/tfjs/dist/tf.min.js'), join(site.folder, 'tf.min.js'));
      writeProgram(ADDRESSES);
      const {code, output} = await runIn(project, ['pack.mjs']);
      expect({code, output}).toMatchObject({code: 0});
    }
    const result = await resultOf(origin);
    expect(result.threads > 1).toBe(isolated);
    expect(trained(result)).toBe(true);
  });

  test('starts from script tags without a setting', async () => {
    site = {folder: project, isolated: false};
    writeFileSync(join(project, 'index.html'), `${SCRIPTS}<link rel="icon" href="data:," />`);
    const {page} = await open(origin);
    await page.waitForFunction(() => document.body.innerText !== '');
    expect(await page.innerText('body')).toBe('wasm');
    await page.context().close();
  });
});
