// Collects what the library says when it refuses something or warns of it: the texts of its source.

import {readdirSync, readFileSync} from 'node:fs';
import {dirname, join} from 'node:path';
import ts from 'typescript';

/** npm runs its scripts, and jest its tests, in the folder of the project. */
const SRC = 'src';

/** Fewer words or letters say nothing by themselves. */
const FEWEST_WORDS = 3;
const FEWEST_LETTERS = 9;
/** More alternatives than a text of two conditions and a few parts has. */
const MOST_ALTERNATIVES = 8;

/** Code of the wasm module, data, and files whose texts are programs, for a graphics card or a thread. */
const HAS_NO_MESSAGES = /native\/|quickstart\/|webgpu\/|webgl\/|pointwise|gateCode|wasm\/own\/helper/;

type Constants = ReadonlyMap<string, ts.Expression>;

function parse(path: string): ts.SourceFile {
  return ts.createSourceFile(path, readFileSync(path, 'utf8'), ts.ScriptTarget.ES2022, true);
}

/** The constants that are declared at the top of a file. */
function constantsOf(source: ts.SourceFile): Map<string, ts.Expression> {
  const declarations = source.statements
    .filter(ts.isVariableStatement)
    .flatMap(({declarationList}) => [...declarationList.declarations]);
  return new Map(
    declarations.flatMap(({name, initializer}): [string, ts.Expression][] =>
      ts.isIdentifier(name) && initializer !== undefined ? [[name.text, initializer]] : [],
    ),
  );
}

/** Those of the files that it imports, too. */
function knownConstants(source: ts.SourceFile): Constants {
  const found = constantsOf(source);
  for (const {moduleSpecifier, importClause} of source.statements.filter(ts.isImportDeclaration)) {
    const path = (moduleSpecifier as ts.StringLiteral).text;
    const bindings = importClause?.namedBindings;
    if (path.startsWith('.') && bindings !== undefined && ts.isNamedImports(bindings)) {
      const theirs = constantsOf(parse(`${join(dirname(source.fileName), path)}.ts`));
      bindings.elements
        .filter(({name}) => theirs.has(name.text))
        .forEach(({name}) => found.set(name.text, theirs.get(name.text)!));
    }
  }
  return found;
}

/** What an expression can be as a text, with … for what is not known. */
function textsOf(node: ts.Expression, constants: Constants): string[] {
  if (ts.isStringLiteralLike(node)) {
    return [node.text];
  }
  if (ts.isParenthesizedExpression(node)) {
    return textsOf(node.expression, constants);
  }
  if (ts.isConditionalExpression(node)) {
    return [...textsOf(node.whenTrue, constants), ...textsOf(node.whenFalse, constants)];
  }
  if (ts.isTemplateExpression(node)) {
    return node.templateSpans.reduce<string[]>(
      (texts, {expression, literal}) => joined(joined(texts, textsOf(expression, constants)), [literal.text]),
      [node.head.text],
    );
  }
  if (ts.isBinaryExpression(node) && node.operatorToken.kind === ts.SyntaxKind.PlusToken) {
    return joined(textsOf(node.left, constants), textsOf(node.right, constants));
  }
  const constant = ts.isIdentifier(node) ? constants.get(node.text) : undefined;
  return constant !== undefined && isText(constant) ? textsOf(constant, constants) : ['…'];
}

/** Each beginning with each end; where there are too many ends, one for all. */
function joined(beginnings: string[], ends: string[]): string[] {
  const some = beginnings.length * ends.length > MOST_ALTERNATIVES ? ['…'] : ends;
  return beginnings.flatMap(beginning => some.map(end => beginning + end));
}

/** Whether an expression is a text by its looks: a literal, a template, or a sum or choice of such. */
function isText(node: ts.Node): boolean {
  if (ts.isParenthesizedExpression(node)) {
    return isText(node.expression);
  }
  if (ts.isBinaryExpression(node)) {
    return node.operatorToken.kind === ts.SyntaxKind.PlusToken && (isText(node.left) || isText(node.right));
  }
  return (
    ts.isStringLiteralLike(node) ||
    ts.isTemplateExpression(node) ||
    (ts.isConditionalExpression(node) && (isText(node.whenTrue) || isText(node.whenFalse)))
  );
}

function isSentence(text: string): boolean {
  const words = text.split(/\s+/).filter(word => /\p{L}/u.test(word));
  return words.length >= FEWEST_WORDS && text.replace(/[^\p{L}]/gu, '').length >= FEWEST_LETTERS;
}

/** Every text of the source that has words, each once, in the order of files. */
export function collectTexts(): string[] {
  const files = readdirSync(SRC, {recursive: true, encoding: 'utf8'})
    .filter(name => name.endsWith('.ts') && !HAS_NO_MESSAGES.test(name))
    .sort();
  const found = new Set<string>();
  for (const file of files) {
    const source = parse(join(SRC, file));
    const constants = knownConstants(source);
    const visit = (node: ts.Node) => {
      if (!isText(node)) {
        node.forEachChild(visit);
        return;
      }
      textsOf(node as ts.Expression, constants)
        .map(text =>
          text
            .trim()
            .replace(/\s*\n\s*/g, ' ')
            .replace(/……+/g, '…'),
        )
        .filter(isSentence)
        .forEach(text => found.add(text));
    };
    visit(source);
  }
  return [...found];
}
