import {readdirSync, readFileSync} from 'node:fs';
import {join} from 'node:path';
import ts from 'typescript';

const SRC = join(__dirname, '../src');

/**
 * Words that say where a value comes from, or that it is not the other one, instead of what it is → how many declarations
 * in `src` have such a name. The numbers may only fall.
 */
const VAGUE: Readonly<Record<string, number>> = {
  ...{given: 9, own: 0, found: 2, known: 2, kept: 2, others: 0, rest: 0, part: 13, each: 3, whole: 0},
};

/** Functions of files, by name: how many have a name that functions of at least three other files have too. */
const REPEATED_FUNCTIONS = 171;

const trees = readdirSync(SRC, {recursive: true, encoding: 'utf8'})
  .filter(file => file.endsWith('.ts'))
  .map(file => ts.createSourceFile(file, readFileSync(join(SRC, file), 'utf8'), ts.ScriptTarget.ES2022));

/** The name of a variable, parameter, function, field or method that a node declares. */
function declaredName(node: ts.Node): string | undefined {
  const isDeclaration =
    ts.isVariableDeclaration(node) ||
    ts.isParameter(node) ||
    ts.isBindingElement(node) ||
    ts.isFunctionDeclaration(node) ||
    ts.isClassElement(node) ||
    ts.isTypeElement(node);
  return isDeclaration && node.name && ts.isIdentifier(node.name) ? node.name.text : undefined;
}

/** Fails above a limit. */
function expectAtMost(count: number, limit: number): void {
  expect(count).toBeLessThanOrEqual(limit);
}

test.each(Object.entries(VAGUE))('src declares "%s" at most %i times', (word, limit) => {
  let count = 0;
  const visit = (node: ts.Node) => {
    count += declaredName(node) === word ? 1 : 0;
    node.forEachChild(visit);
  };
  trees.forEach(visit);
  expectAtMost(count, limit);
});

test('few functions of files share a name', () => {
  const files = new Map<string, number>();
  for (const {statements} of trees) {
    for (const name of new Set(statements.filter(ts.isFunctionDeclaration).map(declaredName))) {
      files.set(name!, (files.get(name!) ?? 0) + 1);
    }
  }
  const repeated = [...files].filter(([, count]) => count >= 4);
  expectAtMost(
    repeated.reduce((sum, [, count]) => sum + count, 0),
    REPEATED_FUNCTIONS,
  );
});
