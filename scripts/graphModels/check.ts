// One graph, from its import to the graph that is written back: `check.ts <name>`. Prints a line of JSON.

import {createHash} from 'node:crypto';
import {mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {argv} from 'node:process';
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';
import {applyLoRA, disposeModel, mergeLoRA, summarizeLoRA} from 'tfjs-lora';
import {fromGraphModel, type GraphModelOptions, toGraphModel} from 'tfjs-lora/graph';
import {CUTS, TRAINED} from './cuts';
import {graphHandler} from './files';
import type {Outcome} from './table';

const RANK = 4;
const STEPS = 4;
const RATES = [1e-5, 1e-6, 1e-7, 1e-8, 1e-9];

tf.enableProdMode();
await tf.setBackend('wasm');

const [, , name = ''] = argv;
const options = CUTS[name] ?? {};
const outcome: Outcome = {name, cut: name in CUTS};
try {
  await check();
} catch (error) {
  outcome.error = (error as Error).message;
  if (process.env.STACK) {
    console.error(error);
  }
}
console.log(JSON.stringify(outcome));

async function check(): Promise<void> {
  const graph = await tf.loadGraphModel(await graphHandler(name));
  if (outcome.cut) {
    await fromGraphModel(graph).catch((error: unknown) => (outcome.refusal = (error as Error).message));
  }
  const before = tf.memory();
  const base = await fromGraphModel(graph, options);
  outcome.newBuffers = tf.memory().numDataBuffers - before.numDataBuffers;
  const ops = base.layers.filter(layer => layer.getClassName() === 'tfjs-lora/graph>GraphOp').length;
  outcome.layers = {stock: base.layers.length - ops - base.inputs.length, ops};
  outcome.batch = base.inputs[0]?.shape[0] === null ? 'free' : 'stays';

  const inputNames = await namesOf(graph, 'inputs', options);
  const run = async (model: tf.GraphModel, xs: tf.Tensor[], outputs: string[]) =>
    listOf(await model.executeAsync(Object.fromEntries(inputNames.map((node, i) => [node, xs[i]!])), outputs));
  const one = inputsFor(base, 1, 7);
  const outputNames = await namesOf(graph, 'outputs', options);
  const expected = await runnable(() => run(graph, one, outputNames));
  const actual = predict(base, one);
  if (typeof expected !== 'string') {
    outcome.difference = differenceOf(actual, expected);
  } else {
    outcome.plain = expected;
  }
  const size = outcome.batch === 'free' ? 2 : 1;
  const xs = inputsFor(base, size, 9);
  if (size === 2) {
    const rows = [0, 1].map(i => predict(base, xs.map(x => tf.slice(x, i, 1)))); // prettier-ignore
    const joined = rows[0]!.map((row, i) => tf.concat([row, rows[1]![i]!]));
    outcome.rows = differenceOf(predict(base, xs), joined);
  }

  const frozen = await fingerprint(graph);
  const part = name in TRAINED ? await fromGraphModel(graph, TRAINED[name]) : base;
  const untrained = predict(part, one);
  let model = await trained(part, xs, RATES[0]!);
  for (const rate of RATES.slice(1)) {
    // Outputs in pixels move far at a step that suits probabilities.
    if (outcome.losses![1] < outcome.losses![0]) {
      break;
    }
    disposeModel(model);
    model = await trained(part, xs, rate);
  }
  outcome.frozenKept = (await fingerprint(graph)) === frozen;

  const merged = mergeLoRA(model);
  const expectedAfter = predict(model, one);
  outcome.moved = differenceOf(expectedAfter, untrained);
  outcome.merged = differenceOf(predict(merged, one), expectedAfter);
  const written = await onDisk(await toGraphModel(merged, graph));
  const trainedNames = await namesOf(graph, 'outputs', TRAINED[name] ?? options);
  const rerun = await runnable(() => run(written, one, trainedNames));
  if (typeof rerun !== 'string') {
    outcome.written = differenceOf(rerun, expectedAfter);
  }
  const reloaded = await reload(model);
  outcome.reloaded = differenceOf(predict(reloaded, one), expectedAfter);
  [reloaded, merged, model, base].forEach(disposeModel);
  graph.dispose();
  written.dispose();
}

/** An adapted model after some steps towards its own outputs plus noise. */
async function trained(base: tf.LayersModel, xs: tf.Tensor[], rate: number): Promise<tf.LayersModel> {
  const model = applyLoRA(base, {rank: RANK, seed: 1});
  outcome.adapted = summarizeLoRA(model).layers.length;
  outcome.rate = rate;
  model.compile({optimizer: tf.train.adam(rate), loss: (y, p) => tf.mean(tf.squaredDifference(y, p))});
  const ys = predict(model, xs).map((y, i) =>
    tf.add(tf.cast(y, 'float32'), tf.randomNormal(y.shape, 0, 0.1, 'float32', i)),
  );
  const step = async () => listOf(await model.trainOnBatch(only(xs), only(ys)))[0]!;
  const losses = [await step()];
  const {numTensors} = tf.memory();
  while (losses.length < STEPS) {
    losses.push(await step());
  }
  outcome.leaked = tf.memory().numTensors - numTensors;
  outcome.losses = [losses[0]!, losses.at(-1)!];
  return model;
}

/** Nodes of inputs or outputs: those of the cut, with the calls around them, or those of the signature. */
async function namesOf(graph: tf.GraphModel, kind: 'inputs' | 'outputs', cut: GraphModelOptions): Promise<string[]> {
  const {readGraph, findNode} = await import('../../src/extensions/graph/import/readGraph');
  const read = await readGraph(graph);
  return cut[kind]?.map(each => findNode(read, each)) ?? read[kind].map(({node}) => node);
}

function inputsFor(model: tf.LayersModel, count: number, seed: number): tf.Tensor[] {
  return model.inputs.map(({shape, dtype}, i) => {
    const sizes = shape.map((size, axis) => size ?? (axis === 0 ? count : 64));
    return dtype === 'float32'
      ? tf.randomUniform(sizes, 0, 1, 'float32', seed + i)
      : tf.randomUniform(sizes, 0, name.includes('transformer') ? 20 : 255, 'int32', seed + i);
  });
}

function predict(model: tf.LayersModel, xs: tf.Tensor[]): tf.Tensor[] {
  return listOf(model.predict(only(xs)));
}

/** The result, or why plain tfjs has none. */
async function runnable(f: () => Promise<tf.Tensor[]>): Promise<tf.Tensor[] | string> {
  try {
    return await f();
  } catch (error) {
    return (error as Error).message;
  }
}

/** The largest difference, relative to the largest number of all outputs. */
function differenceOf(actual: tf.Tensor[], expected: tf.Tensor[]): number {
  const pairs = expected.map((y, i) =>
    tf.tidy(() => {
      const [a, b] = [tf.cast(actual[i]!, 'float32'), tf.cast(y, 'float32')];
      return [tf.max(tf.abs(tf.sub(a, b))).dataSync()[0]!, tf.max(tf.abs(b)).dataSync()[0]!] as const;
    }),
  );
  return Math.max(...pairs.map(([difference]) => difference)) / (Math.max(...pairs.map(([, scale]) => scale)) || 1);
}

async function fingerprint(graph: tf.GraphModel): Promise<string> {
  const hash = createHash('sha1');
  for (const tensor of Object.values(graph.weights)
    .flat()
    .filter(({dtype}) => dtype !== 'string')) {
    const data = await tensor.data();
    hash.update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }
  return hash.digest('hex');
}

async function artifactsOf(model: {save: tf.LayersModel['save']} | tf.GraphModel): Promise<tf.io.ModelArtifacts> {
  let artifacts: tf.io.ModelArtifacts = {};
  await model.save(tf.io.withSaveHandler(given => {
    artifacts = given;
    return Promise.resolve({modelArtifactsInfo: {dateSaved: new Date(), modelTopologyType: 'JSON' as const}});
  })); // prettier-ignore
  return artifacts;
}

/** A graph after it was on disk. */
async function onDisk(graph: tf.GraphModel): Promise<tf.GraphModel> {
  const folder = mkdtempSync(join(tmpdir(), 'graph-'));
  try {
    const {weightData, ...rest} = await artifactsOf(graph);
    graph.dispose();
    writeFileSync(join(folder, 'model.json'), JSON.stringify(rest));
    writeFileSync(join(folder, 'weights.bin'), new Uint8Array(tf.io.CompositeArrayBuffer.join(weightData)));
    const file = JSON.parse(readFileSync(join(folder, 'model.json'), 'utf8')) as tf.io.ModelArtifacts;
    const bytes = new Uint8Array(readFileSync(join(folder, 'weights.bin'))).buffer;
    return await tf.loadGraphModel(tf.io.fromMemory({...file, weightData: bytes}));
  } finally {
    rmSync(folder, {recursive: true});
  }
}

/** A model after it was in a file. */
async function reload(model: tf.LayersModel): Promise<tf.LayersModel> {
  const {weightData, ...rest} = await artifactsOf(model);
  const file = JSON.parse(JSON.stringify(rest)) as tf.io.ModelArtifacts;
  return tf.loadLayersModel(tf.io.fromMemory({...file, ...(weightData && {weightData})}));
}

function listOf<T>(value: T | T[]): T[] {
  return Array.isArray(value) ? value : [value];
}

function only<T>(list: T[]): T | T[] {
  return list.length === 1 ? list[0]! : list;
}
