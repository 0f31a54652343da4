import {existsSync, readdirSync, readFileSync} from 'node:fs';
import {join} from 'node:path';
import ts from 'typescript';
import {countsOf, isExperimental, openLibrary, POINTS, REPORT, reportsOf} from '../../scripts/api';
import {readPage} from './pages';

const library = openLibrary();
const reports = reportsOf(library);

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

test('functions and classes are marked as experimental where docs/stability.md says that they or their entry are', () => {
  const rows = readPage('docs/stability.md')
    .match(/^\|.*\|$/gm)!
    .map(row => row.split('|'));
  const named = (column: number) => rows.flatMap(row => [...row[column]!.matchAll(/`tfjs-lora(?:\/(\w+))?`/g)]);
  const [stable, experimental] = [1, 2].map(column => named(column).map(([, name = 'index']) => name));
  expect([...stable!, ...experimental!].sort()).toEqual([...POINTS].sort());
  const values = (points: readonly string[]) =>
    points
      .flatMap(point => library.exportsOf(point).map(({name, symbol}) => ({name: `${point}: ${name}`, symbol})))
      .filter(({symbol}) => symbol.flags & (ts.SymbolFlags.Function | ts.SymbolFlags.Class));
  const kept = values(stable!);
  const known = new Set(kept.map(({symbol}) => symbol));
  const others = values(experimental!).filter(({symbol}) => !known.has(symbol));
  const [, apart = ''] = /^- \*\*Experimental in `tfjs-lora` too\*\*:([^.]*)/m.exec(readPage('docs/stability.md'))!;
  const exceptions = [...apart.matchAll(/`(\w+)`/g)].map(([, name]) => `index: ${name}`);
  const marked = kept.filter(({name, symbol}) => name.startsWith('index') && isExperimental(symbol));
  expect(marked.map(({name}) => name)).toEqual(exceptions.sort());
  expect(others.filter(({symbol}) => !isExperimental(symbol)).map(({name}) => name)).toEqual([]);
  expect(reports.get('language')).toContain('@experimental function generate(');
});

test('there is a report for each entry point, and no other', () => {
  expect(readdirSync(REPORT).sort()).toEqual([...reports.keys()].map(point => `${point}.txt`).sort());
});

test('no type of the interface takes any object, such as a Date for a config', () => {
  expect([...reports].filter(([, text]) => /[:|<(] ?object\b/.test(text)).map(([point]) => point)).toEqual([]);
});

test('the interface has no more names than it needs', () => {
  const referred = [...reports.values()].flatMap(text => {
    const [, hidden = ''] = text.split('Not exported, and referred to above:');
    return hidden.match(/^(?:abstract )?(?:class|interface|type|const|function) /gm) ?? [];
  });
  const lines = Object.fromEntries(
    ['index', 'transformers'].map(point => [point, reports.get(point)!.trimEnd().split('\n').length]),
  );
  const counts: Record<string, number> = {...countsOf(library), referred: referred.length, ...lines};
  const limits = {names: 362, typeOnlyClasses: 0, functions: 57, experimental: 14, referred: 40, index: 720};
  const excess = Object.entries({...limits, transformers: 400}).filter(([name, limit]) => counts[name]! > limit);
  expect({counts, excess}).toEqual({counts, excess: []});
});
