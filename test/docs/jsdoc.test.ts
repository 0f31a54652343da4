import {readdirSync, readFileSync} from 'node:fs';
import {join} from 'node:path';
import ts from 'typescript';
import {openLibrary} from '../../scripts/api';
import {undocumented, undocumentedMembers} from './documented';
import {EXPORTS} from './pages';

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

/** Each piece of code as a module. Names of the library are imported; `others`, by piece, are whatever is needed. */
function modules(others: readonly ReadonlySet<string>[]): Map<string, string> {
  return new Map(
    BLOCKS.map(([, code], i) => {
      const [names, given] = [new Set(code.match(/\b\w+\b/g)), new Set(code.match(/(?<=import [^;]*)\b\w+\b/g))];
      const isFree = (name: string) => names.has(name) && !given.has(name);
      const imports = Object.entries(EXPORTS).map(([from, exported]) => {
        const taken = exported.filter(isFree);
        taken.forEach(name => given.add(name));
        return taken.length === 0 ? '' : `import {${taken.join(', ')}} from '${from}';`;
      });
      const declared = [...(others[i] ?? [])].map(name => `declare const ${name}: any;`);
      const tensorflow = given.has('tf') ? [] : ["import * as tf from '@tensorflow/tfjs';"];
      const text = [...tensorflow, ...imports, ...declared, code, 'export {};'].join('\n');
      return [join(ROOT, `test/docs/output/comment${i}.ts`), text] as const;
    }),
  );
}

/** Files of the library and of TypeScript, which are the same each time. */
const parsed = new Map<string, ts.SourceFile | undefined>();

/** What the compiler says of the modules. */
function diagnose(texts: ReadonlyMap<string, string>): readonly ts.Diagnostic[] {
  const {config} = ts.readConfigFile(join(ROOT, 'tsconfig.json'), path => ts.sys.readFile(path)) as {config: object};
  const {options} = ts.parseJsonConfigFileContent({...config, include: []}, ts.sys, ROOT);
  const settings = {...options, noUnusedLocals: false, noUnusedParameters: false, isolatedModules: false};
  const host = ts.createCompilerHost(settings);
  const [getSourceFile, fileExists] = [host.getSourceFile.bind(host), host.fileExists.bind(host)];
  host.fileExists = name => texts.has(name) || fileExists(name);
  host.getSourceFile = (name, ...rest) => {
    const text = texts.get(name);
    if (text !== undefined) {
      return ts.createSourceFile(name, text, ts.ScriptTarget.ES2022);
    }
    parsed.set(name, parsed.get(name) ?? getSourceFile(name, ...rest));
    return parsed.get(name);
  };
  const program = ts.createProgram([...texts.keys()], settings, host);
  return [...texts.keys()].flatMap(name => {
    const file = program.getSourceFile(name)!;
    return [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)];
  });
}

/** The compiler's codes for a name that nothing declares. */
const UNDECLARED = [2304, 2552, 18004];

test('code in comments compiles', () => {
  expect(BLOCKS.length).toBeGreaterThan(30);
  const others = BLOCKS.map(() => new Set(['prompt']));
  const indexOf = ({file}: ts.Diagnostic) => Number(/(\d+)\.ts$/.exec(file!.fileName)![1]);
  for (const diagnostic of diagnose(modules([])).filter(({code}) => UNDECLARED.includes(code))) {
    const {file, start, length} = diagnostic;
    others[indexOf(diagnostic)]!.add(file!.text.slice(start, start! + length!));
  }
  const faults = diagnose(modules(others)).map(diagnostic => {
    const [place] = BLOCKS[indexOf(diagnostic)]!;
    return `${place}: ${ts.flattenDiagnosticMessageText(diagnostic.messageText, ' ')}`;
  });
  expect(faults).toEqual([]);
}, 120_000);

test('exported functions say what they do, take, return and throw, with an example', () => {
  expect(undocumented(openLibrary())).toEqual([]);
}, 120_000);

test('each member of an exported interface has a comment', () => {
  expect(undocumentedMembers(openLibrary())).toEqual([]);
}, 120_000);
