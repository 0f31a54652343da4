// Runs the component of docs/react.md in Chromium, in the strict mode of React, which comes as a package of npm into a
// folder for temporary files: `npm run check -- react`.

import {spawnSync} from 'node:child_process';
import {existsSync, mkdirSync, symlinkSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {textsUnder} from '../../docs/pages';
import {BundledSite} from '../bundledSite';

const VERSION = '19.3.1';
const CACHE = join(tmpdir(), `tfjs-lora-react-${VERSION}`);
const PACKAGES = ['react', 'react-dom', 'scheduler'];
const PAGE = 'docs/react.md';

/** What React counts as development, where it runs each effect twice. */
const CONFIG = `
export default {
  define: {'process.env.NODE_ENV': '"development"'},
  oxc: {jsx: {runtime: 'automatic', development: false}},
  build: {chunkSizeWarningLimit: 5000},
};
`;

const MAIN = `
import * as tf from '@tensorflow/tfjs';
import {StrictMode, createElement} from 'react';
import {createRoot} from 'react-dom/client';
import {Training} from './Training.jsx';

await tf.setBackend('cpu');
const root = createRoot(document.body.appendChild(document.createElement('main')));
window.show = epochs => root.render(createElement(StrictMode, null, createElement(Training, {epochs})));
window.unmount = () => root.unmount();
window.tensors = () => tf.memory().numTensors;
`;

interface Shown {
  show(epochs: number): void;
  unmount(): void;
  tensors(): number;
}

if (!existsSync(join(CACHE, 'node_modules/react-dom'))) {
  console.log(`Installing react@${VERSION} …`);
  mkdirSync(CACHE, {recursive: true});
  writeFileSync(join(CACHE, 'package.json'), '{"private": true}');
  const args = ['install', '--no-audit', '--no-fund', '--ignore-scripts', `react@${VERSION}`, `react-dom@${VERSION}`];
  const {status, stderr} = spawnSync('npm', args, {cwd: CACHE, encoding: 'utf8'});
  if (status !== 0) {
    throw new Error(`React could not be installed: ${stderr}`);
  }
}

const site = await BundledSite.open();
const faults: string[] = [];
const expectThat = (isSo: boolean, what: string) => {
  console.log(`${isSo ? 'yes' : 'NO'}: ${what}`);
  if (!isSo) {
    faults.push(what);
  }
};
try {
  PACKAGES.forEach(name => {
    symlinkSync(join(CACHE, 'node_modules', name), join(site.project, 'node_modules', name));
  });
  site.write({
    'train.worker.js': textsUnder(PAGE, 'The worker', 'js')[0]!,
    'train.js': textsUnder(PAGE, "The page's side", 'js')[0]!,
    'Training.jsx': textsUnder(PAGE, 'In React', 'jsx')[0]!,
    'main.js': MAIN,
  });
  await site.buildWithVite(CONFIG);
  site.serve('dist');

  const {page, complaints} = await site.visit();
  await page.waitForFunction(() => 'show' in window);
  const tensors = () => page.evaluate(() => (window as unknown as Shown).tensors());
  const before = await tensors();
  await page.evaluate(() => {
    (window as unknown as Shown).show(3);
  });
  await page.getByText('Trained: ').waitFor();
  expectThat(page.workers().length === 0, 'no worker is left after a training');
  expectThat((await tensors()) > before, 'the page has the model');

  await page.evaluate(() => {
    (window as unknown as Shown).show(1000);
  });
  await page.locator('progress').waitFor();
  await page.waitForFunction(() => document.querySelector('progress')!.value > 0);
  expectThat(page.workers().length === 1, 'one worker trains, although each effect ran twice');
  expectThat((await tensors()) === before, 'the former model has gone');
  await page.evaluate(() => {
    (window as unknown as Shown).unmount();
  });
  await page.waitForTimeout(500);
  expectThat(page.workers().length === 0, 'unmounting ends the worker');
  expectThat((await tensors()) === before, 'unmounting leaves no tensor');
  const own = complaints.filter(text => !text.includes('React DevTools'));
  expectThat(own.length === 0, ['the page complains of nothing', ...own].join('\n'));
} finally {
  await site.close();
}
process.exitCode = faults.length === 0 ? 0 : 1;
