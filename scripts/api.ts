// Prints the public interface: the names and signatures that each entry point exports, and the types that these refer
// to, without comments and bodies. `npx tsx scripts/api.ts --write` writes it to `api/`, a file for each entry point,
// so that a change of the interface shows in a diff. `test/docs/typescript.test.ts` compares the two.

import {mkdirSync, readdirSync, rmSync, writeFileSync} from 'node:fs';
import {join, relative, resolve} from 'node:path';
import {argv} from 'node:process';
import ts from 'typescript';
import {ENTRIES} from './entries';

const ROOT = process.cwd();
const SOURCES = resolve(ROOT, 'src');

/** The folder of the report. */
export const REPORT = join(ROOT, 'api');

/** The names of the entry points, and of the one without a name. */
export const POINTS = ['index', ...ENTRIES];

/** A name that an entry point exports, and what it stands for. */
export interface Exported {
  name: string;
  symbol: ts.Symbol;
  /** Whether it is exported by `export type`, so that a class has no value. */
  isTypeOnly?: boolean;
}

/** The program of all entry points. */
export interface Library {
  program: ts.Program;
  checker: ts.TypeChecker;
  exportsOf: (point: string) => Exported[];
}

/** Opens the entry points and `modules`: texts by the path that each would have. */
export function openLibrary(modules: ReadonlyMap<string, string> = new Map()): Library {
  const {config} = ts.readConfigFile(join(ROOT, 'tsconfig.json'), path => ts.sys.readFile(path)) as {config: object};
  const {options} = ts.parseJsonConfigFileContent({...config, include: []}, ts.sys, ROOT);
  const settings = {...options, noUnusedLocals: false, noUnusedParameters: false, isolatedModules: false};
  const host = ts.createCompilerHost(settings);
  const [fileExists, readFile] = [host.fileExists.bind(host), host.readFile.bind(host)];
  host.fileExists = path => modules.has(path) || fileExists(path);
  host.readFile = path => modules.get(path) ?? readFile(path);
  const fileOf = (point: string) => join(SOURCES, `${point}.ts`);
  const program = ts.createProgram([...POINTS.map(fileOf), ...modules.keys()], settings, host);
  const checker = program.getTypeChecker();
  const exportsOf = (point: string) =>
    checker
      .getExportsOfModule(checker.getSymbolAtLocation(program.getSourceFile(fileOf(point))!)!)
      .map(symbol => ({
        name: symbol.name,
        symbol: withoutAlias(checker, symbol),
        isTypeOnly: (symbol.declarations ?? []).some(ts.isTypeOnlyExportDeclaration),
      }))
      .sort(byName);
  return {program, checker, exportsOf};
}

function byName({name: one}: {name: string}, {name: other}: {name: string}): number {
  return one < other ? -1 : Number(one > other);
}

/** What a symbol stands for, if it is a name for another one. */
export function withoutAlias(checker: ts.TypeChecker, symbol: ts.Symbol): ts.Symbol {
  return symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
}

/** Whether a name may change in any minor version. */
export function isExperimental(symbol: ts.Symbol): boolean {
  return symbol.getJsDocTags().some(({name}) => name === 'experimental');
}

/** Whether a declaration is one of the library's own. */
export function isOurs(node: ts.Node): boolean {
  return !relative(SOURCES, node.getSourceFile().fileName).startsWith('..');
}

const printer = ts.createPrinter({removeComments: true});

/** A node in one line, without comments. */
function flat(node: ts.Node): string {
  return printer.printNode(ts.EmitHint.Unspecified, node, node.getSourceFile()).replace(/\s+/g, ' ').trim();
}

function has(node: ts.Node, ...kinds: ts.SyntaxKind[]): boolean {
  return ts.canHaveModifiers(node) && (ts.getModifiers(node) ?? []).some(({kind}) => kinds.includes(kind));
}

/** Whether users see a member of a class or interface. */
function isSeen(member: ts.Declaration): boolean {
  const {PrivateKeyword, ProtectedKeyword, OverrideKeyword} = ts.SyntaxKind;
  const isHidden = has(member, PrivateKeyword, ProtectedKeyword, OverrideKeyword) || ts.isPrivateIdentifier(member);
  return !isHidden && !isInternal(member);
}

function isInternal(node: ts.Node): boolean {
  return ts.getJSDocTags(node).some(({tagName}) => tagName.text === 'internal');
}

type Declared = ts.ClassDeclaration | ts.InterfaceDeclaration;

function isDeclared(node: ts.Node): node is Declared {
  return ts.isClassDeclaration(node) || ts.isInterfaceDeclaration(node);
}

/** Writes declarations, and remembers which names they refer to. */
class Writer {
  constructor(
    private readonly checker: ts.TypeChecker,
    private readonly refer: (symbol: ts.Symbol) => void,
    /** Whether an entry point exports what a symbol stands for. */
    private readonly isNamed: (symbol: ts.Symbol) => boolean,
  ) {}

  /** A type as it is written, or as the compiler finds it where it is not. */
  private typeOf(node: ts.Declaration & {type?: ts.TypeNode}): string {
    if (node.type !== undefined) {
      this.visit(node.type);
      return flat(node.type);
    }
    const {NoTruncation, UseAliasDefinedOutsideCurrentScope} = ts.TypeFormatFlags;
    const type = this.checker.getTypeAtLocation(node);
    return this.checker.typeToString(type, node, NoTruncation | UseAliasDefinedOutsideCurrentScope);
  }

  private visit(node: ts.Node): void {
    const name = ts.isTypeReferenceNode(node)
      ? node.typeName
      : ts.isExpressionWithTypeArguments(node)
        ? node.expression
        : ts.isTypeQueryNode(node)
          ? node.exprName
          : undefined;
    const symbol = name && this.checker.getSymbolAtLocation(name);
    if (symbol !== undefined) {
      this.refer(withoutAlias(this.checker, symbol));
    }
    node.forEachChild(child => this.visit(child));
  }

  private signature(node: ts.SignatureDeclaration): string {
    const taken = node.parameters.filter(parameter => !isInternal(parameter));
    const parameters = taken.map(parameter => {
      const name = ts.isIdentifier(parameter.name) ? parameter.name.text : 'options';
      const isOptional = parameter.questionToken !== undefined || parameter.initializer !== undefined;
      return `${parameter.dotDotDotToken ? '...' : ''}${name}${isOptional ? '?' : ''}: ${this.typeOf(parameter)}`;
    });
    const types = node.typeParameters ?? [];
    types.forEach(type => this.visit(type));
    return `${types.length > 0 ? `<${types.map(flat).join(', ')}>` : ''}(${parameters.join(', ')})`;
  }

  private returned(node: ts.SignatureDeclaration): string {
    if (node.type !== undefined) {
      return this.typeOf(node);
    }
    const signature = this.checker.getSignatureFromDeclaration(node)!;
    return this.checker.typeToString(signature.getReturnType(), node, ts.TypeFormatFlags.NoTruncation);
  }

  private callable(node: ts.SignatureDeclaration): string {
    return `${this.signature(node)}: ${this.returned(node)}`;
  }

  private member(node: ts.ClassElement | ts.TypeElement): string[] {
    if (!isSeen(node)) {
      return [];
    }
    if (ts.isConstructorDeclaration(node)) {
      const fields = node.parameters.filter(({modifiers}) => modifiers !== undefined).filter(isSeen);
      const lines = fields.map(field => `readonly ${flat(field.name)}: ${this.typeOf(field)}`);
      return [`constructor${this.signature(node)}`, ...lines];
    }
    const start = has(node, ts.SyntaxKind.StaticKeyword) ? 'static ' : '';
    const name = `${node.name === undefined ? '' : flat(node.name)}${isOptional(node) ? '?' : ''}`;
    if (ts.isPropertyDeclaration(node) || ts.isPropertySignature(node)) {
      const readonly = has(node, ts.SyntaxKind.ReadonlyKeyword) ? 'readonly ' : '';
      return [`${start}${readonly}${name}: ${this.typeOf(node)}`];
    }
    if (ts.isGetAccessorDeclaration(node)) {
      return [`${start}get ${name}(): ${this.returned(node)}`];
    }
    if (ts.isSetAccessorDeclaration(node)) {
      return [`${start}set ${name}${this.signature(node)}`];
    }
    return ts.isFunctionLike(node) ? [`${start}${name}${this.callable(node)}`] : [];
  }

  private body(node: Declared): string {
    const types = node.typeParameters ? `<${node.typeParameters.map(flat).join(', ')}>` : '';
    const {bases, shown} = this.heritageOf(node);
    const heritage = bases.length === 0 ? '' : ` extends ${bases.map(flat).join(', ')}`;
    bases.forEach(base => this.visit(base));
    const isConstructor = ({kind}: ts.ClassElement | ts.TypeElement) => kind === ts.SyntaxKind.Constructor;
    const hasConstructor = node.members.some(isConstructor);
    const members = [...shown].flatMap(each =>
      this.membersOf(each, member => each === node || !hasConstructor || !isConstructor(member)),
    );
    const lines = [...new Set(members)].sort();
    if (lines.length < 2) {
      return `${types}${heritage} {${lines.map(line => ` ${line}; `).join('')}}`;
    }
    return `${types}${heritage} {\n${lines.map(line => `  ${line};\n`).join('')}}`;
  }

  /**
   * What a declaration extends, as users see it: names that no entry point exports are left out, and what they declare
   * is `shown` as the declaration's own.
   */
  private heritageOf(node: Declared): {bases: ts.ExpressionWithTypeArguments[]; shown: Set<Declared>} {
    const shown = new Set([node]);
    const bases = (node.heritageClauses ?? [])
      .filter(({token}) => token === ts.SyntaxKind.ExtendsKeyword)
      .flatMap(({types}) => [...types])
      .flatMap(base => {
        // A class may extend what a function returns.
        const symbol = ts.isCallExpression(base.expression)
          ? this.checker.getTypeAtLocation(base).symbol
          : this.checker.getSymbolAtLocation(base.expression);
        const target = symbol && withoutAlias(this.checker, symbol);
        const hidden = (target?.declarations ?? []).filter(isDeclared).filter(isOurs);
        if (target === undefined || this.isNamed(target) || hidden.length === 0 || base.typeArguments !== undefined) {
          return [base];
        }
        const inherited = hidden.map(each => this.heritageOf(each));
        inherited.forEach(each => each.shown.forEach(declaration => shown.add(declaration)));
        return inherited.flatMap(each => each.bases);
      });
    return {bases, shown};
  }

  private membersOf(node: Declared, isWanted: (member: ts.ClassElement | ts.TypeElement) => boolean): string[] {
    return node.members.filter(isWanted).flatMap(member => {
      // Of a function with overloads, the overloads are what users see.
      const isImplementation =
        (ts.isMethodDeclaration(member) || ts.isConstructorDeclaration(member)) &&
        member.body !== undefined &&
        node.members.some(other => other !== member && other.kind === member.kind && sameName(other, member));
      return isImplementation && this.hasOverloads(node.members, member) ? [] : this.member(member);
    });
  }

  private hasOverloads(members: readonly ts.Node[], member: ts.ClassElement): boolean {
    return members.some(
      other =>
        (ts.isMethodDeclaration(other) || ts.isConstructorDeclaration(other)) &&
        other.body === undefined &&
        sameName(other, member),
    );
  }

  /** What an entry point says of a name. */
  write({name, symbol, isTypeOnly}: Exported): string {
    const declarations = symbol.declarations ?? [];
    const hasOverloads = declarations.some(node => ts.isFunctionDeclaration(node) && node.body === undefined);
    const lines = declarations.flatMap(node => {
      if (ts.isFunctionDeclaration(node)) {
        return hasOverloads && node.body !== undefined ? [] : [`function ${name}${this.callable(node)};`];
      }
      if (ts.isClassDeclaration(node)) {
        const isAbstract = has(node, ts.SyntaxKind.AbstractKeyword);
        return [`${isTypeOnly ? 'type-only ' : ''}${isAbstract ? 'abstract ' : ''}class ${name}${this.body(node)}`];
      }
      if (ts.isInterfaceDeclaration(node)) {
        return [`interface ${name}${this.body(node)}`];
      }
      if (ts.isTypeAliasDeclaration(node)) {
        const types = node.typeParameters ? `<${node.typeParameters.map(flat).join(', ')}>` : '';
        return [`type ${name}${types} = ${this.typeOf(node)};`];
      }
      return ts.isVariableDeclaration(node) ? [`const ${name}: ${this.typeOf(node)};`] : [];
    });
    return `${isExperimental(symbol) ? '@experimental ' : ''}${lines.join('\n')}`;
  }
}

function isOptional(node: ts.ClassElement | ts.TypeElement): boolean {
  return 'questionToken' in node && node.questionToken !== undefined;
}

function sameName({name: one}: ts.ClassElement | ts.TypeElement, {name: other}: ts.ClassElement): boolean {
  return (one && flat(one)) === (other && flat(other));
}

/** How much of an interface there is. */
export interface Counts {
  /** Names that entry points export, each once. */
  names: number;
  /** Names of classes that have no value. */
  typeOnlyClasses: number;
  /** Functions of the main entry point, and those of them that are experimental. */
  functions: number;
  experimental: number;
}

export function countsOf({exportsOf}: Library): Counts {
  const all = new Map(POINTS.flatMap(exportsOf).map(each => [each.symbol, each]));
  const functions = exportsOf('index').filter(({symbol}) => symbol.flags & ts.SymbolFlags.Function);
  return {
    names: all.size,
    typeOnlyClasses: [...all.values()].filter(each => each.isTypeOnly && each.symbol.flags & ts.SymbolFlags.Class)
      .length,
    functions: functions.length,
    experimental: functions.filter(({symbol}) => isExperimental(symbol)).length,
  };
}

/** Rows of one line in a paragraph, and each longer one in its own. */
function paragraphs(rows: readonly string[]): string {
  return rows.reduce((text, row, i) => {
    // Headings and lists end with a colon or a period.
    const isApart = [row, rows[i - 1] ?? ''].some(each => /\n|[:.]$/.test(each));
    return text + (i === 0 ? '' : isApart ? '\n\n' : '\n') + row;
  }, '');
}

/** The report of each entry point, by its name. Names that the main one has too are only listed by the others. */
export function reportsOf({checker, exportsOf}: Library): Map<string, string> {
  const named = new Map<ts.Symbol, string>();
  const all = POINTS.map(point => [point, exportsOf(point)] as const);
  all.forEach(([, exported]) => exported.forEach(({name, symbol}) => named.set(symbol, name)));
  const main = new Set(exportsOf('index').map(({symbol}) => symbol));
  return new Map(
    all.map(([point, exported]) => {
      const referred: Exported[] = [];
      const seen = new Set(named.keys());
      const writer = new Writer(
        checker,
        symbol => {
          if (
            !seen.has(symbol) &&
            (symbol.declarations ?? []).some(node => isOurs(node) && !ts.isTypeParameterDeclaration(node))
          ) {
            seen.add(symbol);
            referred.push({name: symbol.name, symbol});
          }
        },
        symbol => named.has(symbol),
      );
      const isShared = ({symbol}: Exported) => point !== 'index' && main.has(symbol);
      const shared = exported.filter(isShared).map(({name}) => name);
      const parts = exported.filter(each => !isShared(each)).map(each => writer.write(each));
      const hidden: string[] = [];
      // The list grows while its entries are written.
      for (const each of referred) {
        hidden.push(writer.write(each));
      }
      const title = `tfjs-lora${point === 'index' ? '' : `/${point}`}`;
      const rows = [
        `Interface of ${title}, written by scripts/api.ts.`,
        ...(shared.length > 0 ? [`As in tfjs-lora: ${shared.join(', ')}.`] : []),
        ...parts,
        ...(hidden.length > 0 ? ['Not exported, and referred to above:', ...hidden.sort()] : []),
      ];
      return [point, `${paragraphs(rows.filter(row => row !== ''))}\n`] as const;
    }),
  );
}

if (argv[1]?.endsWith('api.ts')) {
  const library = openLibrary();
  const reports = reportsOf(library);
  if (argv.includes('--write')) {
    mkdirSync(REPORT, {recursive: true});
    readdirSync(REPORT).forEach(name => rmSync(join(REPORT, name)));
    reports.forEach((text, point) => writeFileSync(join(REPORT, `${point}.txt`), text));
    console.log(countsOf(library));
  } else {
    console.log([...reports.values()].join('\n'));
  }
}
