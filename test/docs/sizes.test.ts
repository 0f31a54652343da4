import {withCosts} from '../../scripts/costTable';
import {ENTRIES} from '../../scripts/entries';
import sizes from '../../scripts/sizes.json';
import {readPage} from './pages';

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

test('the README states the sizes of scripts/sizes.json', () => {
  const stated = [...readPage('README.md').matchAll(/\b(\d+) kB/g)].map(([, size]) => Number(size));
  expect(stated).toEqual(expect.arrayContaining([kilobytes(CORE), kilobytes('tfjs-lora')]));
});
