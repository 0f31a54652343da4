import {readdirSync, readFileSync} from 'node:fs';
import * as tf from '@tensorflow/tfjs';
import ts from 'typescript';
import {
  type Adapter,
  applyLoRA,
  combineAdapters,
  compileModel,
  getAdapter,
  LoRAError,
  replaceHead,
  summarizeLoRA,
} from '../src/index';
import {embed} from '../src/transformers';
import {useBackend} from './helpers';

beforeAll(() => useBackend('cpu'));

const network = () =>
  tf.sequential({
    layers: [tf.layers.dense({units: 4, inputShape: [3], name: 'body'}), tf.layers.dense({units: 2, name: 'out'})],
  });

test.each<[string, (model: never) => unknown, string]>([
  [
    'compileModel(model)',
    model => (compileModel as (model: tf.LayersModel) => void)(model),
    'The options are missing. For example: compileModel(model, {optimizer: adam({learningRate: 1e-3})}).',
  ],
  ['compileModel(model, {})', model => compileModel(model, {} as never), 'compileModel needs an optimizer, such as'],
  [
    'embed(model, texts)',
    model => embed(model, ['a'] as never, undefined as never),
    'tokenizer must have a function encode',
  ],
])('%s gets a message of this library', async (_, call, message) => {
  const model = network();
  let error: unknown;
  try {
    await call(model as never);
  } catch (thrown) {
    error = thrown;
  }
  expect(error).toBeInstanceOf(LoRAError);
  expect((error as Error).message).toContain(message);
});

test('an adapter says what it is', () => {
  const base = network();
  const textOf = (model: tf.LayersModel) => {
    const adapter = getAdapter(model);
    adapter.dispose();
    return String(adapter);
  };
  // [3, 2] and [2, 4], [4, 2] and [2, 2]
  expect(textOf(applyLoRA(base, {rank: 2, targets: ['body', 'out']}))).toBe(
    'LoRA adapter: 2 layers of rank 2, 26 parameters',
  );
  const headed = replaceHead(base, [tf.layers.dense({units: 5, name: 'new'})], {after: 'body'});
  expect(textOf(applyLoRA(headed, {targets: 'head'}))).toBe(
    'LoRA adapter: 0 layers, 1 trained in full, a new head after body, 25 parameters',
  );
});

test('a budget for an untrained adapter says that it is untrained', async () => {
  const model = applyLoRA(network(), {rank: 2, targets: ['body', 'out']});
  const adapter: Adapter = getAdapter(model);
  await expect(combineAdapters(adapter, {budget: 40})).rejects.toThrow('The updates are all 0, as before training');
  await expect(combineAdapters(adapter, {budget: 2})).rejects.toThrow('budget must be at least 6, which is what');
});

test('replaceHead proposes a place, and shows the last layers with weights', () => {
  const input = tf.input({shape: [4]});
  const dense = (name: string) => tf.layers.dense({units: 4, name});
  let x = input;
  for (let i = 0; i < 50; i++) {
    x = dense(`layer${i}`).apply(x) as tf.SymbolicTensor;
  }
  const sum = tf.layers
    .add({name: 'sum'})
    .apply([
      dense('left').apply(x) as tf.SymbolicTensor,
      dense('right').apply(x) as tf.SymbolicTensor,
    ]) as tf.SymbolicTensor;
  const model = tf.model({inputs: input, outputs: sum});
  expect(() => replaceHead(model, 3)).toThrow(
    "Name the last layer to keep, such as {after: 'layer49'}. The last layers with weights: layer46 (Dense), " +
      'layer47 (Dense), layer48 (Dense), layer49 (Dense), left (Dense), right (Dense).',
  );
});

test('a summary folds layers of one class whose reasons differ in shapes alone', () => {
  class Odd extends tf.layers.Layer {
    static readonly className = 'OddToFold';
    override build([, width]: number[]): void {
      this.addWeight('table', [width!, 2], 'float32', tf.initializers.zeros());
      this.built = true;
    }

    override call(x: tf.Tensor | tf.Tensor[]): tf.Tensor {
      return [x].flat()[0]!;
    }

    override computeOutputShape(shape: tf.Shape): tf.Shape {
      return shape;
    }
  }
  tf.serialization.registerClass(Odd);
  const layers = [3, 4, 5].flatMap((units, i) => [
    tf.layers.dense({units, name: `dense${i}`, ...(i === 0 && {inputShape: [3]})}),
    new Odd({name: `odd${i}`}),
  ]);
  const lines = String(summarizeLoRA(applyLoRA(tf.sequential({layers}), {targets: [/dense/]}))).split('\n');
  expect(lines.filter(line => line.includes('OddToFold'))).toEqual([
    'not adapted: odd0, odd1, odd2: LoRA does not know the class OddToFold.',
  ]);
});

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
  'src/core/storage/hub/download.ts', // part of the message for the file
  'src/core/storage/hub/hub.ts', // part of the message for the file
  'src/core/storage/openDatabase.ts', // part of the message for what is opened
  'src/core/storage/browserHandlers.ts', // part of the message for what is opened
  'src/extensions/worker/wire.ts', // the error of another thread, as it was
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
