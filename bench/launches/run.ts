// Counts what a training step launches on a graphics card, and what it holds, in headless Chromium:
//
//     npm run bench -- launches [--backend webgpu,webgl] [--case mlp,mobilenet,gpt,gpt-192,smollm2,smollm2-token]
//       [--case resnet50,swin-t] [--nanogpt folder] [--steps 5] [--top 8]
//
// `--nanogpt` is a folder in which `npm install @genai-fi/nanogpt@1.3.0` was run; its GPT is then measured beside ours.

import {execFileSync} from 'node:child_process';
import {readFileSync} from 'node:fs';
import type {AddressInfo} from 'node:net';
import {dirname, join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {parseArgs} from 'node:util';
import * as tf from '@tensorflow/tfjs';
import {type Browser, chromium} from 'playwright-core';
import {ARGUMENTS, bundle, findChromium, serve} from '../../test/backends/everywhere/browser';
import {smollm2} from '../../scripts/pretrained';
import {loadBody} from '../cases/mobilenet';
import {MODELS, requirePeers, shapeFolder} from '../peers/models';
import {printTable} from '../table';
import {GPTS} from './gpt';
import {type Launches, type Phase, PHASES} from './meter';

const HERE = dirname(fileURLToPath(import.meta.url));
const PATIENCE = 9 * 60_000;

const {values} = parseArgs({
  options: {
    backend: {type: 'string', default: 'webgpu'},
    case: {type: 'string', default: 'mlp,mobilenet,gpt'},
    nanogpt: {type: 'string', default: process.env.TFJS_LORA_NANOGPT ?? ''},
    top: {type: 'string', default: '8'},
    steps: {type: 'string', default: '5'},
  },
});

const executablePath = findChromium();
if (executablePath === undefined) {
  throw new Error('Install Chromium (Debian: apt-get install chromium), or set CHROMIUM to its path.');
}

/** The body of a real model, as a page can load it. */
async function mobilenetFiles(): Promise<[string, string | Uint8Array][]> {
  const files: [string, string | Uint8Array][] = [];
  const body = await loadBody();
  const handler = tf.io.withSaveHandler(({modelTopology, weightSpecs = [], weightData}) => {
    const weightsManifest = [{paths: ['weights.bin'], weights: weightSpecs}];
    files.push(['/mobilenet/model.json', JSON.stringify({modelTopology, weightsManifest})]);
    files.push(['/mobilenet/weights.bin', new Uint8Array(weightData as ArrayBuffer)]);
    return Promise.resolve({modelArtifactsInfo: {dateSaved: new Date(), modelTopologyType: 'JSON' as const}});
  });
  await body.save(handler);
  body.dispose();
  return files;
}

/** The cases of SmolLM2: a step, and a token that is written. */
const LANGUAGE = ['smollm2', 'smollm2-token'];
const CASES = values.case.split(',');

/** SmolLM2 in 4 bits, if a case asks for it. */
function smollm2Files(): [string, Uint8Array][] {
  return CASES.some(name => LANGUAGE.includes(name)) ? [['/smollm2.gguf', readFileSync(smollm2())]] : [];
}

/** Models as deep as the real ones and narrower, which PyTorch writes. */
const NARROW = ['resnet50', 'swin-t'];

function narrowFiles(): [string, Uint8Array][] {
  return CASES.filter(name => NARROW.includes(name)).flatMap(name => {
    const folder = shapeFolder(`narrow-${name}`);
    execFileSync(requirePeers(), [MODELS, `narrow-${name}`, folder], {stdio: 'ignore'});
    return ['config.json', 'model.safetensors'].map((file): [string, Uint8Array] => [
      `/${name}/${file}`,
      readFileSync(join(folder, file)),
    ]);
  });
}

interface Side {
  name: string;
  files: () => Promise<Map<string, string | Uint8Array>>;
  cases: readonly string[];
}

const sides: Side[] = [
  {
    name: 'this library',
    files: async () =>
      new Map([
        ...(await bundle(join(HERE, 'ours.ts'))),
        ...(await mobilenetFiles()),
        ...smollm2Files(),
        ...narrowFiles(),
      ]),
    cases: ['mlp', 'mobilenet', ...Object.keys(GPTS), ...LANGUAGE, ...NARROW],
  },
  ...(values.nanogpt === ''
    ? []
    : [
        {
          name: 'nanogpt',
          files: () =>
            bundle(join(HERE, 'nanogpt.ts'), {
              nanogpt: join(values.nanogpt, 'node_modules/@genai-fi/nanogpt/dist'),
            }),
          cases: Object.keys(GPTS),
        },
      ]),
];

async function countIn(browser: Browser, port: number, backend: string, name: string): Promise<Launches> {
  const page = await browser.newPage();
  page.setDefaultTimeout(PATIENCE);
  page.on('pageerror', error => process.stderr.write(`${error.message}\n`));
  await page.goto(`http://127.0.0.1:${port}/`);
  await page.waitForFunction(() => 'count' in window);
  const counted = await page.evaluate(
    args =>
      (window as unknown as {count: (...args: readonly [string, string, number]) => Promise<Launches>}).count(...args),
    [backend, name, Number(values.steps)] as const,
  );
  await page.close();
  return counted;
}

const total = (launches: Launches, phase: Phase) =>
  Object.values(launches.phases[phase]).reduce((sum, count) => sum + count, 0);
const megabytes = (bytes: number | null) => (bytes === null ? '–' : (bytes / 2 ** 20).toFixed(1));

const rows: string[][] = [];
for (const side of sides) {
  const wanted = CASES.filter(name => side.cases.includes(name));
  if (wanted.length === 0) {
    continue;
  }
  const server = await serve(await side.files());
  const {port} = server.address() as AddressInfo;
  for (const backend of values.backend.split(',')) {
    for (const name of wanted) {
      const browser = await chromium.launch({executablePath, args: ARGUMENTS});
      try {
        const launches = await countIn(browser, port, backend, name);
        console.log(`\n${name} on ${backend}, ${side.name}, loss ${launches.loss.toFixed(4)}`);
        for (const phase of PHASES) {
          const kernels = Object.entries(launches.phases[phase]).sort(([, one], [, other]) => other - one);
          const shown = kernels.slice(0, Number(values.top)).map(([kernel, count]) => `${kernel} ${count}`);
          console.log(
            `  ${phase} ${total(launches, phase)}: ${shown.join(', ')}${kernels.length > shown.length ? ', …' : ''}`,
          );
        }
        const counts = PHASES.map(phase => total(launches, phase));
        rows.push([
          `${name}, ${backend}, ${side.name}`,
          ...[...counts, counts.reduce((sum, count) => sum + count, 0)].map(String),
          megabytes(launches.peakBytes),
          megabytes(launches.allocatedBytes),
          launches.ms.toFixed(0),
        ]);
      } finally {
        await browser.close();
      }
    }
  }
  server.close();
}
console.log();
printTable(['a step', ...PHASES, 'launches', 'peak MB (tensors)', 'peak MB (buffers)', 'ms'], rows);
