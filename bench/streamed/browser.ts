// What training takes in a worker of Chromium while the base's weights stay in the origin private file system: the
// WASM heap and the peak of the page's process, and the time of a step ÷ that with weights in memory. SmolLM2-135M and
// a model of Qwen3-0.6B's shape.
//
//     npm run bench -- streamed-page

import {mkdtempSync, readFileSync, rmSync} from 'node:fs';
import type {AddressInfo} from 'node:net';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {type Browser, chromium} from 'playwright-core';
import {smollm2} from '../../scripts/pretrained';
import {bundle, findChromium, serve} from '../../test/backends/everywhere/browser';
import {ARGUMENTS, rendererPeak} from '../../test/chromium';
import {writeRandomQwen3} from '../qwen3File';
import type {Answer, Order} from './worker';

const executablePath = findChromium();
if (executablePath === undefined) {
  throw new Error('This takes Chromium: apt-get install chromium, or CHROMIUM=path.');
}
const ISOLATED = {'Cross-Origin-Opener-Policy': 'same-origin', 'Cross-Origin-Embedder-Policy': 'require-corp'};
const megabytes = (bytes: number) => (bytes / 1e6).toFixed(0);

/** A worker's answer, in a page that has nothing else. */
async function answerTo(browser: Browser, address: string, order: Order): Promise<Exclude<Answer, {error: string}>> {
  const page = await browser.newPage();
  await page.route(`${address}/empty`, route => route.fulfill({contentType: 'text/html', headers: ISOLATED, body: ''}));
  await page.goto(`${address}/empty`);
  const answer = await page.evaluate(
    asked =>
      new Promise<Answer>(resolve => {
        const worker = new Worker('/suite.js', {type: 'module'});
        worker.onerror = ({message}) => {
          resolve({error: message});
        };
        worker.onmessage = ({data}: MessageEvent<Answer>) => {
          resolve(data);
        };
        worker.postMessage(asked);
      }),
    order,
  );
  if ('error' in answer) {
    throw new Error(answer.error);
  }
  return answer;
}

const folder = mkdtempSync(join(tmpdir(), 'streamed-'));
try {
  const qwen3 = join(folder, 'qwen3.gguf');
  writeRandomQwen3(qwen3, '0.6');
  const cases = [
    {name: 'SmolLM2-135M', path: smollm2(), positions: 512},
    {name: "Qwen3-0.6B's shape", path: qwen3, positions: 128},
  ];
  const script = await bundle(fileURLToPath(new URL('worker.ts', import.meta.url)));
  console.log('| | heap, loaded, MB | after three steps | peak of the process | step ÷ in memory |');
  console.log('| --- | ---: | ---: | ---: | ---: |');
  for (const {name, path, positions} of cases) {
    const server = await serve(new Map([...script, ['/model.gguf', readFileSync(path)]]));
    const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const row = [`${name}, 1 × ${positions} tokens`];
    for (const compares of [false, true]) {
      const browser = await chromium.launch({executablePath, args: ARGUMENTS});
      const answer = await answerTo(browser, address, {positions, compares});
      row.push(
        ...('step' in answer
          ? [answer.step.toFixed(2)]
          : [answer.loaded, answer.trained, await rendererPeak(browser)].map(megabytes)),
      );
      await browser.close();
    }
    console.log(`| ${row.join(' | ')} |`);
    server.close();
  }
} finally {
  rmSync(folder, {recursive: true});
}
