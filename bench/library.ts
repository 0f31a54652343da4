import * as tf from '@tensorflow/tfjs';
import {adam, applyLoRA, disposeModel, getAdapter, mergeLoRA} from 'tfjs-lora';
import {
  type Applying,
  type FileSizes,
  measureApplying,
  measureFiles,
  measureSwitching,
  type Switching,
} from './adapting';
import type {Backend} from './backend';
import type {BenchCase} from './cases/case';
import {type CaseName, CASES} from './cases/index';
import {type Footprint, footprint} from './footprint';
import {type Contender, firstLine, measure, type Outcome, type Plan, type Run, sumOf, time} from './measure';
import {handLoRA} from './byHand';
import {naiveLoRA} from './naive';
import {type Counts, startPeft} from './peers/peft';
import {compile, forward, LEARNING_RATE, step, update} from './runs';
import {startStock} from './stockClient';

/** All that is measured of a case. */
export interface CaseResult {
  name: CaseName;
  title: string;
  /** Times of everything that raced, `stock …` being in a process of its own in which the library is not loaded. */
  outcomes: Outcome[];
  footprints: {name: string; result: Footprint | {error: string}}[];
  /** Versions of PyTorch and PEFT, where these took part. */
  peers: Record<string, string> | undefined;
  applying: Applying;
  switching: Switching;
  files: FileSizes;
}

/** Measures a case, in this process and in one with stock tfjs at its side. */
export async function measureCase(name: CaseName, backend: Backend, plan: Plan): Promise<CaseResult> {
  const benchCase: BenchCase = CASES[name];
  const title = benchCase.title();
  // First, while nothing else is in memory.
  const footprints = await measureFootprints(benchCase);
  const stock = await startStock(backend, name);
  try {
    return {name, title, footprints, ...(await race(name, benchCase, stock.contenders, plan))};
  } finally {
    stock.close();
  }
}

async function measureFootprints(benchCase: BenchCase): Promise<CaseResult['footprints']> {
  const {build, targets} = benchCase;
  const makers: Record<string, () => Promise<tf.LayersModel>> = {
    // In front: applyLoRA also puts the library's kernels in place, which the others here run on.
    lora: () => onBase(base => applyLoRA(base, targets(base))),
    full: build,
    naive: () => onBase(base => naiveLoRA(base, targets(base))),
    'by hand': () => onBase(base => handLoRA(base, targets(base))),
  };
  // The weights are shared or copied by then, so the base need not be in memory.
  async function onBase(
    make: (base: tf.LayersModel) => tf.LayersModel | Promise<tf.LayersModel>,
  ): Promise<tf.LayersModel> {
    const base = await build();
    const model = await make(base);
    disposeModel(base);
    return model;
  }
  const footprints: CaseResult['footprints'] = [];
  for (const [name, make] of Object.entries(makers)) {
    try {
      const result = await footprint(benchCase.batch, async () => {
        const model = await make();
        const optimizer = compile(model, benchCase.loss, adam({learningRate: LEARNING_RATE}));
        return {model, optimizer, dispose: () => disposeModel(model)};
      });
      footprints.push({name, result});
    } catch (error) {
      footprints.push({name, result: {error: firstLine(error)}});
    }
  }
  return footprints;
}

async function race(
  name: CaseName,
  {build, batch: makeBatch, loss, targets: targetsOf, floor, products}: BenchCase,
  stock: readonly Contender[],
  plan: Plan,
): Promise<Omit<CaseResult, 'name' | 'title' | 'footprints'>> {
  const base = await build();
  const targets = targetsOf(base);
  const adapted = applyLoRA(base, targets);
  const full = await build();
  const naive = await naiveLoRA(base, targets);
  const byHand = await handLoRA(base, targets);
  const batch = makeBatch();
  const optimizers = [adapted, full, naive, byHand].map(model =>
    compile(model, loss, adam({learningRate: LEARNING_RATE})),
  );

  // A second model predicts: each step of the first one would throw away what a model keeps between forward passes.
  await time(step(adapted, batch), 2);
  const adapter = getAdapter(adapted);
  const served = applyLoRA(base, adapter);
  const merged = mergeLoRA(served);

  const peft = await startPeft(name, {lora: countsOf(adapted), full: countsOf(full)});
  const raced = await measure(
    [
      local('forward', forward(base, batch.xs)),
      local('lora', step(adapted, batch)),
      local('by hand', step(byHand, batch)),
      ...(floor ? [local('floor', floor(base, batch.xs))] : []),
      ...(products ? [local('products', products())] : []),
      local('optimizer', update(adapted, adam({learningRate: LEARNING_RATE}))),
      ...(peft?.contenders ?? []),
      ...stock,
      local('full', step(full, batch)),
      local('naive', step(naive, batch)),
      local('adapted forward', forward(served, batch.xs)),
      local('merged forward', forward(merged, batch.xs)),
    ],
    plan,
  );
  peft?.close();
  const least = products ? [sumOf(raced, 'products + optimizer', ['products', 'optimizer'])] : [];
  const result = {
    outcomes: [...raced, ...least],
    peers: peft?.versions,
    applying: measureApplying(base, targets),
    switching: measureSwitching(base, served, adapter),
    files: await measureFiles(base, adapter),
  };
  adapter.dispose();
  [merged, served, naive, byHand, full, adapted, base].forEach(disposeModel);
  optimizers.forEach(optimizer => optimizer.dispose());
  tf.dispose({...batch});
  return result;
}

function local(name: string, run: Run): Contender {
  return {name, sample: (repeats, clock) => time(run, repeats, clock)};
}

/** Weights that train, and all of them, in numbers. */
function countsOf(model: tf.LayersModel): Counts {
  const [trainable, total] = [model.trainableWeights, model.weights].map(weights =>
    weights.reduce((sum, {shape}) => sum + tf.util.sizeFromShape(shape as number[]), 0),
  );
  return {trainable: trainable ?? 0, total: total ?? 0};
}
