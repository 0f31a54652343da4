import {existsSync, readdirSync, readFileSync} from 'node:fs';
import {join} from 'node:path';
import ts from 'typescript';
import {countsOf, isExperimental, openLibrary, POINTS, REPORT, reportsOf} from '../../scripts/api';
import {undocumented, undocumentedMembers} from './documented';
import {blocksOf, EXPORTS, nameOf, PAGES, programOf, readPage} from './pages';

const ROOT = process.cwd();

/**
 * Code in the comments of a file, by where it begins: what follows `@example`, and indented lines of the text before
 * the tags, of which one ends a statement.
 */
function codeIn(file: string): [place: string, code: string][] {
  const lines = readFileSync(join(ROOT, file), 'utf8').split('\n');
  const found: [string, string][] = [];
  let open: string[] = [];
  let tag = '';
  lines.forEach((line, i) => {
    const [, text] = /^\s*\*(?!\/) ?(.*)$/.exec(line) ?? [];
    const [, named] = /^@(\w+)/.exec(text ?? '') ?? [];
    const isCode =
      text !== undefined && named === undefined && (tag === 'example' || (tag === '' && /^ {4}/.test(text)));
    if (isCode) {
      open.push(text);
      return;
    }
    if (tag === 'example' ? open.length > 0 : open.some(each => /;(\s*\/\/.*)?$/.test(each))) {
      found.push([`${file}:${i + 1 - open.length}`, open.join('\n')]);
    }
    open = [];
    tag = text === undefined ? '' : (named ?? tag);
  });
  return found;
}

const BLOCKS = readdirSync(join(ROOT, 'src'), {recursive: true, encoding: 'utf8'})
  .filter(name => name.endsWith('.ts') && !name.includes('assembly'))
  .flatMap(name => codeIn(`src/${name}`));

/** A piece of code as a module. Names of the library are imported. */
function moduleOf(code: string): string {
  const [names, imported] = [new Set(code.match(/\b\w+\b/g)), new Set(code.match(/(?<=import [^;]*)\b\w+\b/g))];
  const isFree = (name: string) => names.has(name) && !imported.has(name);
  const imports = Object.entries(EXPORTS).map(([from, exported]) => {
    const taken = exported.filter(isFree);
    taken.forEach(name => imported.add(name));
    return taken.length === 0 ? '' : `import {${taken.join(', ')}} from '${from}';`;
  });
  const tensorflow = imported.has('tf') ? [] : ["import * as tf from '@tensorflow/tfjs';"];
  return [...tensorflow, ...imports, 'declare const prompt: any;', code, 'export {};'].join('\n');
}

const output = (name: string) => join(ROOT, `test/docs/output/${name}.ts`);
const COMMENTS = new Map(BLOCKS.map(([place, code], i) => [output(`comment${i}`), {place, text: moduleOf(code)}]));
const PROGRAMS = new Map(
  PAGES.filter(page => blocksOf(page, 'ts').length > 0).map(page => [
    output(nameOf(page)),
    {place: page, text: programOf(page)},
  ]),
);

// One program: reading the library and the types of TensorFlow.js takes most of the time of each test here.
const library = openLibrary(new Map([...COMMENTS, ...PROGRAMS].map(([file, {text}]) => [file, text])));
const reports = reportsOf(library);

/** What the compiler says of a module. */
function diagnose(file: string): readonly ts.Diagnostic[] {
  const source = library.program.getSourceFile(file)!;
  return [...library.program.getSyntacticDiagnostics(source), ...library.program.getSemanticDiagnostics(source)];
}

function nodeAt(node: ts.Node, start: number): ts.Node {
  const isAround = (child: ts.Node) => child.getStart() <= start && start < child.end;
  return ts.forEachChild(node, child => (isAround(child) ? nodeAt(child, start) : undefined)) ?? node;
}

/** Whether nothing declares a name that stands for a value, which the compiler takes for one of any type. */
function isUndeclared({code, file, start}: ts.Diagnostic): boolean {
  return [2304, 2552, 18004].includes(code) && !ts.isTypeNode(nodeAt(file!, start!).parent);
}

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
  const limits = {names: 398, typeOnlyClasses: 0, functions: 58, experimental: 15, referred: 40, index: 732};
  const excess = Object.entries({...limits, transformers: 400}).filter(([name, limit]) => counts[name]! > limit);
  expect({counts, excess}).toEqual({counts, excess: []});
});

test('exported functions say what they do, take, return and throw, with an example', () => {
  expect(undocumented(library)).toEqual([]);
});

test('each member of an exported interface has a comment', () => {
  expect(undocumentedMembers(library)).toEqual([]);
});

test('code in comments compiles', () => {
  expect(BLOCKS.length).toBeGreaterThan(30);
  const faults = [...COMMENTS].flatMap(([file, {place}]) =>
    diagnose(file)
      .filter(diagnostic => !isUndeclared(diagnostic))
      .map(({messageText}) => `${place}: ${ts.flattenDiagnosticMessageText(messageText, ' ')}`),
  );
  expect(faults).toEqual([]);
});

test('the code of every page compiles in strict mode', () => {
  const faults = [...PROGRAMS].flatMap(([file, {place: page, text}]) =>
    diagnose(file).map(({messageText, start = 0}) => {
      const place = [...text.slice(0, start).matchAll(/\/\/ (\S+\.md:\d+)\n/g)].at(-1)?.[1] ?? page;
      const line = text.slice(0, start).split('\n').length - 1;
      return `${place}: ${text.split('\n')[line]!.trim()}: ${ts.flattenDiagnosticMessageText(messageText, '\n')}`;
    }),
  );
  expect(faults).toEqual([]);
});
