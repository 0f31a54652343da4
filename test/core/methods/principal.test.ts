import * as tf from '@tensorflow/tfjs';
import {
  type Adapter,
  applyLoRA,
  combineAdapters,
  exportPEFT,
  getAdapter,
  loadAdapter,
  mergeLoRA,
  planLoRA,
  setAdapter,
  summarizeLoRA,
} from '../../../src';
import {LoRADense} from '../../../src/core/layers/loraDense';
import {numbers, withoutLeaks} from '../../helpers';
import {baseWeights, mlp, predictions, stirUpdates, train} from '../../models';
import {largeNetwork, readText, type Stored} from '../../peftNetworks';

/** A matrix of PyTorch as rows. */
function rowsOf({shape: [, columns = 1], data}: Stored): number[][] {
  return Array.from({length: data.length / columns}, (_, row) => data.slice(row * columns, (row + 1) * columns));
}

function tensorOf(adapter: Adapter, name: string): number[][] {
  return adapter.tensors[name]!.arraySync() as number[][];
}

/** A product in plain loops, and what it is for two factors in PyTorch's order, transposed. */
function product(one: number[][], other: number[][]): number[] {
  return one.flatMap(row => other[0]!.map((_, j) => row.reduce((sum, value, k) => sum + value * other[k]![j]!, 0)));
}

function transposed(matrix: number[][]): number[][] {
  return matrix[0]!.map((_, j) => matrix.map(row => row[j]!));
}

const STARTS = JSON.parse(readText('made', 'starts.json')) as Record<
  string,
  Record<string, Record<'A' | 'B' | 'weight', Stored>>
>;
const MODULES = {layer_0_query: 'encoder.layer.0.attention.query', head_hidden: 'head.0'};

test.each(['pissa', 'olora'] as const)('%s starts from the part of the weight that PEFT starts from', init => {
  const {model} = largeNetwork(true);
  const adapter = getAdapter(applyLoRA(model, {targets: Object.keys(MODULES), rank: 2, alpha: 4, init}));
  for (const [path, module] of Object.entries(MODULES)) {
    const {A, B} = STARTS[init]![module]!;
    const [a, b] = [tensorOf(adapter, `${path}/lora_A`), tensorOf(adapter, `${path}/lora_B`)];
    expect(product(a, b)).toBeAllClose(product(transposed(rowsOf(A)), transposed(rowsOf(B))));
    // The factors themselves are determined up to their signs.
    const squares = (matrix: number[][]) => matrix.map(row => row.reduce((sum, value) => sum + value ** 2, 0));
    expect(squares(transposed(a))).toBeAllClose(squares(rowsOf(A)), {rtol: 1e-4});
    expect(squares(b)).toBeAllClose(squares(transposed(rowsOf(B))), {rtol: 1e-4});
  }
});

test.each(['pissa', 'olora'] as const)('%s touches no weight of the base, which is shared', async init => {
  const {model, inputs} = mlp();
  const before = baseWeights(model);
  const buffers = tf.memory().numDataBuffers;
  const adapted = applyLoRA(model, {rank: 2, init});
  const parameters = Object.keys(getAdapter(adapted).tensors).length;
  // The trained factors and those that they start from begin with the same buffers.
  expect(tf.memory().numDataBuffers - buffers).toBeLessThanOrEqual(parameters);
  expect(predictions(adapted, inputs)).toEqual(predictions(model, inputs));
  await train(adapted, inputs);
  expect(baseWeights(model)).toEqual(before);
  expect(predictions(adapted, inputs)).not.toEqual(predictions(model, inputs));
  setAdapter(adapted, null);
  expect(predictions(adapted, inputs)).toEqual(predictions(model, inputs));
});

test('an adapter applies to another model of the same base, and leaks nothing', async () => {
  const {model, inputs} = mlp();
  const adapted = applyLoRA(model, {rank: 2, init: 'pissa', seed: 4});
  stirUpdates(adapted);
  const expected = predictions(adapted, inputs);
  await withoutLeaks(() => {
    const adapter = getAdapter(adapted);
    const again = applyLoRA(model, adapter);
    expect(predictions(again, inputs)).toEqual(expected);
    adapter.dispose();
    again.dispose();
  });
});

test('for PEFT it is a plain LoRA of twice the rank, or of less by compression', async () => {
  const {model, inputs} = mlp();
  const adapted = applyLoRA(model, {rank: 2, init: 'pissa', targets: ['Dense']});
  await train(adapted, inputs);
  await withoutLeaks(async () => {
    const adapter = getAdapter(adapted);
    const files = await exportPEFT(model, {adapter});
    const again = await loadAdapter(files, {model});
    expect(Object.values(again.config.layers).every(({method}) => method === undefined)).toBe(true);
    expect(Math.max(...Object.values(again.config.layers).map(({rank}) => rank))).toBe(4);
    const applied = applyLoRA(model, again);
    expect(predictions(applied, inputs)[0]).toBeAllClose(predictions(adapted, inputs)[0]!);
    const compressed = await combineAdapters(adapter, {rank: 1});
    expect(Object.values(compressed.config.layers).map(({rank, method}) => [rank, method])).toEqual(
      Object.keys(compressed.config.layers).map(() => [1, undefined]),
    );
    [adapter, again, compressed, applied].forEach(each => each.dispose());
  });
});

test('it is added up with an adapter of LoRA', async () => {
  const {model, inputs} = mlp();
  const [one, other] = [{init: 'pissa' as const}, {}].map((config, i) => {
    const adapted = applyLoRA(model, {rank: 1, seed: i, ...config});
    stirUpdates(adapted, 30 * i);
    return adapted;
  });
  const parts = [one!, other!].map(each => ({adapter: getAdapter(each), weight: 0.5}));
  const sum = mergeLoRA(applyLoRA(model, await combineAdapters(parts)));
  const kernels = (of: tf.LayersModel) => of.getWeights().map(numbers);
  const [base, first, second] = [model, mergeLoRA(one!), mergeLoRA(other!)].map(kernels);
  kernels(sum).forEach((values, i) => {
    const expected = base![i]!.map((_, j) => 0.5 * first![i]![j]! + 0.5 * second![i]![j]!);
    expect(values).toBeAllClose(expected);
  });
  expect(predictions(mergeLoRA(one!), inputs)[0]).toBeAllClose(predictions(one!, inputs)[0]!);
});

test('a plan and a summary count what trains and what there is', () => {
  const {model} = mlp();
  for (const config of [
    {init: 'pissa' as const},
    {method: 'vera' as const, rank: 5},
    {method: 'lora-fa' as const, rank: 2},
  ]) {
    const [plan, summary] = [planLoRA(model, config), summarizeLoRA(applyLoRA(model, config))];
    expect(plan.trainableParameters).toBe(summary.trainableParameters);
    expect(plan.totalParameters).toBe(summary.totalParameters);
    const methods = plan.layers.filter(({role}) => role === 'adapted').map(({method}) => method);
    expect(new Set(methods)).toEqual(new Set([config.init ?? config.method]));
  }
});

test('an unknown start, or one for another method, is refused', () => {
  const {model} = mlp();
  expect(() => applyLoRA(model, {init: 'svd' as 'pissa'})).toThrow(
    "init must be 'pissa', 'olora', or an initializer of tfjs, such as 'heUniform', got \"svd\": ",
  );
  expect(() => applyLoRA(model, {method: 'pissa' as 'lora'})).toThrow(
    '"pissa" is an initialization of LoRA, not a method: pass {init: "pissa"}.',
  );
  expect(() => applyLoRA(model, {init: 'pissa' as 'zeros', method: 'dora'})).toThrow(
    'init: "pissa" is an initialization of LoRA, and cannot be combined with method "dora".',
  );
  const {layers} = getAdapter(applyLoRA(model, {rank: 2, overrides: [{targets: ['head'], init: 'olora'}]})).config;
  expect(Object.values(layers).filter(({method}) => method === 'olora')).toHaveLength(1);
});

test('configs of layers in files name the start by method and initializer', () => {
  const dense = {className: 'Dense', config: {name: 'head', units: 3}};
  const read = (config: tf.serialization.ConfigDict) =>
    LoRADense.fromConfig<LoRADense>(LoRADense, {name: 'head', rank: 2, layer: dense, ...config});
  const constant = {className: 'Constant', config: {value: 0.5}};
  const written: tf.serialization.ConfigDict[] = [
    {method: 'pissa', seed: 3},
    {initializer: constant},
    {method: 'vera', initializer: constant},
  ];
  for (const config of written) {
    expect(read(config).getConfig()).toMatchObject(config);
    expect(read(read(config).getConfig()).getConfig()).toEqual(read(config).getConfig());
  }
  expect(new LoRADense({layer: tf.layers.dense({units: 3}), rank: 2, init: 'olora'}).getConfig()).toMatchObject({
    method: 'olora',
  });
});
