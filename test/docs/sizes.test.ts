import sizes from '../../scripts/sizes.json';
import {readPage} from './pages';

const SIZES: Readonly<Record<string, number>> = sizes;
const CORE = 'applyLoRA + mergeLoRA + saveAdapter + loadAdapter';

function kilobytes(name: string): number {
  return Math.round(SIZES[name]! / 1000);
}

test('docs/bundlers.md states the sizes of scripts/sizes.json', () => {
  const [, table = ''] = /## Sizes[^]*?---: \|\n([^]*?)\n\n/.exec(readPage('docs/bundlers.md')) ?? [];
  const stated = table.split('\n').map(row => {
    const [, name = '', size] = /^\| (.*) \| (\d+) \|$/.exec(row) ?? [];
    const plain = name.replaceAll('`', '');
    return [plain.startsWith('applyLoRA') ? CORE : plain.replace('all of them', 'all entry points'), Number(size)];
  });
  const held = Object.keys(SIZES).filter(name => !/loaded later|script tag/.test(name));
  expect(Object.fromEntries(stated)).toEqual(Object.fromEntries(held.map(name => [name, kilobytes(name)])));
});

test('the README states the sizes of scripts/sizes.json', () => {
  const stated = [...readPage('README.md').matchAll(/\b(\d+) kB/g)].map(([, size]) => Number(size));
  expect(stated).toEqual(expect.arrayContaining([kilobytes(CORE), kilobytes('tfjs-lora')]));
});
