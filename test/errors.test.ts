import {readdirSync, readFileSync} from 'node:fs';
import ts from 'typescript';

const FILES = readdirSync('src', {recursive: true, encoding: 'utf8'})
  .filter(name => name.endsWith('.ts') && !name.includes('assembly'))
  .map(name => ts.createSourceFile(`src/${name}`, readFileSync(`src/${name}`, 'utf8'), ts.ScriptTarget.ES2022, true));

const DECLARED = 'src/platform/errors.ts';

/** Where a plain `Error` is right: another error takes its message in, or it tells of a fault of the library. */
const PLAIN = [
  'src/backends/shared/backendParts.ts', // says what tfjs says of a kernel that a backend lacks
  'src/backends/wasm/composed/convolution.ts', // refuses what stock tfjs would compute outside of its memory
  'src/backends/wasm/composed/indices.ts', // refuses what tfjs's cpu backend refuses
  'src/backends/wasm/module/fused.ts', // the caller has asked whether it can be fused
  'src/backends/wasm/module/threads.ts', // a fault of a kernel in a thread
  'src/core/layers/recurrentCells.ts', // tfjs calls a cell with its states
  'src/core/methods/initializer.ts', // part of the message for the initializer
  'src/core/ops/recurrent.ts', // tfjs calls a cell with its states
  'src/core/storage/openDatabase.ts', // part of the message for what is opened
  'src/core/storage/browserHandlers.ts', // part of the message for what is opened
  'src/node/files.ts', // part of the message for the file
  'src/node/peftFolder.ts', // part of the message for the file
  'src/node/shards.ts', // part of the message for the file
];

/** What `find` says of all nodes in the sources, with the file and line of each. */
function inSources<T>(find: (node: ts.Node) => T | undefined): {file: string; place: string; found: T}[] {
  return FILES.flatMap(source => {
    const all: {file: string; place: string; found: T}[] = [];
    const visit = (node: ts.Node) => {
      const found = find(node);
      if (found !== undefined) {
        const line = source.getLineAndCharacterOfPosition(node.getStart()).line + 1;
        all.push({file: source.fileName, place: `${source.fileName}:${line}`, found});
      }
      node.forEachChild(visit);
    };
    visit(source);
    return all;
  });
}

/** The functions that make errors of one code, such as `damagedError`, by that code. */
const MAKERS = new Map(
  [...readFileSync(DECLARED, 'utf8').matchAll(/const (\w+) = \/\* @__PURE__ \*\/ make\('(\w+)'\)/g)].map(
    ([, name = '', code = '']) => [name, code] as const,
  ),
);

/** A call that makes an error of the library. */
function isMade(node: ts.Node): node is ts.NewExpression | ts.CallExpression {
  return (
    (ts.isNewExpression(node) && node.expression.getText() === 'LoRAError') ||
    (ts.isCallExpression(node) && MAKERS.has(node.expression.getText()))
  );
}

/** The variable of the innermost `catch` around a node, in the same function; `''` if it has none. */
function caughtAround(node: ts.Node): string | undefined {
  for (let parent = node.parent as ts.Node | undefined; parent && !ts.isFunctionLike(parent); parent = parent.parent) {
    if (ts.isCatchClause(parent)) {
      return parent.variableDeclaration?.name.getText() ?? '';
    }
  }
  return undefined;
}

test('errors for users are LoRAErrors', () => {
  const plain = inSources(node =>
    ts.isNewExpression(node) && /^(Type|Range)?Error$/.test(node.expression.getText()) && !isMade(node)
      ? true
      : undefined,
  );
  expect(plain.filter(({file}) => !PLAIN.includes(file)).map(({place}) => place)).toEqual([]);
  expect(PLAIN.filter(file => !plain.some(each => each.file === file))).toEqual([]);
});

test('an error that is made of another one has that for its cause', () => {
  const made = inSources(node => (isMade(node) && caughtAround(node) !== undefined ? node : undefined));
  expect(made.length).toBeGreaterThan(10);
  expect(
    made.filter(({found}) => !/\bcause\b/.test(found.arguments?.[1]?.getText() ?? '')).map(({place}) => place),
  ).toEqual([]);
});

test('each code is thrown somewhere, and described in the type and in the troubleshooting', () => {
  const text = readFileSync(DECLARED, 'utf8');
  const codes = [...text.matchAll(/^ {2}\| '(ERR_\w+)'/gm)].map(([, code]) => code!);
  expect(codes.length).toBeGreaterThan(10);
  const used = new Set(
    inSources(node => {
      const isLiteral = ts.isStringLiteral(node) && !ts.isLiteralTypeNode(node.parent) && node.text.startsWith('ERR_');
      const isDeclared = node.getSourceFile().fileName === DECLARED;
      const made = ts.isCallExpression(node) ? MAKERS.get(node.expression.getText()) : undefined;
      return made ?? (isLiteral && !isDeclared ? node.text : undefined);
    }).map(({found}) => found),
  );
  const page = readFileSync('docs/troubleshooting.md', 'utf8');
  const faults = codes.flatMap(code => [
    ...(used.has(code) || code === 'ERR_OPTION' ? [] : [`${code} is thrown nowhere`]),
    ...(text.includes(` * - \`${code}\`: `) ? [] : [`${code} is not described in ${DECLARED}`]),
    ...(page.includes(`\n| \`${code}\` |`) ? [] : [`${code} has no row in the table of the page`]),
    ...(page.includes(`\n### ${code}\n`) ? [] : [`${code} has no section in the page`]),
  ]);
  expect(faults).toEqual([]);
});
