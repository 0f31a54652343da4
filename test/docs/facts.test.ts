import {readdirSync, readFileSync} from 'node:fs';
import {Session} from 'node:inspector/promises';
import {join, relative} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import {withCosts} from '../../scripts/costTable';
import {readDevices, withDevices} from '../../scripts/devices';
import {ENTRIES} from '../../scripts/entries';
import sizes from '../../scripts/sizes.json';
import {LoRADense} from '../../src/core/layers/loraDense';
import {readPage} from './pages';

const SRC = join(__dirname, '../../src');

/** The files of `src` with a function that `run` calls. */
async function filesIn(run: () => void): Promise<string[]> {
  const session = new Session();
  session.connect();
  await session.post('Profiler.enable');
  await session.post('Profiler.startPreciseCoverage', {callCount: true, detailed: false});
  run();
  const {result} = await session.post('Profiler.takePreciseCoverage');
  session.disconnect();
  return result
    .filter(({functions}) => functions.some(({ranges}) => ranges.some(({count}) => count > 0)))
    .map(({url}) => relative(SRC, url.replace('file://', '')))
    .filter(path => !path.startsWith('..'));
}

describe('"A LoRA layer in five minutes"', () => {
  const page = readFileSync(join(__dirname, '../../docs/architecture.md'), 'utf8');
  const [, section = ''] = /## A LoRA layer in five minutes\n([^]*?)\nSome kinds work/.exec(page) ?? [];
  const steps = [...section.matchAll(/^\d\. `([\w/]+\.ts)`/gm)].map(([, path]) => path!);

  test('has a step for each of at most eight files', () => {
    expect(steps.length).toBeGreaterThan(4);
    expect(steps.length).toBeLessThanOrEqual(8);
    expect(new Set(steps).size).toBe(steps.length);
  });

  test('names all files that run in a training step and in a prediction of LoRADense', async () => {
    await tf.setBackend('cpu');
    const layer = new LoRADense({layer: tf.layers.dense({units: 4, inputShape: [6], activation: 'relu'}), rank: 2});
    const x = tf.ones([3, 6]);
    const run = () =>
      tf.tidy(() => {
        layer.apply(x);
        tf.variableGrads(() => tf.sum(layer.apply(x, {training: true}) as tf.Tensor));
      });
    run(); // builds the layer and registers what it needs
    const ran = await filesIn(run);
    const named = [...section.matchAll(/`([\w/]+\.ts)`/g)].map(([, path]) => path!);
    expect(ran.sort()).toEqual([...named].sort());
  });
});

const SIZES: Readonly<Record<string, number>> = sizes;
const CORE = 'applyLoRA + mergeLoRA + saveAdapter + loadAdapter';

function kilobytes(name: string): number {
  return Math.round(SIZES[name]! / 1000);
}

test('docs/bundlers.md has the costs of imports (npx tsx scripts/importCosts.ts --write measures them)', () => {
  const page = readPage('docs/bundlers.md');
  expect(page).toBe(withCosts(page));
  const [, table = ''] = /## Sizes[^]*?---: \|\n([^]*?)\n\n/.exec(page) ?? [];
  const rows = table.split('\n');
  expect(rows).toHaveLength(ENTRIES.length + 2); // without that of Node, with four functions and all together
  rows.forEach(row => expect(row).toMatch(/^\| `?[a-z].* \| \d+ \| \d+ \| \d+ \|$/));
});

test('docs/performance.md has the devices of bench/devices (npx tsx scripts/devices.ts writes them)', () => {
  const page = readPage('docs/performance.md');
  expect(page).toBe(withDevices(page));
  const [, table = ''] = /### Measured devices[^]*?---: \|\n([^]*?)\n\n/.exec(page) ?? [];
  const devices = Object.values(readDevices());
  expect(devices.length).toBeGreaterThan(0);
  devices.forEach(device => expect(device).toMatchObject({format: 1}));
  const runs = devices.flatMap(({backends}) => backends.flatMap(({cases}) => cases.flatMap(each => each.runs)));
  const steps = runs.filter(({run, error}) => run === 'lora' && error === undefined);
  // The middle of what was sampled, and not what the file calls the median.
  const medians = steps.map(({samples = []}) => {
    const sorted = samples.filter(sample => sample !== null).sort((one, other) => one - other);
    const middle = [Math.floor, Math.ceil].map(round => sorted[round((sorted.length - 1) / 2)]!);
    return ((middle[0]! + middle[1]!) / 2).toFixed(1);
  });
  expect(table.split('\n').map(row => row.split(' | ')[4])).toEqual(medians);
});

test('the README states the sizes of scripts/sizes.json', () => {
  const stated = [...readPage('README.md').matchAll(/\b(\d+) kB/g)].map(([, size]) => Number(size));
  expect(stated).toEqual(expect.arrayContaining([kilobytes(CORE), kilobytes('tfjs-lora')]));
});

/** A row of the table of models. */
interface Row {
  family: string;
  millions: number;
  megabytes: number;
  type: string;
  where: string;
}

const ROWS = readPage('docs/models.md')
  .split('\n')
  .map(line =>
    /^\| [^|]+ \| ([^|]+) \| ([\d.]+) million \| ([\d.,]+) MB(?:, ([^|]+))? \| [^|]+ \| ([^|]+) \|/.exec(line),
  )
  .filter(match => match !== null)
  .map(([, family = '', millions = '', megabytes = '', type = '', where = '']): Row => ({
    family,
    millions: Number(millions),
    megabytes: Number(megabytes.replace(',', '')),
    type,
    where,
  }));

/** Bytes of a number. */
const BYTES: Record<string, number> = {F32: 4, F16: 2, BF16: 2, '8 bits': 1};

test('the table has rows', () => {
  expect(ROWS.length).toBeGreaterThan(15);
});

test.each(ROWS.filter(({type}) => type in BYTES))(
  'the file of a $family with $millions million parameters has the megabytes that follow',
  ({millions, megabytes, type}) => {
    expect(Math.abs(megabytes / (millions * BYTES[type]!) - 1)).toBeLessThan(0.035);
  },
);

test('every family is one that loadTransformer knows', () => {
  const known = readPage('docs/transformers.md');
  const families = ROWS.flatMap(({family}) => /^`([\w-]+)`$/.exec(family)?.[1] ?? []);
  expect(new Set(families).size).toBeGreaterThan(10);
  expect(families.filter(name => !new RegExp(`^\\| [^|]*\`${name}\``, 'm').test(known))).toEqual([]);
});

test('what this repository is said to load are packages that it fetches', () => {
  const fetched = [
    'package.json',
    'scripts/pretrained.ts',
    'scripts/graphModels/files.ts',
    'examples/graph/train.ts',
    'examples/hand/files.ts',
  ].map(file => readFileSync(file, 'utf8'));
  const packages = ROWS.filter(({where}) => where.includes('✓')).map(
    ({where}) => /`([^`]+)` of (?:npm|PyPI) ✓/.exec(where)?.[1],
  );
  expect(packages.length).toBeGreaterThan(5);
  expect(packages.filter(name => name === undefined || !fetched.some(text => text.includes(name)))).toEqual([]);
});

const PAGE = readFileSync('docs/troubleshooting.md', 'utf8');
const TFJS = ['core', 'layers', 'converter', 'backend-cpu', 'backend-wasm', 'backend-webgl'];

/** The text of a source file, in which literals that are added up are one. */
function withWholeTexts(path: string): string {
  return readFileSync(path, 'utf8')
    .replace(/(['"`])\s*\+\s*['"`]/g, '')
    .replace(/\\(['"`])/g, '$1');
}

const OURS = readdirSync('src', {recursive: true, encoding: 'utf8'})
  .filter(name => name.endsWith('.ts'))
  .map(name => withWholeTexts(join('src', name)));
const THEIRS = TFJS.map(name => withWholeTexts(`node_modules/@tensorflow/tfjs-${name}/dist/tf-${name}.fesm.js`));

/** The messages that the page quotes in the headings under one of its titles, and in blocks of text. */
function quotedUnder(title: string): string[] {
  const [part = ''] = PAGE.split(/^## /m).filter(text => text.startsWith(`${title}\n`));
  const headings = [...part.matchAll(/^#{3,4} (.*)$/gm)].flatMap(([, heading = '']) => [
    ...heading.matchAll(/`([^`]+)`/g),
  ]);
  const blocks = [...part.matchAll(/^```text\n([^]*?)\n```$/gm)];
  return [...headings, ...blocks].map(([, message = '']) => message);
}

/** Whether one of the sources has all that a message says between what `…` stands for. */
function isIn(sources: readonly string[], message: string): boolean {
  const pieces = message.split('…').filter(piece => piece !== '');
  return sources.some(source => pieces.every(piece => source.includes(piece)));
}

test('the messages of this library that the page quotes are in its source', () => {
  const quoted = quotedUnder('Errors and warnings of this library');
  expect(quoted.length).toBeGreaterThan(20);
  expect(quoted.filter(message => !isIn(OURS, message))).toEqual([]);
});

test('the messages of TensorFlow.js that the page quotes are in its source', () => {
  const quoted = quotedUnder('Errors and warnings of TensorFlow.js');
  expect(quoted.length).toBeGreaterThan(20);
  expect(quoted.filter(message => !isIn(THEIRS, message))).toEqual([]);
});

test('a message that nobody says is not taken for one', () => {
  expect(isIn(OURS, 'The model has no LoRA layers.')).toBe(true);
  expect(isIn(OURS, 'The model has too many LoRA layers.')).toBe(false);
});

test('no two pages keep checkpoints in one folder: the second would find those of the first', () => {
  const pages = readdirSync('docs').filter(name => name.endsWith('.md'));
  const places = pages.flatMap(page => {
    const text = readFileSync(`docs/${page}`, 'utf8');
    return [...new Set([...text.matchAll(/checkpoint\('(file:[^']+)'/g)].map(([, place]) => place))];
  });
  expect(places.length).toBeGreaterThan(1);
  expect(new Set(places).size).toBe(places.length);
});
