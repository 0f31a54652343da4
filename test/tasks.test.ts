import {writeFileSync} from 'node:fs';
import * as tf from '@tensorflow/tfjs';
import ts from 'typescript';
import * as library from 'tfjs-lora';
import {temporaryFolder} from './temporaryFolder';
import {textsUnder} from './docs/pages';
import {numbers, random, useBackend} from './helpers';
import {stirFactors} from './models';

// What a user has to write and to know for the most common tasks, as the docs show them.

/** A task: the heading of a page under which its code is, and the most lines and names that it may take. */
interface Task {
  page: string;
  heading: string;
  lines: number;
  /** Different functions and methods that it calls: of this library, of tfjs, and of models. */
  names: number;
}

const TASKS: readonly Task[] = [
  {page: 'docs/quick-start.md', heading: 'Adapt, train, save', lines: 5, names: 6},
  {page: 'docs/quick-start.md', heading: 'Load and switch', lines: 4, names: 3},
  {page: 'docs/quick-start.md', heading: 'Merge and deploy', lines: 2, names: 2},
  {page: 'docs/graphModels.md', heading: 'GraphModels', lines: 8, names: 8},
];

function codeOf({page, heading}: Pick<Task, 'page' | 'heading'>): string {
  return textsUnder(page, heading, 'ts')[0]!;
}

/** The names of what a piece of code calls. */
function calledIn(code: string): Set<string> {
  const names = new Set<string>();
  const visit = (node: ts.Node) => {
    if (ts.isCallExpression(node) || ts.isNewExpression(node)) {
      names.add(node.expression.getText().replace(/^.*\./s, ''));
    }
    node.forEachChild(visit);
  };
  visit(ts.createSourceFile('task.ts', code, ts.ScriptTarget.ES2022, true));
  return names;
}

test.each(TASKS)('$heading takes at most $lines lines and $names names', ({lines, names, ...task}) => {
  const code = codeOf(task);
  const written = code.split('\n').filter(line => !/^\s*(\/\/.*)?$/.test(line) && !line.startsWith('import '));
  expect(written.length).toBeLessThanOrEqual(lines);
  expect([...calledIn(code)].slice(names)).toEqual([]);
});

/** Runs a piece of code of the docs, where these names are known, and gives the values of some that it declares. */
async function runTask<T>(code: string, known: Record<string, unknown>, declared: string): Promise<T> {
  const scope = {tf, ...library, ...known};
  const {outputText} = ts.transpileModule(`async function task() {${code}; return {${declared}};}`, {
    compilerOptions: {target: ts.ScriptTarget.ES2022},
  });
  // oxlint-disable-next-line typescript/no-implied-eval -- the code of the docs
  const make = new Function(...Object.keys(scope), `${outputText}; return task();`) as (
    ...values: unknown[]
  ) => Promise<T>;
  return make(...Object.values(scope));
}

describe('in Node, the code of the docs', () => {
  const {applyLoRA, disposeModel, toSafetensors} = library;
  const cwd = process.cwd();
  let folder: string;
  beforeAll(() => useBackend('cpu'));
  beforeEach(() => {
    folder = temporaryFolder();
    process.chdir(folder);
  });
  afterEach(() => {
    process.chdir(cwd);
  });

  const network = () => tf.sequential({layers: [tf.layers.dense({units: 2, inputShape: [3], name: 'fc'})]});
  const predict = (model: tf.LayersModel, x: tf.Tensor) => tf.tidy(() => numbers(model.predict(x) as tf.Tensor));

  /** An adapter in a file, and what a model with it predicts. */
  async function adapterFile(base: tf.LayersModel, name: string, x: tf.Tensor, seed: number): Promise<number[]> {
    const model = applyLoRA(base, {rank: 1});
    stirFactors(model, seed);
    writeFileSync(`${name}.safetensors`, await toSafetensors(model));
    const predicted = predict(model, x);
    disposeModel(model);
    return predicted;
  }

  test('adapts, trains and saves', async () => {
    const [xs, ys, file] = [tf.ones([8, 3]), tf.zeros([8, 2]), library.fileHandler('base')];
    await network().save(file);
    const before = tf.memory().numTensors;
    const task = codeOf({page: 'docs/quick-start.md', heading: 'Adapt, train, save'});
    const {base, model} = await runTask<Record<'base' | 'model', tf.LayersModel>>(
      task,
      {url: 'file://base', xs, ys},
      'base, model',
    );
    const loaded = await library.loadAdapter('cats.safetensors');
    const own = library.getAdapter(model);
    expect(numbers(loaded.tensors['fc/lora_B']!)).toEqual(numbers(own.tensors['fc/lora_B']!));
    model.optimizer.dispose();
    [loaded, own].forEach(adapter => adapter.dispose());
    [model, base].forEach(each => disposeModel(each));
    expect(tf.memory().numTensors).toBe(before);
  });

  test('loads and switches', async () => {
    const [base, x] = [network(), random([4, 3], 1)];
    await adapterFile(base, 'cats', x, 1);
    const expected = await adapterFile(base, 'lions', x, 2);
    const before = tf.memory().numTensors;
    const task = codeOf({page: 'docs/quick-start.md', heading: 'Load and switch'});
    const {model, lions} = await runTask<{model: tf.LayersModel; lions: library.Adapter}>(task, {base}, 'model, lions');
    expect(predict(model, x)).toEqual(predict(base, x));
    library.setAdapter(model, lions);
    expect(predict(model, x)).toEqual(expected);
    lions.dispose();
    disposeModel(model);
    expect(tf.memory().numTensors).toBe(before);
  });

  test('merges and deploys', async () => {
    const [base, x] = [network(), random([4, 3], 1)];
    const model = applyLoRA(base, {rank: 1});
    stirFactors(model);
    const expected = predict(model, x);
    const before = tf.memory().numTensors;
    const task = codeOf({page: 'docs/quick-start.md', heading: 'Merge and deploy'});
    const {deployed} = await runTask<{deployed: tf.LayersModel}>(task, {model}, 'deployed');
    expect(predict(deployed, x)).toBeAllClose(expected);
    expect(deployed.layers.map(layer => layer.getClassName())).toEqual(['Dense']);
    disposeModel(deployed);
    expect(tf.memory().numTensors).toBe(before);
  });
});
