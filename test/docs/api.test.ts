import {existsSync, readdirSync, readFileSync} from 'node:fs';
import {join} from 'node:path';
import {openLibrary, REPORT, reportsOf} from '../../scripts/api';

const reports = reportsOf(openLibrary());

/** The lines of one text that another one does not have. */
function missingIn(other: string, text: string): string[] {
  const known = new Set(other.split('\n'));
  return text.split('\n').filter(line => !known.has(line));
}

test.each([...reports])('the interface of %s is the one that is committed in api/', (point, text) => {
  const file = join(REPORT, `${point}.txt`);
  const committed = existsSync(file) ? readFileSync(file, 'utf8') : '';
  const differences = {added: missingIn(committed, text), removed: missingIn(text, committed)};
  const way = 'If the change is meant, run: npx tsx scripts/api.ts --write';
  expect({...differences, way}).toEqual({added: [], removed: [], way});
  expect(text).toBe(committed);
});

test('there is a report for each entry point, and no other', () => {
  expect(readdirSync(REPORT).sort()).toEqual([...reports.keys()].map(point => `${point}.txt`).sort());
});
