import {existsSync, readdirSync, readFileSync} from 'node:fs';
import {dirname, join, relative} from 'node:path';
import ts from 'typescript';

const SRC = join(__dirname, '../src');

/** The rooms, from the front door inwards. A room imports only itself and those after it. */
const ROOMS = [
  'cli',
  'script',
  'index',
  'node',
  'federated',
  'language',
  'graph',
  'landmarks',
  'quantized',
  'transformers',
  'quickstart',
  'training',
  'peft',
  'keras',
  'model',
  'head',
  'rewire',
  'storage',
  'adapter',
  'layers',
  'methods',
  'ops',
  'kernels',
  'tfjs',
  'formats',
  'errors',
];

/** Rooms with a door of their own beside `index`. */
const ENTRIES = ['transformers', 'graph', 'language', 'quantized', 'federated', 'landmarks', 'quickstart'];
/** What a page imports. */
const DOORS = ['index', ...ENTRIES];

/** What only Node has: the door `node.ts`, which opens `index` too, the room `node/`, and the command line. */
const IN_NODE = ['node', 'cli'];

interface Source {
  /** Path inside `src`, without the extension. */
  path: string;
  text: string;
  /** Paths inside `src` for what is imported from there, names of packages for the rest; types included. */
  imports: string[];
  /** Those of them that are there when the program runs, and are loaded with the file. */
  loads: string[];
}

function read(file: string): Source {
  const text = readFileSync(file, 'utf8');
  const path = relative(SRC, file).replace(/\.ts$/, '');
  const from = (name: string) => (name.startsWith('.') ? join(dirname(path), name) : name);
  const imports = ts.preProcessFile(text).importedFiles.map(({fileName}) => from(fileName));
  const {statements} = ts.createSourceFile(path, text, ts.ScriptTarget.ES2022);
  const loads = statements.flatMap(statement => {
    const isTyped = ts.isImportDeclaration(statement)
      ? isOfTypes(statement.importClause, statement.importClause?.namedBindings)
      : ts.isExportDeclaration(statement) && isOfTypes(statement, statement.exportClause);
    const {moduleSpecifier} = statement as {moduleSpecifier?: ts.StringLiteral};
    return moduleSpecifier === undefined || isTyped ? [] : [from(moduleSpecifier.text)];
  });
  return {path, text, imports, loads};
}

/** Whether an import or export brings types alone, so that nothing of it is left when the program runs. */
function isOfTypes(
  clause: {isTypeOnly: boolean; name?: ts.Node} | undefined,
  names: ts.NamedImportBindings | ts.NamedExportBindings | undefined,
): boolean {
  const areTypes =
    names !== undefined &&
    'elements' in names &&
    clause?.name === undefined &&
    names.elements.length > 0 &&
    names.elements.every(({isTypeOnly}) => isTypeOnly);
  return clause?.isTypeOnly === true || areTypes;
}

const SOURCES = readdirSync(SRC, {recursive: true, encoding: 'utf8'})
  .filter(name => name.endsWith('.ts'))
  .map(name => read(join(SRC, name)));
const BY_PATH = new Map(SOURCES.map(source => [source.path, source]));

function roomOf(path: string): string {
  return path.split('/')[0]!;
}

/** All files that a file imports, and those that they import, and so on. */
function reachable(path: string, by: 'imports' | 'loads' = 'imports', found = new Set<string>()): Set<string> {
  for (const next of BY_PATH.get(path)?.[by] ?? []) {
    if (BY_PATH.has(next) && !found.has(next)) {
      found.add(next);
      reachable(next, by, found);
    }
  }
  return found;
}

function lineCount(path: string): number {
  return BY_PATH.get(path)!.text.trimEnd().split('\n').length;
}

/** A number as a page has it: `1,200`. */
function toNumber(text: string): number {
  return Number(text.replaceAll(',', ''));
}

const all = SOURCES.map(({path}) => path);

describe('in src', () => {
  test('there is something to look at', () => {
    expect(all).toEqual(expect.arrayContaining(['index', 'node', 'errors', 'model/apply']));
    expect(BY_PATH.get('layers/loraDense')!.imports).toEqual(
      expect.arrayContaining(['@tensorflow/tfjs', 'layers/loraLayer']),
    );
  });

  test.each(all)('%s stands in a room that has a place', path => {
    expect(ROOMS).toContain(roomOf(path));
  });

  test.each(all)('%s imports only what is further in', path => {
    const allowed = path === 'node' ? ROOMS : ROOMS.slice(ROOMS.indexOf(roomOf(path)));
    const imported = BY_PATH.get(path)!.imports.filter(name => BY_PATH.has(name));
    expect(imported.filter(name => !allowed.includes(roomOf(name)))).toEqual([]);
  });

  // The file itself is among those that are counted.
  test.each([
    ['layers/loraDense', 29, 3750],
    ['layers/loraConv2d', 40, 4500],
    ['model/apply', 100, 11_000],
  ])('%s loads at most %i files of %i lines', (path, files, lines) => {
    const loaded = [path, ...reachable(path, 'loads')];
    expect(loaded.length).toBeLessThanOrEqual(files);
    expect(loaded.reduce((sum, file) => sum + lineCount(file), 0)).toBeLessThanOrEqual(lines);
  });

  test('layers, methods and operations load no folder of a backend', () => {
    const readable = all.filter(path => ['layers', 'methods', 'ops'].includes(roomOf(path)));
    const loaded = new Set(readable.flatMap(path => [...reachable(path, 'loads')]));
    const folders = [...loaded].filter(path => roomOf(path) === 'kernels').map(path => dirname(path));
    expect(new Set(folders)).toEqual(new Set(['kernels']));
    expect([...loaded]).not.toContain('kernels/backends');
  });

  test.each(all)('%s is in no circle', path => {
    expect([...reachable(path)]).not.toContain(path);
  });

  test('nothing imports index but the doors that open it too', () => {
    const importers = SOURCES.filter(({imports}) => imports.includes('index'));
    expect(importers.map(({path}) => path).sort()).toEqual(['node', 'script']);
  });

  test.each(['transformers', 'graph', 'quantized', 'language'])('nothing that index or node reaches is in %s', room => {
    expect(all.filter(path => roomOf(path) === room).length).toBeGreaterThan(8);
    expect([...reachable('index'), ...reachable('node')].filter(path => roomOf(path) === room)).toEqual([]);
  });

  test('nothing that a page imports reaches a module of Node', () => {
    const node = /^(node:|(fs|path|os|url|util|crypto|stream|buffer|process)(\/|$))/;
    const offenders = [...DOORS, ...DOORS.flatMap(door => [...reachable(door)])].filter(path =>
      BY_PATH.get(path)!.imports.some(name => node.test(name)),
    );
    expect(offenders).toEqual([]);
    expect([...reachable('node')]).toContain('node/fileHandler');
    expect([...reachable('index')].filter(path => IN_NODE.includes(roomOf(path)))).toEqual([]);
  });

  test('the only package that is imported is tfjs', () => {
    // `federated` has another, an optional peer.
    const doors = DOORS.filter(door => door !== 'federated');
    const packages = new Set(
      [...doors, ...doors.flatMap(door => [...reachable(door)])].flatMap(path =>
        BY_PATH.get(path)!.imports.filter(name => !BY_PATH.has(name)),
      ),
    );
    expect([...packages]).toEqual(['@tensorflow/tfjs']);
  });

  test('formats know nothing of TensorFlow', () => {
    const formats = SOURCES.filter(({path}) => roomOf(path) === 'formats');
    const imports = formats.flatMap(source => source.imports);
    expect(imports.filter(name => name.startsWith('@tensorflow'))).toEqual([]);
  });

  test.each(all)('%s has no any, no export *, no default export and no enum', path => {
    const {text} = BY_PATH.get(path)!;
    const file = ts.createSourceFile(path, text, ts.ScriptTarget.ES2022, true);
    const found: string[] = [];
    const visit = (node: ts.Node) => {
      const isStar = ts.isExportDeclaration(node) && node.exportClause === undefined;
      const isDefault = ts.isExportAssignment(node) || node.kind === ts.SyntaxKind.DefaultKeyword;
      if (
        node.kind === ts.SyntaxKind.AnyKeyword ||
        ts.isEnumDeclaration(node) ||
        (isStar && !['node', 'script'].includes(path)) ||
        (isDefault && !ts.isDefaultClause(node))
      ) {
        found.push(node.getText());
      }
      node.forEachChild(visit);
    };
    visit(file);
    expect(found).toEqual([]);
  });

  test.each(all)('%s has at most 400 lines', path => {
    expect(lineCount(path)).toBeLessThanOrEqual(400);
  });
});

describe('docs/architecture.md', () => {
  const page = readFileSync(join(__dirname, '../docs/architecture.md'), 'utf8');

  test('draws these rooms, in this order', () => {
    const [, picture = ''] = /```text\n([^`]*)```/.exec(page) ?? [];
    const drawn = picture
      .trim()
      .split('\n')
      .flatMap(line => line.split(/ {2,}/).slice(1));
    expect(drawn).toEqual(ROOMS);
  });

  test('says of each room what is in it', () => {
    const [, rows = ''] = /\| room \|[^\n]*\n([^]*?)\n\n/.exec(page) ?? [];
    const told = rows
      .split('\n')
      .flatMap(row => [...row.split(' | ')[0]!.matchAll(/`(\w+)`/g)].map(([, room]) => room));
    expect(told.sort()).toEqual([...ROOMS].sort());
  });

  test('says how many lines the rooms have, to a tenth', () => {
    const [, rows = ''] = /\| rooms \|[^\n]*\n[^\n]*\n([^]*?)\n\n/.exec(page) ?? [];
    const told = rows.split('\n').map(row => {
      const [, names = '', lines = ''] = row.split(/ ?\| /);
      return {rooms: [...names.matchAll(/`(\w+)`/g)].map(([, room]) => room!), lines: toNumber(lines)};
    });
    expect(told.flatMap(({rooms}) => rooms).sort()).toEqual([...ROOMS].sort());
    const linesOf = (rooms: readonly string[]) =>
      all.filter(path => rooms.includes(roomOf(path))).reduce((sum, path) => sum + lineCount(path), 0);
    const isRight = (lines: number, count: number) => Math.abs(lines - count) <= count / 10;
    expect(told.filter(({rooms, lines}) => !isRight(lines, linesOf(rooms)))).toEqual([]);
    const [, whole = '', files = '', core = ''] = /has ([\d,]+) lines in (\d+) files\. ([\d,]+) of/.exec(page) ?? [];
    expect(isRight(toNumber(whole), linesOf(ROOMS))).toBe(true);
    expect(isRight(toNumber(files), all.length)).toBe(true);
    expect(isRight(toNumber(core), linesOf(ROOMS.filter(room => !ENTRIES.includes(room))))).toBe(true);
  });

  test('names files and folders that are there', () => {
    const named = [...page.matchAll(/`((?:\w+\/)+(?:\w+(?:\.test)?\.ts)?)`/g)].map(([, path = '']) => path);
    expect(named.length).toBeGreaterThan(40);
    const root = join(SRC, '..');
    expect(named.filter(path => !existsSync(join(root, path)) && !existsSync(join(SRC, path)))).toEqual([]);
  });
});
