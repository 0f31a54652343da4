import {existsSync, readFileSync, readdirSync, rmSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {textsUnder} from '../docs/pages';
import {makeProject, runIn} from './project';

jest.setTimeout(120_000);

const ROOT = process.cwd();
const MODULES = join(ROOT, 'node_modules');
const HAS_TFJS_NODE = existsSync(join(MODULES, '@tensorflow/tfjs-node'));

/**
 * Trains a step with `tf` and `lora`, merges, and says `TRAINED` if the merged model computes what the adapted one
 * does.
 */
const STEP = `
async function step(tf, lora, {digitReader, rotatedDigits}) {
  const base = digitReader();
  const {images, labels} = rotatedDigits();
  const model = lora.applyLoRA(base, {rank: 2, seed: 1});
  model.compile({optimizer: lora.adam({learningRate: 0.1}), loss: 'categoricalCrossentropy'});
  const x = tf.slice(images, 0, 8);
  await model.fit(x, tf.slice(labels, 0, 8), {epochs: 1, verbose: 0});
  const bytes = await lora.toSafetensors(model);
  const again = lora.applyLoRA(base, await lora.loadAdapter(bytes));
  const [adapted, merged, plain] = [again, lora.mergeLoRA(model), base].map(each => Array.from(each.predict(x).dataSync()));
  const distance = (a, b) => Math.max(...a.map((value, i) => Math.abs(value - b[i])));
  console.log(distance(adapted, merged) < 1e-5 && distance(adapted, plain) > 1e-3 ? 'TRAINED' : 'NOT TRAINED');
}
`;

/** Programs by their names: each in a project that has nothing but the packed library and its peers. */
const PROGRAMS = {
  'esm.mjs': `
    import * as tf from '@tensorflow/tfjs';
    import * as lora from 'tfjs-lora';
    import * as quickstart from 'tfjs-lora/quickstart';
    ${STEP}
    await step(tf, lora, quickstart);`,
  'required.cjs': `
    const tf = require('@tensorflow/tfjs');
    const lora = require('tfjs-lora');
    const quickstart = require('tfjs-lora/quickstart');
    ${STEP}
    step(tf, lora, quickstart);`,
  'both.mjs': `
    import {createRequire} from 'node:module';
    import * as tf from '@tensorflow/tfjs';
    import * as imported from 'tfjs-lora';
    import * as quickstart from 'tfjs-lora/quickstart';
    ${STEP}
    const required = createRequire(import.meta.url)('tfjs-lora');
    if (required === imported || required.applyLoRA === imported.applyLoRA) throw new Error('one copy');
    await step(tf, {...imported, getAdapter: required.getAdapter, mergeLoRA: required.mergeLoRA}, quickstart);`,
  // A server that renders pages imports what a page imports, and has nothing of a browser.
  'server.mjs': `
    for (const name of ['window', 'document', 'navigator', 'self', 'location', 'indexedDB', 'localStorage']) {
      delete globalThis[name];
      if (name in globalThis) throw new Error(name + ' is there');
    }
    const names = ['index', 'graph', 'transformers', 'quickstart'];
    const [lora, , , quickstart] = await Promise.all(names.map(name => import(\`./node_modules/tfjs-lora/dist/\${name}.js\`)));
    const tf = await import('@tensorflow/tfjs');
    ${STEP}
    await step(tf, lora, quickstart);`,
  ...(HAS_TFJS_NODE && {
    'tfjs-node.cjs': `
    const tf = require('@tensorflow/tfjs-node');
    const lora = require('tfjs-lora');
    const quickstart = require('tfjs-lora/quickstart');
    ${STEP}
    if (tf.getBackend() !== 'tensorflow') throw new Error(tf.getBackend());
    step(tf, lora, quickstart);`,
  }),
};

/** The test of somebody's page. */
const PAGE_TEST = `
  const tf = require('@tensorflow/tfjs');
  const lora = require('tfjs-lora');
  const quickstart = require('tfjs-lora/quickstart');
  ${STEP}
  test('trains in a page', async () => {
    expect(typeof document).toBe('object');
    await tf.setBackend('cpu');
    const log = jest.spyOn(console, 'log');
    await step(tf, lora, quickstart);
    expect(log).toHaveBeenCalledWith('TRAINED');
  });`;

let project: string;
let runs: Record<string, ReturnType<typeof runIn>>;

beforeAll(() => {
  project = makeProject(['@tensorflow/tfjs', ...(HAS_TFJS_NODE ? ['@tensorflow/tfjs-node'] : [])]);
  Object.entries(PROGRAMS).forEach(([name, text]) => writeFileSync(join(project, name), text));
  // jsdom lacks what every browser has: docs/quick-start.md says so.
  writeFileSync(join(project, 'jest.setup.js'), textsUnder('docs/quick-start.md', 'In tests and on servers', 'js')[0]!);
  writeFileSync(join(project, 'page.test.js'), PAGE_TEST);
  const testEnvironment = join(MODULES, 'jest-environment-jsdom');
  const setupFiles = ['<rootDir>/jest.setup.js'];
  const config = {testEnvironment, rootDir: project, setupFiles, testTimeout: 120_000};
  const archive = readdirSync(project).find(name => name.endsWith('.tgz'))!;

  const commands: Record<string, string[]> = {
    ...Object.fromEntries(Object.keys(PROGRAMS).map(name => [name, [name]])),
    jsdom: [join(MODULES, 'jest/bin/jest.js'), '--config', JSON.stringify(config)],
    publint: [join(MODULES, 'publint/src/cli.js'), '--strict', archive],
    attw: [join(MODULES, '@arethetypeswrong/cli/dist/index.js'), archive, '--profile', 'node16', '--format', 'ascii'],
  };
  // All at once: each waits for its modules most of the time.
  runs = Object.fromEntries(Object.entries(commands).map(([name, args]) => [name, runIn(project, args)]));
});
afterAll(async () => {
  await Promise.all(Object.values(runs));
  rmSync(project, {recursive: true, force: true});
});

test('the tarball holds the whole build and what there is to read, and nothing of the source', () => {
  const library = join(project, 'node_modules/tfjs-lora');
  expect(readdirSync(library).sort()).toEqual([
    'CHANGELOG.md',
    'LICENSE',
    'README.md',
    'SECURITY.md',
    'dist',
    'docs',
    'package.json',
  ]);
  expect(readdirSync(join(library, 'dist')).sort()).toEqual(readdirSync(join(ROOT, 'dist')).sort());
});

test('the links of its README lead to files in the tarball, or to what is about the project and not in it', () => {
  const library = join(project, 'node_modules/tfjs-lora');
  // The registry's page shows pictures from the repository, and follows links to it.
  const links = [...readFileSync(join(library, 'README.md'), 'utf8').matchAll(/(?<!!\[[^\]]*)\]\(([^)\s#]+)/g)];
  const local = links.map(([, link = '']) => link).filter(link => !link.startsWith('https://'));
  expect(local.length).toBeGreaterThan(30);
  const isElsewhere = (link: string) =>
    /^(?:CONTRIBUTING|docs\/(?:architecture|comparison|maintained|you-asked)|examples\/(?:\w+\/)?README)\.md$/.test(
      link,
    );
  expect(local.filter(link => !isElsewhere(link) && !existsSync(join(library, link)))).toEqual([]);
  expect(local.filter(link => !existsSync(join(ROOT, link)))).toEqual([]);
});

test.each([
  ['an ES module', 'esm.mjs'],
  ['a CommonJS module', 'required.cjs'],
  ['a program with both copies, one working on what the other made,', 'both.mjs'],
  ['a server without window, document and navigator', 'server.mjs'],
  ...(HAS_TFJS_NODE ? [['a program on tfjs-node', 'tfjs-node.cjs']] : []),
])('%s imports the packed library and trains', async (_way, program) => {
  const {code, output} = await runs[program]!;
  expect([output, code]).toEqual([expect.stringMatching(/^TRAINED$/m), 0]);
});

test.each([
  ['a test of jest with jsdom trains', 'jsdom', '1 passed'],
  ['publint finds nothing', 'publint', 'All good!'],
  ['arethetypeswrong finds nothing', 'attw', 'bundler: 🟢'],
])('%s', async (_what, name, words) => {
  const {code, output} = await runs[name]!;
  expect([output, code]).toEqual([expect.stringContaining(words), 0]);
});
