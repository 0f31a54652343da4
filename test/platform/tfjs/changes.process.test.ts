import {spawnSync} from 'node:child_process';
import {existsSync, readFileSync} from 'node:fs';
import {written} from '../../../scripts/whatImportChanges';
import {CHANGES} from '../../../scripts/importChanges';
import type {Seen} from './watchChanges';

/** What changes in a process that has tfjs and the library alone. */
function watch(): Seen {
  const {stdout, stderr} = spawnSync(process.execPath, ['--import', 'tsx', 'test/platform/tfjs/watchChanges.ts'], {
    encoding: 'utf8',
  });
  const last = stdout.trim().split('\n').at(-1) ?? '';
  try {
    return JSON.parse(last) as Seen;
  } catch {
    throw new Error(stderr);
  }
}

let seen: Seen;

beforeAll(() => {
  seen = watch();
}, 60_000);

/** Whether a difference is one that a pattern of the table describes. */
function fits(difference: string, pattern: string): boolean {
  const parts = pattern.split('*').map(part => part.replace(/[.+()]/g, '\\$&'));
  return new RegExp(`^${parts.join('.*')}$`).test(difference);
}

const PATTERNS = CHANGES.flatMap(({globals = []}) => globals);

test('every change to the globals of tfjs is in the table', () => {
  const unlisted = Object.entries(seen).flatMap(([when, found]) =>
    found.filter(difference => !PATTERNS.some(pattern => fits(difference, pattern))).map(one => `${when}: ${one}`),
  );
  expect(unlisted).toEqual([]);
});

test('every entry of the table is a change that happens', () => {
  const found = Object.values(seen).flat();
  expect(PATTERNS.filter(pattern => !found.some(difference => fits(difference, pattern)))).toEqual([]);
});

test('what lasts for a call is put back after it', () => {
  expect(seen['a rebuild']).toContain('≠ class Dense');
  expect(seen['a head from a file']).toEqual(['≠ tf.layers.Layer.prototype.addWeight']);
  expect(seen['what a rebuild and a head from a file leave']).toEqual([]);
});

test('a fit of a stock model has two callbacks more, and leaves nothing', () => {
  expect(seen['a fit of a stock model']).toEqual(['+ callback KernelWatch', '+ callback FitWatch']);
  expect(seen['what a fit of a stock model leaves']).toEqual([]);
});

test('a fit has a callback for the means of epochs once there are checkpoints', () => {
  expect(seen['a fit after a checkpoint']).toEqual(['+ callback EpochMeans']);
});

test('a fit of an adapted model replaces nothing', () => {
  expect(seen['a fit of an adapted model']!.length).toBeGreaterThan(0);
  expect(seen['a fit of an adapted model']!.filter(difference => !/^\+ \w+ (wasm_)?TfjsLoRA/.test(difference))).toEqual(
    [],
  );
});

test.each(CHANGES.map(({by}) => by))('%s, which the table names, is there', by => {
  expect(existsSync(`src/${by}`)).toBe(true);
});

test('the page has the table (npx tsx scripts/whatImportChanges.ts writes it)', () => {
  const page = readFileSync('docs/what-import-changes.md', 'utf8');
  expect(page).toBe(written(page));
});
