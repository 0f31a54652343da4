// What threads gain on wasm in Chromium: `npm run bench -- threads-page [1 2 …]`, the numbers of threads to measure.

import {readFileSync} from 'node:fs';
import type {AddressInfo} from 'node:net';
import {fileURLToPath} from 'node:url';
import {chromium} from 'playwright-core';
import {ARGUMENTS, bundle, findChromium, serve} from '../../test/backends/everywhere/browser';
import {manyCores} from '../../test/chromium';
import {smollm2} from '../../scripts/pretrained';
import {printTable} from '../table';

const executablePath = findChromium();
if (executablePath === undefined) {
  throw new Error('This takes Chromium: apt-get install chromium, or CHROMIUM=path.');
}
const asked = process.argv.slice(2).map(Number);
const files = await bundle(fileURLToPath(new URL('page.ts', import.meta.url)));
const server = await serve(new Map([...files, ['/smollm2.gguf', readFileSync(smollm2())]]));
const browser = await chromium.launch({executablePath, args: ARGUMENTS});
const rows: string[][] = [];
for (const count of asked.length === 0 ? [1, 2] : asked) {
  const page = await browser.newPage();
  await page.addInitScript(manyCores(2 * count));
  await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
  await page.waitForFunction(() => 'measureThreads' in window);
  const {threads, times} = await page.evaluate(number => window.measureThreads(number), count);
  for (const [name, {stock, predict, step, token}] of Object.entries(times)) {
    const ratios = [predict, step].map(ms => (stock === undefined ? '–' : (ms / stock).toFixed(2)));
    const inMs = [stock, predict, step, token].map(ms => ms?.toFixed(1) ?? '–');
    rows.push([name, String(threads), ...inMs, ...ratios]);
  }
  await page.close();
}
await browser.close();
server.close();
printTable(
  [
    'case',
    'threads',
    'predict, stock (ms)',
    'predict (ms)',
    'LoRA step (ms)',
    'a token (ms)',
    'predict ÷ stock',
    'step ÷ stock predict',
  ],
  rows,
);
