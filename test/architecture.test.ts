import {existsSync, readdirSync, readFileSync} from 'node:fs';
import {dirname, join, relative} from 'node:path';
import ts from 'typescript';
import {ENTRIES} from '../scripts/entries';

const SRC = join(__dirname, '../src');

/** The top-level folders. Each imports only itself and those after it. */
const TOP_FOLDERS = ['cli', 'node', 'extensions', 'core', 'backends', 'platform'];

/** The folders of core. Each imports only itself and those after it. */
const CORE = [
  ...['training', 'peft', 'keras', 'model', 'head', 'rewire'],
  ...['storage', 'adapter', 'layers', 'methods', 'ops'],
];

/** What an extension imports of others. */
const ACROSS: Readonly<Record<string, readonly string[]>> = {
  graph: ['onnx'],
  images: ['transformers'],
  language: ['transformers', 'quantized', 'records'],
  onnx: ['graph', 'quantized'],
  sound: ['transformers'],
  transformers: ['onnx', 'quantized'],
  words: ['sound'],
};

/** Extensions, and files and folders that only Node has: `index` reaches none of them. */
const EXTENSIONS = ENTRIES.filter(name => !['node', 'layers'].includes(name));

/** What a page imports. */
const PAGE_ENTRIES = ['index', 'layers', ...EXTENSIONS];

/** For script tags: an entry is a file of the package, and no module of it. */
const SCRIPTS = ['script', 'scriptLanguage'];

/**
 * The classes and methods of extensions that files of core and platform name, where the layers cannot say it of themselves: they
 * come from files, or adapters and files of others call them by these names.
 */
const NAMED: Readonly<Record<string, readonly string[]>> = {
  'core/adapter/headConfig': ['GraphOp'],
  'core/head/outputActivation': ['Gelu', 'GraphOp', 'QuickGelu'],
  'core/keras/attention': ['Attention'],
  'core/keras/ownRows': ['Attention', 'LayerScale', 'RMSNormalization'], // of Keras
  'core/peft/parsePeft': ['tokens'], // a field of what is read
  'core/peft/torchLayers': [
    ...['TiedDense', 'FusedConv2D', 'FusedLayerNormalization', 'RMSNormalization', 'PositionEmbedding'],
    'GridPositionEmbedding',
    ...['TypeEmbedding', 'Conv1DInitializer', 'ShortConvolution', 'Affine', 'WidthPart'],
  ],
};

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
const all = SOURCES.map(({path}) => path);

/** The top-level folder of a file; for an entry point, its name. */
function topOf(path: string): string {
  return path.split('/')[0]!;
}

/** The second folder of a file in core or the extensions; elsewhere the top-level folder. */
function partOf(path: string): string {
  const [top = '', part = ''] = path.split('/');
  return top === 'core' || top === 'extensions' ? part : top;
}

function isEntry(path: string): boolean {
  return !path.includes('/');
}

/** A file's folder; an entry point is one by itself. */
function folderOf(path: string): string {
  return isEntry(path) ? path : dirname(path);
}

/** Whether a file may import another one. */
function mayImport(path: string, other: string): boolean {
  const [top, otherTop] = [topOf(path), topOf(other)];
  const [part, otherPart] = [partOf(path), partOf(other)];
  if (isEntry(path)) {
    const opened =
      path === 'node' ? ['index'] : SCRIPTS.includes(path) ? ['script', ...PAGE_ENTRIES] : (ACROSS[path] ?? []);
    return !isEntry(other) || opened.includes(other);
  }
  if (isEntry(other)) {
    return top === 'cli';
  }
  if (top !== otherTop) {
    return TOP_FOLDERS.indexOf(otherTop) > TOP_FOLDERS.indexOf(top);
  }
  if (top === 'extensions') {
    return part === otherPart || (ACROSS[part] ?? []).includes(otherPart);
  }
  return top !== 'core' || CORE.indexOf(otherPart) >= CORE.indexOf(part);
}

/** All that a graph leads to from a node. */
function reachable<T>(start: T, next: (node: T) => Iterable<T>, found = new Set<T>()): Set<T> {
  for (const node of next(start)) {
    if (!found.has(node)) {
      found.add(node);
      reachable(node, next, found);
    }
  }
  return found;
}

/** All files that a file imports, and those that they import, and so on. */
function filesFrom(path: string, by: 'imports' | 'loads' = 'imports'): Set<string> {
  return reachable(path, from => BY_PATH.get(from)![by].filter(name => BY_PATH.has(name)));
}

function lineCount(path: string): number {
  return BY_PATH.get(path)!.text.trimEnd().split('\n').length;
}

/** A number as a page has it: `1,200`. */
function toNumber(text: string): number {
  return Number(text.replaceAll(',', ''));
}

describe('in src', () => {
  test('there is something to look at', () => {
    expect(all).toEqual(expect.arrayContaining(['index', 'node', 'platform/errors', 'core/model/apply']));
    expect(BY_PATH.get('core/layers/loraDense')!.imports).toEqual(
      expect.arrayContaining(['@tensorflow/tfjs', 'core/layers/loraLayer']),
    );
  });

  test('a file is an entry point, or in a folder that is listed', () => {
    const entries = ['index', ...SCRIPTS, 'cli', ...ENTRIES];
    expect(all.filter(isEntry).sort()).toEqual([...entries].sort());
    const parts = new Set([...CORE, ...EXTENSIONS, ...TOP_FOLDERS]);
    expect(
      all.filter(path => !isEntry(path) && !(TOP_FOLDERS.includes(topOf(path)) && parts.has(partOf(path)))),
    ).toEqual([]);
  });

  test('a file imports only what stands further in', () => {
    const wrong = SOURCES.flatMap(({path, imports}) =>
      imports.filter(name => BY_PATH.has(name) && !mayImport(path, name)).map(name => `${path} imports ${name}`),
    );
    expect(wrong).toEqual([]);
  });

  test('no file is in a cycle of imports, and no folder', () => {
    expect(all.filter(path => filesFrom(path).has(path))).toEqual([]);
    const folders = new Map<string, Set<string>>();
    for (const {path, imports} of SOURCES) {
      const others = imports.filter(name => BY_PATH.has(name) && folderOf(name) !== folderOf(path)).map(folderOf);
      folders.set(folderOf(path), new Set([...(folders.get(folderOf(path)) ?? []), ...others]));
    }
    expect([...folders.keys()].filter(folder => reachable(folder, from => folders.get(from)!).has(folder))).toEqual([]);
  });

  // The file itself is among those that are counted.
  test.each([
    ['core/layers/loraDense', 28, 3900],
    ['core/layers/loraConv2d', 36, 4650],
    ['core/model/apply', 101, 11_000],
  ])('%s loads at most %i files of %i lines', (path, files, lines) => {
    const loaded = [path, ...filesFrom(path, 'loads')];
    expect(loaded.length).toBeLessThanOrEqual(files);
    expect(loaded.reduce((sum, file) => sum + lineCount(file), 0)).toBeLessThanOrEqual(lines);
  });

  test('layers, methods and operations load no folder of a backend', () => {
    const readable = all.filter(path => !isEntry(path) && ['layers', 'methods', 'ops'].includes(partOf(path)));
    const loaded = [...new Set(readable.flatMap(path => [...filesFrom(path, 'loads')]))];
    const folders = loaded.filter(path => topOf(path) === 'backends').map(path => dirname(path));
    expect(new Set(folders)).toEqual(new Set(['backends/shared']));
  });

  test('nothing that index, layers or node reaches is in an extension, except records, which load errors alone', () => {
    const reached = ['index', 'layers', 'node'].flatMap(entry => [...filesFrom(entry)]);
    const extensions = reached.filter(path => topOf(path) === 'extensions').map(partOf);
    expect([...new Set(extensions)]).toEqual(['records']);
  });

  test('core and platform name no class and no method of an extension, except where a table says so', () => {
    const namesIn = (declaration: RegExp) =>
      SOURCES.filter(({path}) => topOf(path) === 'extensions').flatMap(({text}) =>
        [...text.matchAll(declaration)].map(([, name = '']) => name),
      );
    const classes = namesIn(/(?:className(?:: string)? = 'tfjs-lora\/\w+>|defineLayer\(')(\w+)'/g);
    const methods = namesIn(/: Method = \{\s*name: '([\w-]+)'/g);
    expect(classes.length).toBeGreaterThan(25);
    expect(methods).toEqual(['tokens']);
    const pattern = new RegExp(`\\b(?:${classes.join('|')})\\b|(?<=tfjs-lora/\\w+>)\\w+`, 'g');
    const found: Record<string, string[]> = {};
    for (const {path, text} of SOURCES.filter(each => ['core', 'platform'].includes(topOf(each.path)))) {
      const names = new Set<string>();
      const visit = (node: ts.Node) => {
        const isKey = ts.isIdentifier(node) && ts.isPropertyAssignment(node.parent) && node.parent.name === node;
        if (
          isKey ||
          ts.isStringLiteralLike(node) ||
          ts.isTemplateHead(node) ||
          ts.isTemplateMiddleOrTemplateTail(node)
        ) {
          const isMethod = !isKey && methods.includes(node.text);
          (isMethod ? [node.text] : (node.text.match(pattern) ?? [])).forEach(name => names.add(name));
        }
        node.forEachChild(visit);
      };
      visit(ts.createSourceFile(path, text, ts.ScriptTarget.ES2022, true));
      if (names.size > 0) {
        found[path] = [...names].sort();
      }
    }
    const told = Object.entries(NAMED).map(([path, names]) => [path, [...names].sort()] as const);
    expect(found).toEqual(Object.fromEntries(told));
  });

  test('nothing that a page imports reaches a module of Node', () => {
    const node = /^(node:|(fs|path|os|url|util|crypto|stream|buffer|process)(\/|$))/;
    const offenders = [...PAGE_ENTRIES, ...PAGE_ENTRIES.flatMap(entry => [...filesFrom(entry)])].filter(path =>
      BY_PATH.get(path)!.imports.some(name => node.test(name)),
    );
    expect(offenders).toEqual([]);
    expect([...filesFrom('node')]).toContain('node/localFileHandler');
    expect([...filesFrom('index')].filter(path => ['node', 'cli'].includes(topOf(path)))).toEqual([]);
  });

  test('the only packages that are imported are tfjs and, in one file, the optional peers for texts', () => {
    const packages = (path: string) => BY_PATH.get(path)!.imports.filter(name => !BY_PATH.has(name));
    const peers = 'extensions/transformers/load/peers';
    const others = new Set([...PAGE_ENTRIES, ...PAGE_ENTRIES.flatMap(entry => [...filesFrom(entry)])]);
    expect(packages(peers)).toEqual(['@huggingface/tokenizers', '@huggingface/jinja']);
    others.delete(peers);
    expect([...new Set([...others].flatMap(packages))]).toEqual(['@tensorflow/tfjs']);
  });

  test.each([
    ['records', ['platform/errors']],
    ['worker', ['platform/errors', 'platform/signals']],
  ])('%s loads errors alone, and not TensorFlow', (entry, files) => {
    const loaded = [...filesFrom(entry, 'loads')];
    expect(loaded.filter(path => partOf(path) !== entry).sort()).toEqual(files);
    expect(loaded.flatMap(path => BY_PATH.get(path)!.loads).filter(name => !BY_PATH.has(name))).toEqual([]);
  });

  test('formats know nothing of TensorFlow', () => {
    const formats = SOURCES.filter(({path}) => path.startsWith('platform/formats/'));
    expect(formats.length).toBeGreaterThan(5);
    expect(formats.flatMap(({imports}) => imports).filter(name => name.startsWith('@tensorflow'))).toEqual([]);
  });

  test('there is no any, no export *, no default export and no enum', () => {
    const found: string[] = [];
    for (const {path, text} of SOURCES) {
      const visit = (node: ts.Node) => {
        const isStar = ts.isExportDeclaration(node) && node.exportClause === undefined;
        const isDefault = ts.isExportAssignment(node) || node.kind === ts.SyntaxKind.DefaultKeyword;
        if (
          node.kind === ts.SyntaxKind.AnyKeyword ||
          ts.isEnumDeclaration(node) ||
          (isStar && !['node', ...SCRIPTS].includes(path)) ||
          (isDefault && !ts.isDefaultClause(node))
        ) {
          found.push(`${path}: ${node.getText()}`);
        }
        node.forEachChild(visit);
      };
      visit(ts.createSourceFile(path, text, ts.ScriptTarget.ES2022, true));
    }
    expect(found).toEqual([]);
  });

  test('a file has at most 400 lines', () => {
    expect(all.filter(path => lineCount(path) > 400)).toEqual([]);
  });

  // prettier leaves comments as long as they are.
  test('a line of a comment has at most 120 characters', () => {
    const isLong = (line: string) => line.length > 120 && /^\s*(\/\/|\/?\*)/.test(line) && !line.includes('://');
    expect(all.filter(path => BY_PATH.get(path)!.text.split('\n').some(isLong))).toEqual([]);
  });
});

describe('in test', () => {
  test('unit tests start no browser and no process of Node, and need no build', () => {
    const texts = new Map(
      readdirSync(__dirname, {recursive: true, encoding: 'utf8'})
        .filter(name => name.endsWith('.ts'))
        .map(name => [name.replace(/\.ts$/, ''), readFileSync(join(__dirname, name), 'utf8')]),
    );
    const next = (path: string) =>
      ts
        .preProcessFile(texts.get(path)!)
        .importedFiles.map(({fileName}) => join(dirname(path), fileName))
        .filter(name => texts.has(name));
    const needs = (path: string) => /playwright|process\.execPath|\bexecPath\b|'dist\//.test(texts.get(path)!);
    const units = [...texts.keys()].filter(path => /(^|\/)[^./]+\.test$/.test(path) && path !== 'architecture.test');
    expect(units.length).toBeGreaterThan(100);
    const wrong = units.flatMap(path => [path, ...reachable(path, next)].filter(needs).map(name => `${path}: ${name}`));
    expect(wrong).toEqual([]);
  });
});

describe('docs/architecture.md', () => {
  const page = readFileSync(join(__dirname, '../docs/architecture.md'), 'utf8');

  /** The names in the first column of a table, with the cells after it. */
  function rowsOf(head: string): {names: string[]; cells: string[]}[] {
    const [, rows = ''] = new RegExp(`\\| ${head} \\|[^\\n]*\\n[^\\n]*\\n([^]*?)\\n\\n`).exec(page) ?? [];
    return rows.split('\n').map(row => {
      const [, names = '', ...cells] = row.split(/ ?\| ?/);
      return {names: [...names.matchAll(/`([\w/]+)`/g)].map(([, name]) => name!), cells};
    });
  }

  test('describes each folder', () => {
    expect(rowsOf('folder').flatMap(({names}) => names)).toEqual(TOP_FOLDERS);
    expect(rowsOf('folder of core').flatMap(({names}) => names)).toEqual(CORE);
    const extensions = rowsOf('extension').map(({names: [name]}) => name);
    expect(extensions).toEqual([...EXTENSIONS].sort());
  });

  test('says what an extension imports of others', () => {
    const told = [...page.matchAll(/`(\w+)` imports ((?:`\w+`(?: and )?)+)/g)];
    const across = told.map(([, name = '', others = '']) => [
      name,
      [...others.matchAll(/\w{4,}/g)].map(([one]) => one),
    ]);
    expect(Object.fromEntries(across)).toEqual(ACROSS);
  });

  test('says how many lines there are, to a tenth', () => {
    const linesIn = (paths: readonly string[]) => paths.reduce((sum, path) => sum + lineCount(path), 0);
    const isRight = (lines: number, count: number) => Math.abs(lines - count) <= count / 10;
    const wrong = rowsOf('where').filter(({names, cells: [lines = '']}) => {
      const isIn = (path: string) => names.some(name => path === name || path.startsWith(`${name}/`));
      return !isRight(toNumber(lines), linesIn(all.filter(isIn)));
    });
    expect(wrong).toEqual([]);
    const [, whole = '', files = ''] = /has ([\d,]+) lines in (\d+) files/.exec(page) ?? [];
    expect(isRight(toNumber(whole), linesIn(all))).toBe(true);
    expect(isRight(toNumber(files), all.length)).toBe(true);
  });

  test('names files and folders that are there', () => {
    const named = [...page.matchAll(/`((?:\w+\/)+(?:\w+(?:\.test)?\.ts)?)`/g)].map(([, path = '']) => path);
    expect(named.length).toBeGreaterThan(40);
    const root = join(SRC, '..');
    expect(named.filter(path => !existsSync(join(root, path)) && !existsSync(join(SRC, path)))).toEqual([]);
  });

  test('gives each word of the glossary one row', () => {
    const words = [...page.split('## Glossary')[1]!.matchAll(/^\| ([\w -]+) \|/gm)].map(([, word]) => word);
    expect(words.length).toBeGreaterThan(15);
    expect(new Set(words).size).toBe(words.length);
  });
});
