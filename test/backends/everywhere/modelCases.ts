import * as tf from '@tensorflow/tfjs';
import {
  applyLoRA,
  combineAdapters,
  disposeModel,
  getAdapter,
  moveTo,
  loadAdapter,
  mergeLoRA,
  removeLoRA,
  safeMergeLoRA,
  saveAdapter,
  setAdapter,
  summarizeLoRA,
  withAdapter,
} from 'tfjs-lora';
import {loraKernels} from '../../../src/backends/loraKernels';
import {makeAdapter} from '../../../src/core/adapter/adapter';
import {random} from '../../helpers';
import {bytesIn, manifold, peakOf} from '../../memory';
import {factorsOf, MemoryHandler, stir, stirFactors} from '../../models';
import {type Case, difference, elsewhere, predicts, read, relativeDifference, use, within} from './case';

/** What whole models have to do on every backend. */
export const modelCases: readonly Case[] = [
  // Ten steps; the losses are relative. With 16-bit floats Adam divides by squares of gradients that are zero by then.
  {
    behaviour: 'fit of a mixed model has the same loss curve as on cpu',
    tolerance: 1e-3,
    halfTolerance: null,
    run: () => fitFollowsCpu(adam),
  },
  ...within(
    {tolerance: 1e-3, halfTolerance: 3e-3},
    {
      'fit with momentum has the same loss curve as on cpu': () => fitFollowsCpu(momentum),
      'fit of a model built on cpu has the same loss curve': () => builtOnCpu(momentum),
      'fit on cpu of a model built here has the same loss curve': () => trainedOnCpu(adam),
      'fit alternating with cpu has the same loss curve': backend => inTurn(backend, momentum),
    },
  ),
  ...within(
    {tolerance: 0, halfTolerance: null},
    {
      'applying, training, switching and merging read nothing synchronously': synchronousReads,
      'training prepares nothing that only wasm needs': preparedForWasm,
    },
  ),
  // 2 % of the base are for what is made for a moment.
  {
    behaviour: 'adapting allocates memory only for the factors',
    tolerance: 0.02,
    halfTolerance: null,
    run: memoryOfAdapting,
  },
  // The factors are of the order of one.
  {
    behaviour: 'adapters saved here load on cpu and vice versa',
    tolerance: 0,
    halfTolerance: 1e-3,
    run: adaptersTravel,
  },
  // A program on webgpu binds eight buffers at most. With 16-bit floats other entries are the largest.
  {behaviour: 'combining ten adapters gives the same as on cpu', tolerance: 1e-6, halfTolerance: null, run: tenCombine},
];

/** What whole models have to do where the backend was set before the library was imported. */
export const orderCases: readonly Case[] = [
  {
    behaviour: 'fit with the backend set before the import has the same loss curve as on cpu',
    tolerance: 1e-3,
    run: () => fitFollowsCpu(momentum),
  },
];

/**
 * A model of convolutions, a pool, batch normalization and dense layers, some adapted, some frozen, one that trains in
 * full.
 */
export function makeBase(): tf.LayersModel {
  const {layers} = tf;
  const model = tf.sequential({
    layers: [
      layers.conv2d({filters: 6, kernelSize: 3, padding: 'same', name: 'conv_1', inputShape: [8, 8, 2]}),
      layers.batchNormalization({name: 'norm_1'}),
      layers.activation({activation: 'relu', name: 'act_1'}),
      layers.conv2d({filters: 4, kernelSize: 3, strides: 2, activation: 'elu', name: 'conv_2'}),
      layers.batchNormalization({name: 'norm_2'}),
      layers.depthwiseConv2d({kernelSize: 2, padding: 'same', name: 'depthwise'}),
      layers.reLU({maxValue: 6, name: 'act_2'}),
      layers.maxPooling2d({poolSize: 2, strides: 1, name: 'pool'}),
      layers.flatten({name: 'flat'}),
      layers.dense({units: 8, activation: 'tanh', name: 'hidden'}),
      layers.dense({units: 3, activation: 'softmax', name: 'head'}),
    ],
  });
  stir(model);
  return model;
}

/** What adapting takes at its peak beside the factors, as a share of the base. */
function memoryOfAdapting(): Promise<number> {
  const base = manifold();
  stir(base);
  let adapted = base;
  const peak = peakOf(() => (adapted = applyLoRA(base, {rank: 2, targets: 'all'})));
  const share = (peak - bytesIn(factorsOf(adapted))) / bytesIn(base.weights);
  [adapted, base].forEach(disposeModel);
  return Promise.resolve(share);
}

/** The model with its convolutions and a dense layer adapted, and its head trained in full. */
export function adapt(base: tf.LayersModel): tf.LayersModel {
  return applyLoRA(base, {targets: ['conv_1', 'conv_2', 'hidden'], trainInFull: ['head'], rank: 2, seed: 1});
}

/** Inputs for the model. */
export function images(count: number): tf.Tensor4D {
  return random([count, 8, 8, 2], 3);
}

/** The last number is what tfjs takes by itself, save on webgl, where it thinks that all floats have 16 bits. */
const adam = () => tf.train.adam(0.01, 0.9, 0.999, 1e-7);
const momentum = () => tf.train.momentum(0.02, 0.9);

/** Trains the model, and gives the loss of each epoch. */
export async function fit(
  model: tf.LayersModel,
  makeOptimizer: () => tf.Optimizer = adam,
  epochs = 5,
): Promise<number[]> {
  model.compile({optimizer: makeOptimizer(), loss: 'categoricalCrossentropy'});
  const x = images(12);
  const labels = tf.tensor1d(
    Array.from({length: 12}, (_, i) => i % 3),
    'int32',
  );
  const y = tf.oneHot(labels, 3);
  const {history} = await model.fit(x, y, {epochs, batchSize: 6, verbose: 0, shuffle: false});
  tf.dispose([x, y, labels]);
  return history.loss as number[];
}

/** The loss on cpu, of which it is known from elsewhere that it is right. */
function lossOnCpu(makeOptimizer: () => tf.Optimizer): Promise<number[]> {
  return elsewhere('cpu', () => fit(adapt(makeBase()), makeOptimizer));
}

async function fitFollowsCpu(makeOptimizer: () => tf.Optimizer): Promise<number> {
  const expected = await lossOnCpu(makeOptimizer);
  if (!(expected.at(-1)! < 0.9 * expected[0]!)) {
    throw new Error(`It does not learn: ${expected.join(', ')}.`);
  }
  return relativeDifference([await fit(adapt(makeBase()), makeOptimizer)], [expected]);
}

async function builtOnCpu(makeOptimizer: () => tf.Optimizer): Promise<number> {
  const model = await elsewhere('cpu', () => Promise.resolve(adapt(makeBase())));
  return relativeDifference([await fit(model, makeOptimizer)], [await lossOnCpu(makeOptimizer)]);
}

async function trainedOnCpu(makeOptimizer: () => tf.Optimizer): Promise<number> {
  const model = adapt(makeBase());
  const losses = await elsewhere('cpu', async () => {
    await moveTo(model, 'cpu');
    return fit(model, makeOptimizer);
  });
  return relativeDifference([losses], [await lossOnCpu(makeOptimizer)]);
}

/** Two models in one process, an epoch each in turn, as each would have it alone. */
async function inTurn(backend: string, makeOptimizer: () => tf.Optimizer): Promise<number> {
  const alone = async (): Promise<number[]> => {
    const model = adapt(makeBase());
    return [...(await fit(model, makeOptimizer, 1)), ...(await fit(model, makeOptimizer, 1))];
  };
  const expected = await elsewhere('cpu', alone);
  const here = adapt(makeBase());
  const other = await elsewhere('cpu', () => Promise.resolve(adapt(makeBase())));
  const losses: Record<'here' | 'other', number[]> = {here: [], other: []};
  for (let epoch = 0; epoch < 2; epoch++) {
    await use(backend);
    losses.here.push(...(await fit(here, makeOptimizer, 1)));
    await use('cpu');
    losses.other.push(...(await fit(other, makeOptimizer, 1)));
  }
  return relativeDifference([losses.here, losses.other], [expected, expected]);
}

/** Counts what is read at once while a model lives; the numbers themselves are read before and after. */
async function synchronousReads(backend: string): Promise<number> {
  const patched: [target: object, key: string][] = [[tf.engine(), 'readSync']];
  if (backend.startsWith('webg')) {
    // Kernels call this by themselves. Elsewhere it is what an asynchronous read comes to as well.
    patched.push([tf.backend(), 'readSync']);
  }
  let reads = 0;
  let isMoving = false;
  const originals = patched.map(([target, key]) => Object.getOwnPropertyDescriptor(target, key));
  for (const [target, key] of patched) {
    const original = (target as Record<string, (...args: unknown[]) => unknown>)[key]!;
    Object.defineProperty(target, key, {
      configurable: true,
      value(this: unknown, ...args: unknown[]) {
        reads += isMoving ? 0 : 1;
        return original.apply(this, args);
      },
    });
  }
  const engine = tf.engine() as unknown as {moveData: (this: unknown, ...args: unknown[]) => unknown};
  const {moveData} = engine;
  if (backend === 'wasm') {
    // A convolution that was put off is moved when somebody asks for it: from the backend's memory into the same
    // memory.
    engine.moveData = function (...args) {
      isMoving = true;
      try {
        return moveData.apply(this, args);
      } finally {
        isMoving = false;
      }
    };
  }
  try {
    const base = makeBase();
    const model = adapt(base);
    await fit(model, momentum, 1);
    const adapter = getAdapter(model);
    setAdapter(model, null);
    const x = images(2);
    await withAdapter(model, adapter, () => predicts(model, x));
    setAdapter(model, adapter);
    summarizeLoRA(model);
    await predicts(mergeLoRA(model), x);
    await safeMergeLoRA(model);
    await predicts(removeLoRA(model), x);
    disposeModel(model);
  } finally {
    Reflect.deleteProperty(engine, 'moveData');
    patched.forEach(([target, key], i) => {
      const original = originals[i];
      if (original === undefined) {
        Reflect.deleteProperty(target, key);
      } else {
        Object.defineProperty(target, key, original);
      }
    });
  }
  return reads;
}

/**
 * Tensors that are there after training and were not before, of a model with convolutions that are frozen. The composed
 * kernels of wasm want them; our module does not.
 */
async function preparedForWasm(): Promise<number> {
  const {layers} = tf;
  const base = tf.sequential({
    layers: [
      layers.conv2d({filters: 4, kernelSize: 3, name: 'adapted', inputShape: [8, 8, 2]}),
      layers.conv2d({filters: 4, kernelSize: 3, activation: 'relu', name: 'frozen'}),
      layers.flatten({name: 'flat'}),
      layers.dense({units: 3, activation: 'softmax', name: 'head'}),
    ],
  });
  stir(base);
  const model = applyLoRA(base, {targets: ['adapted'], rank: 2});
  model.compile({optimizer: tf.train.sgd(0.01), loss: 'categoricalCrossentropy'});
  const [x, y] = [images(2), tf.oneHot(tf.tensor1d([0, 1], 'int32'), 3)];
  await model.fit(x, y, {epochs: 1, verbose: 0});
  const prepared = tf.memory().numTensors;
  disposeModel(model);
  const weights = model.weights.length;
  const left = prepared - tf.memory().numTensors - weights;
  const isWanted = loraKernels() === 'composed';
  if (isWanted && left === 0) {
    throw new Error('Nothing is prepared for the composed kernels either.');
  }
  return isWanted ? 0 : left;
}

/** The adapter of one model, saved on each of two backends, holds the same in its file, and loads on the other. */
async function tenCombine(): Promise<number> {
  const combined = async () => {
    const parts = Array.from({length: 10}, (_, i) => {
      const tensors = {'fc/lora_A': random([4, 2], 2 * i + 1), 'fc/lora_B': random([2, 3], 2 * i + 2)};
      const layer = {className: 'Dense', rank: 2, alpha: 2, rankStabilized: false, freezeBaseLayer: true};
      return {adapter: makeAdapter({layers: {fc: layer}, trainable: []}, tensors), weight: 0.1};
    });
    const {tensors} = await combineAdapters(parts, {method: 'ties', density: 0.5});
    parts.forEach(({adapter}) => adapter.dispose());
    return (await read(Object.values(tensors))).flat();
  };
  return difference(await combined(), await elsewhere('cpu', combined));
}

async function adaptersTravel(): Promise<number> {
  const save = async () => {
    const model = adapt(makeBase());
    stirFactors(model);
    const handler = new MemoryHandler();
    await saveAdapter(model, handler);
    return handler;
  };
  const load = async (handler: MemoryHandler) => {
    const adapter = await loadAdapter(handler);
    const model = applyLoRA(makeBase(), adapter);
    const {tensors, config} = getAdapter(model);
    const names = Object.keys(tensors).sort();
    return {names, config, values: await read(names.map(name => tensors[name]!))};
  };
  const here = await save();
  const there = await elsewhere('cpu', save);
  const numbers = (handler: MemoryHandler) => Array.from(new Float32Array(handler.weightData as ArrayBuffer));
  const [saidHere, saidThere] = [partsOf(here), partsOf(there)];
  if (saidHere.said !== saidThere.said) {
    throw new Error('The files say different things.');
  }
  const [loadedHere, loadedThere] = [await load(there), await elsewhere('cpu', () => load(here))];
  if (loadedHere.names.join() !== loadedThere.names.join()) {
    throw new Error('Other tensors are loaded.');
  }
  const byTensor = loadedHere.values.map((values, i) => difference(values, loadedThere.values[i]!));
  const ofBase = difference(saidHere.base, saidThere.base);
  return Math.max(difference(numbers(here), numbers(there)), ofBase, ...byTensor);
}

/** What the file of an adapter says, and the values of its base, which some backends round. */
function partsOf({json}: MemoryHandler): {said: string; base: number[]} {
  const {modelTopology, ...rest} = JSON.parse(json) as {modelTopology: {base: number[][]}};
  const {base, ...topology} = modelTopology;
  const values = base.flatMap(([largest = 0, ...steps]) => steps.map(step => (step * largest) / 999));
  return {said: JSON.stringify([topology, rest]), base: values};
}
