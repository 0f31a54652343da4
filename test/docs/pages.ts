import {existsSync, readdirSync, readFileSync} from 'node:fs';
import {join} from 'node:path';
import ts from 'typescript';
import {ENTRIES} from '../../scripts/entries';

/** Both jest and npm run in the folder of the project. */
const ROOT = process.cwd();
const SURROUNDINGS = 'test/docs/surroundings';

/** The text between two fences of a page. */
export interface Block {
  language: string;
  text: string;
  /** Where it begins, from 1. */
  line: number;
  /** The heading above it, without its signs. */
  heading: string;
  /** The paragraph before it. */
  before: string;
}

/** Paths of the pages whose code runs: the README, what is in docs, and what explains an example. */
export const PAGES = [
  'README.md',
  ...readdirSync(join(ROOT, 'docs'))
    .filter(isMarkdown)
    .map(name => `docs/${name}`),
  ...readdirSync(join(ROOT, 'examples'))
    .map(name => `examples/${name}/README.md`)
    .filter(path => existsSync(join(ROOT, path))),
];

function isMarkdown(name: string): boolean {
  return name.endsWith('.md');
}

/** A name for a page: `saving` of `docs/saving.md`, `examples-swap` of `examples/swap/README.md`, `README`. */
export function nameOf(page: string): string {
  return page
    .replace(/\/README\.md$|\.md$/, '')
    .replace(/^docs\//, '')
    .replaceAll('/', '-');
}

export function readPage(page: string): string {
  return readFileSync(join(ROOT, page), 'utf8');
}

/** Whether a page moved: what is left at its address leads to the new one. */
export function isForward(page: string): boolean {
  return readPage(page).includes('This page is now part of [');
}

/** The blocks of a page, in order. */
export function blocksOf(page: string, ...languages: string[]): Block[] {
  const blocks: Block[] = [];
  let open: Block | undefined;
  let [heading, before, isOver] = ['', '', true];
  readPage(page)
    .split('\n')
    .forEach((text, i) => {
      if (open === undefined) {
        heading = /^#+ (.*)$/.exec(text)?.[1] ?? heading;
        if (text !== '' && !text.startsWith('```')) {
          before = isOver ? text : `${before} ${text}`;
        }
        isOver = text === '';
      }
      const fence = /^ *```(\w*)/.exec(text);
      if (fence === null && open !== undefined) {
        open.text += `${text}\n`;
      } else if (fence !== null && open === undefined) {
        open = {language: fence[1]!, text: '', line: i + 2, heading, before};
      } else if (open !== undefined) {
        blocks.push(open);
        open = undefined;
      }
    });
  if (open !== undefined) {
    throw new Error(`${page} has a fence that nothing closes.`);
  }
  return languages.length === 0 ? blocks : blocks.filter(({language}) => languages.includes(language));
}

/** The texts of the blocks under a heading of a page, of one language. */
export function textsUnder(page: string, heading: string, language: string): string[] {
  const texts = blocksOf(page, language)
    .filter(block => block.heading === heading)
    .map(({text}) => text);
  if (texts.length === 0) {
    throw new Error(`${page} has no ${language} under "${heading}".`);
  }
  return texts;
}

/**
 * What a page says that its code prints: in the fence without a language that follows it. A bar of progress is left
 * out.
 */
export function printedBy(page: string, code: 'ts' | 'js' = 'ts'): string[] {
  const blocks = blocksOf(page);
  const outputs = blocks.filter(({language}, i) => {
    const before = blocks[i - 1];
    return language === '' && before?.language === code && before.text.includes('console.log(');
  });
  return outputs.flatMap(({text}) => text.trimEnd().split('\n')).filter(line => !line.startsWith('█'));
}

/** What a page takes for granted: the path of a module without its ending, such as `test/docs/surroundings/saving`. */
export function surroundingsOf(page: string): string | undefined {
  const path = `${SURROUNDINGS}/${nameOf(page)}`;
  return existsSync(join(ROOT, `${path}.ts`)) ? path : undefined;
}

function parse(text: string): ts.SourceFile {
  return ts.createSourceFile('page.ts', text, ts.ScriptTarget.ES2022, true);
}

/** The names that a module exports, those of the modules that it opens included. */
function exportsOf(path: string): string[] {
  return parse(readFileSync(join(ROOT, path), 'utf8')).statements.flatMap(statement => {
    if (ts.isExportDeclaration(statement)) {
      const clause = statement.exportClause;
      return clause === undefined
        ? exportsOf(`src/${(statement.moduleSpecifier as ts.StringLiteral).text}.ts`)
        : (clause as ts.NamedExports).elements.filter(({isTypeOnly}) => !isTypeOnly).map(({name}) => name.text);
    }
    const isExported = ts.canHaveModifiers(statement) && ts.getModifiers(statement)?.some(isExport);
    if (isExported !== true) {
      return [];
    }
    return ts.isVariableStatement(statement)
      ? statement.declarationList.declarations.map(({name}) => name.getText())
      : [(statement as ts.FunctionDeclaration).name!.text];
  });
}

function isExport({kind}: ts.ModifierLike): boolean {
  return kind === ts.SyntaxKind.ExportKeyword;
}

/** Where a page finds names that it does not import. */
export const EXPORTS: Readonly<Record<string, readonly string[]>> = {
  'tfjs-lora': exportsOf('src/node.ts'),
  ...Object.fromEntries(
    ENTRIES.filter(name => name !== 'node').map(name => [`tfjs-lora/${name}`, exportsOf(`src/${name}.ts`)]),
  ),
};

/** The JavaScript that a page tells its reader to save and to run: `node first.mjs`. */
export function scriptsOf(page: string): Block[] {
  return blocksOf(page, 'js').filter(({before}) => /`node \w+\.mjs`/.test(before));
}

/** The names of the variables that a statement declares. */
function namesOf(node: ts.Node): string[] {
  if (ts.isVariableStatement(node)) {
    return node.declarationList.declarations.flatMap(({name}) => namesOf(name));
  }
  if (ts.isIdentifier(node)) {
    return [node.text];
  }
  return ts.isObjectBindingPattern(node) || ts.isArrayBindingPattern(node)
    ? node.elements.flatMap(element => (ts.isBindingElement(element) ? namesOf(element.name) : []))
    : [];
}

/** An import for each name of an import, so that blocks of a page may import the same names. */
function oneByOne(statement: ts.ImportDeclaration): string[] {
  const bindings = statement.importClause?.namedBindings;
  return bindings !== undefined && ts.isNamedImports(bindings)
    ? bindings.elements.map(name => `import {${name.getText()}} from ${statement.moduleSpecifier.getText()};`)
    : [statement.getText()];
}

/**
 * Code of a page, its TypeScript unless blocks are given, as one program: `run` runs the blocks in order, and adds the
 * values that each of them declared to a list. Each block knows what those before it declared, and may declare a name
 * again. Names that the page uses and does not import come from its surroundings, or from the entry points of the
 * library.
 */
export function programOf(page: string, blocks: readonly Block[] = blocksOf(page, 'ts')): string {
  const imports: string[] = [];
  const bodies = blocks.map(({text, line}) => {
    const source = parse(text);
    const isImport = ts.isImportDeclaration;
    imports.push(...source.statements.filter(isImport).flatMap(oneByOne));
    const body = source.statements.map(statement => (isImport(statement) ? '' : statement.getFullText())).join('');
    const declared = source.statements.flatMap(statement => namesOf(statement));
    return `// ${page}:${line}\n${body}\ndeclaredValues.push(${declared.join(', ')});`;
  });

  const used = new Set<string>();
  const visit = (node: ts.Node) => {
    if (ts.isIdentifier(node)) {
      used.add(node.text);
    }
    node.forEachChild(visit);
  };
  bodies.forEach(body => visit(parse(body)));
  const imported = new Set(
    imports.flatMap(text => [...text.replace(/ from .*$/s, '').matchAll(/\b\w+\b/g)].map(([name]) => name)),
  );
  const surroundings = surroundingsOf(page);
  const sources = {
    ...(surroundings && {[`../surroundings/${surroundings.split('/').at(-1)!}`]: exportsOf(`${surroundings}.ts`)}),
    ...EXPORTS,
  };
  const added = Object.entries(sources).map(([from, names]) => {
    const taken = names.filter(name => used.has(name) && !imported.has(name));
    taken.forEach(name => imported.add(name));
    return taken.length === 0 ? '' : `import {${taken.join(', ')}} from '${from}';`;
  });
  const tensorflow = imports.some(text => text.includes('* as tf ')) ? '' : "import * as tf from '@tensorflow/tfjs';";
  return [
    tensorflow,
    ...added,
    ...new Set(imports),
    'export async function run(declaredValues: unknown[] = []): Promise<void> {',
    bodies.join('\n{\n'),
    '}'.repeat(bodies.length),
    'void tf;',
    '',
  ].join('\n');
}
