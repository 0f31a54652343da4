import {readFileSync} from 'node:fs';
import {readPage} from './pages';

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
