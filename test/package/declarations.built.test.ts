import {execFileSync} from 'node:child_process';
import {readdirSync, readFileSync} from 'node:fs';
import {join} from 'node:path';
import ts from 'typescript';
import manifest from '../../package.json';
import {withUndefined} from '../../scripts/declarations';

const ROOT = process.cwd();

/** A file of types and the module that it describes. */
interface Described {
  types: string;
  default: string;
}

/** Each pair in the `exports` of package.json, whatever its conditions. */
function pairsIn(value: unknown): Described[] {
  if (typeof value !== 'object' || value === null) {
    return [];
  }
  return 'types' in value && 'default' in value ? [value as Described] : Object.values(value).flatMap(pairsIn);
}

const pairs = pairsIn(manifest.exports);

const OPTIONS: ts.CompilerOptions = {
  module: ts.ModuleKind.NodeNext,
  moduleResolution: ts.ModuleResolutionKind.NodeNext,
  skipLibCheck: true,
};

/** Where each name is declared that a file of types exports. */
function declarationsOf(file: string): Map<string, string[]> {
  const program = ts.createProgram([file], OPTIONS);
  const checker = program.getTypeChecker();
  const exported = checker.getExportsOfModule(checker.getSymbolAtLocation(program.getSourceFile(file)!)!);
  return new Map(
    exported
      .map((symbol): [string, string[]] => {
        const target = symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
        return [symbol.name, (target.declarations ?? []).map(each => `${each.getSourceFile().fileName}:${each.pos}`)];
      })
      .sort(([one], [other]) => (one < other ? -1 : 1)),
  );
}

/** The values that each file of types exports. */
function declaredBy(files: readonly string[]): Map<string, string[]> {
  const program = ts.createProgram([...files], OPTIONS);
  const checker = program.getTypeChecker();
  return new Map(
    files.map(file => {
      const exported = checker.getExportsOfModule(checker.getSymbolAtLocation(program.getSourceFile(file)!)!);
      const isValue = (symbol: ts.Symbol) => {
        const target = symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
        const isType = (symbol.declarations ?? []).some(ts.isTypeOnlyImportOrExportDeclaration);
        return !isType && (target.flags & ts.SymbolFlags.Value) !== 0;
      };
      return [file, exported.filter(isValue).map(({name}) => name)] as const;
    }),
  );
}

/** What each module exports when it runs, in a process of its own: the main entry alone knows Node's files. */
function exportedBy(modules: readonly string[]): Record<string, string[]> {
  const program = `
    import {createRequire} from 'node:module';
    const require = createRequire(${JSON.stringify(join(ROOT, 'package.json'))});
    const names = {};
    for (const file of ${JSON.stringify(modules)}) {
      const module = file.endsWith('.cjs') ? require(file) : await import(file);
      names[file] = Object.keys(module);
    }
    console.log('NAMES' + JSON.stringify(names));`;
  const output = execFileSync(process.execPath, ['--input-type=module', '--eval', program], {
    cwd: ROOT,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  return JSON.parse(/^NAMES(.*)$/m.exec(output)![1]!) as Record<string, string[]>;
}

test('every entry point declares the values that its module exports, and no other', () => {
  const path = (file: string) => join(ROOT, file);
  const declared = declaredBy([...new Set(pairs.map(({types}) => path(types)))]);
  const exported = exportedBy([...new Set(pairs.map(pair => path(pair.default)))]);
  const differences = pairs.flatMap(pair => {
    const [values, names] = [declared.get(path(pair.types))!, exported[path(pair.default)]!];
    const [absent, undeclared] = [
      values.filter(name => !names.includes(name)),
      names.filter(name => !values.includes(name)),
    ];
    return absent.length + undeclared.length === 0 ? [] : [{...pair, absent, undeclared}];
  });
  expect(pairs.length).toBeGreaterThan(20);
  expect(differences).toEqual([]);
}, 120_000);

// The condition `node` chooses the one or the other, and `moduleResolution: bundler` does not know it.
test.each(['ts', 'cts'])('the main entry point declares the same for Node as for pages (.d.%s)', ending => {
  const [inNode, elsewhere] = ['node', 'index'].map(name => declarationsOf(join(ROOT, `dist/${name}.d.${ending}`)));
  expect(elsewhere!.size).toBeGreaterThan(100);
  expect(inNode).toEqual(elsewhere);
});

// For programs with `exactOptionalPropertyTypes`, which `npm run check -- types` compiles.
test('optional members of declarations take undefined', () => {
  expect(withUndefined('interface A {a?: number; b?: (c?: string) => void; d?: 1 | undefined; e?: {f?: B[]}}')).toBe(
    'interface A {a?: number | undefined; b?: ((c?: string) => void) | undefined; d?: 1 | undefined; ' +
      'e?: {f?: B[] | undefined} | undefined}',
  );
  const files = readdirSync(join(ROOT, 'dist')).filter(name => /\.d\.c?ts$/.test(name));
  const texts = files.map(name => readFileSync(join(ROOT, 'dist', name), 'utf8'));
  expect(files.length).toBeGreaterThan(20);
  expect(texts.map(withUndefined)).toEqual(texts);
});
