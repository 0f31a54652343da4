// Compares models of Keras 3 and 2 with what loadKerasModel makes of their files: three settings of each layer class, as
// converted .h5 and .keras files, outputs and gradients, on cpu and WASM. `npm run check -- keras`, or with the names of
// layers. Python makes the files, in an environment that this makes in the cache, unless TFJS_LORA_KERAS names one.

import {spawnSync} from 'node:child_process';
import {mkdtempSync, readdirSync, readFileSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import {kerasPython} from '../../../scripts/pythonEnvironments';
import {applyLoRA, fileHandler} from '../../../src/index';
import {disposeModel, loadKerasModel, LoRAError} from '../../../src/node';
import '../../../src/transformers';
import {drawn, sumsOf} from './kerasLayers';

/** The share of the files that have to be equal. The others have to be refused. */
const SHARE = 0.88;

interface Expected {
  name: string;
  inputs: [kind: string, shape: number[]][];
  outputs: [shape: number[], sums: number[]][];
  /** Sums of the gradient of each input; `null` where there is none. */
  slopes: (number[] | null)[];
  weightSlopes: [size: number, sums: number[]][];
}

function areClose(found: readonly number[], size: number, expected: readonly number[], largest: number): boolean {
  const tolerance = 2e-5 * Math.sqrt(size) * Math.max(1, largest);
  return found.every((sum, i) => Math.abs(sum - expected[i]!) <= tolerance);
}

function numbersOf(tensor: tf.Tensor): number[] {
  return Array.from(tensor.dataSync());
}

function isEqual(tensor: tf.Tensor, sums: readonly number[]): boolean {
  const values = numbersOf(tensor);
  return areClose(sumsOf(values), values.length, sums, Math.max(...values.map(Math.abs)));
}

/** What differs from Keras; empty if nothing does. */
function differences(model: tf.LayersModel, {inputs, outputs, slopes, weightSlopes}: Expected): string[] {
  const x = inputs.map(([kind, shape], i) => tf.tensor(drawn(kind, shape, i), shape));
  const call = (given: tf.Tensor[]) => [model.apply(given.length === 1 ? given[0]! : given)].flat() as tf.Tensor[];
  const y = call(x);
  const others = y.flatMap((tensor, i) => {
    const [shape = [], sums = []] = outputs[i] ?? [];
    return tf.util.arraysEqual(tensor.shape, shape) && isEqual(tensor, sums) ? [] : [`output ${i}`];
  });
  const loss = (given: tf.Tensor[]) =>
    tf.addN(
      call(given).map((tensor, i) => tf.sum(tf.mul(tensor, tf.tensor(drawn('', tensor.shape, 300 + i), tensor.shape)))),
    );
  slopes.forEach((sums, i) => {
    // tfjs's Masking has no gradient, and Keras 3 none of a mask.
    if (['masked', 'flags'].includes(inputs[i]![0])) {
      return;
    }
    const slope = sums && tf.grad(one => loss(x.map((other, j) => (i === j ? one : other))))(x[i]!);
    if (slope !== null && sums !== null && !isEqual(slope, sums)) {
      others.push(`gradient of input ${i}`);
    }
  });
  if (weightSlopes.length > 0) {
    const variables = model.trainableWeights.map(weight => (weight as unknown as {val: tf.Variable}).val);
    const found = Object.values(tf.variableGrads(() => loss(x) as tf.Scalar, variables).grads).filter(Boolean);
    // Heads are joined and rows added, in the same order.
    for (const [size, sums] of weightSlopes) {
      const i = found.findIndex(slope => slope.size === size && isEqual(slope, sums));
      others.push(...(i < 0 ? [`gradient of a weight with ${size} numbers`] : []));
      found.splice(i, i < 0 ? 0 : 1);
    }
  }
  return others;
}

/** The same. tfjs has no gradient of a dilated convolution, but that of an adapted model is compared. */
function slopesOf(model: tf.LayersModel, expected: Expected): string[] {
  try {
    return differences(model, expected);
  } catch (error) {
    if (!/dilation rates greater than 1/.test((error as Error).message)) {
      throw error;
    }
    const adapted = applyLoRA(model, {rank: 1});
    const others = differences(adapted, {...expected, weightSlopes: []});
    disposeModel(adapted);
    return others;
  }
}

type Outcome = {kind: 'equal'} | {kind: 'refused' | 'wrong'; reason: string};

async function outcomeOf(folder: string, expected: Expected): Promise<Outcome> {
  let model: tf.LayersModel;
  try {
    model = await loadKerasModel(fileHandler(folder));
  } catch (error) {
    const [, line = ''] = (error as Error).message.split('\n');
    // A refusal names a layer.
    const isNamed = error instanceof LoRAError && /^ {2}"[^"]+" \(\w+\)/.test(line);
    return {kind: isNamed ? 'refused' : 'wrong', reason: isNamed ? line.trim() : (error as Error).message};
  }
  try {
    const others = tf.tidy(() => slopesOf(model, expected));
    return others.length === 0 ? {kind: 'equal'} : {kind: 'wrong', reason: others.join(', ')};
  } catch (error) {
    return {kind: 'wrong', reason: (error as Error).message};
  } finally {
    disposeModel(model);
  }
}

tf.enableProdMode();
console.warn = () => undefined; // of what differs in training
const python = kerasPython();
const names = process.argv.slice(2);
const out = process.env.KERAS_FILES ?? mkdtempSync(join(tmpdir(), 'keras-'));
if (process.env.KERAS_FILES === undefined) {
  for (const version of ['3', '2']) {
    const options = {env: {...process.env, KERAS: version}, stdio: ['ignore', 'inherit', 'ignore']} as const;
    const {status} = spawnSync(python, ['test/python/make_keras.py', out, '--files', ...names], {
      ...options,
      stdio: [...options.stdio],
    });
    process.exitCode ||= status ?? 1;
  }
}
const files = readdirSync(out).sort();
const counts = {equal: 0, refused: 0, wrong: 0};
const perVersion = new Map<string, typeof counts>();
const reasons = new Map<string, string[]>();
for (const file of files) {
  const folder = join(out, file);
  const expected = JSON.parse(readFileSync(join(folder, 'expected.json'), 'utf8')) as Expected;
  const outcomes: Outcome[] = [];
  for (const backend of ['cpu', 'wasm']) {
    await tf.setBackend(backend);
    outcomes.push(await outcomeOf(folder, expected));
  }
  const [cpu, wasm] = outcomes as [Outcome, Outcome];
  const worst = cpu.kind === 'equal' ? wasm : cpu;
  const [version = '', , form = ''] = file.split('-');
  const row = `Keras ${version}, .${form}`;
  const counted = perVersion.get(row) ?? {equal: 0, refused: 0, wrong: 0};
  perVersion.set(row, counted);
  counts[worst.kind]++;
  counted[worst.kind]++;
  if (worst.kind !== 'equal') {
    const key = `${worst.kind} | ${worst.reason.replace(/^"[^"]+" /, '').slice(0, 160)}${worst === wasm ? ' (WASM)' : ''}`;
    reasons.set(key, [...(reasons.get(key) ?? []), `${expected.name} (${version}, .${form})`]);
  }
}
console.log('| files | equal | refused | wrong |\n| --- | ---: | ---: | ---: |');
[...perVersion].forEach(([row, {equal, refused, wrong}]) =>
  console.log(`| ${row} | ${equal} | ${refused} | ${wrong} |`),
);
[...reasons].sort().forEach(([reason, of]) => console.log(`${reason} | ${[...new Set(of)].join('; ')}`));
const share = counts.equal / files.length;
console.log(
  `\n${counts.equal} of ${files.length} files (${(share * 100).toFixed(1)} %) have the outputs and gradients of Keras, ` +
    `${counts.refused} are refused, ${counts.wrong} are wrong.`,
);
if (counts.wrong > 0 || (names.length === 0 && share < SHARE)) {
  process.exitCode = 1;
}
if (process.env.KERAS_FILES === undefined) {
  rmSync(out, {recursive: true});
}
