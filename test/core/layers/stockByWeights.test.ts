import * as tf from '@tensorflow/tfjs';
import fc from 'fast-check';
import {LoRAWeights} from '../../../src/core/layers/loraWeights';
import {applyLoRA} from '../../../src/core/model/apply';
import {mergeLoRA} from '../../../src/core/model/restore';
import {summarizeLoRA} from '../../../src/core/model/summary';
import {disposeModel} from '../../../src/core/rewire/dispose';
import {getAdapter, scaleAdapter, setAdapter} from '../../../src/index';
import {LoRAError} from '../../../src/platform/errors';
import {ACTIVATIONS, expectGradients, kernelsOf, numbers, on, random, useBackend, withoutLeaks} from '../../helpers';
import {
  baseWeights,
  factorsOf,
  mergedKernel,
  predictions,
  reloaded,
  type Specimen,
  stir,
  stirFactors,
  stirUpdates,
  train,
} from '../../models';
import {testInAModel} from './inAModel';

const KERNELS = ['kernel', 'recurrent_kernel'];

function convLstm(args: object = {}): tf.layers.Layer {
  const own = {filters: 3, kernelSize: [3, 2] as [number, number], padding: 'same' as const, name: 'lstm'};
  return tf.layers.convLstm2d({...own, inputShape: [3, 4, 5, 2], ...args});
}

function films(channelsFirst = false): tf.Tensor {
  return random(channelsFirst ? [2, 3, 2, 4, 5] : [2, 3, 4, 5, 2], 9);
}

function adapted(args: object = {}): LoRAWeights {
  const layer = new LoRAWeights({layer: convLstm(args), weights: KERNELS, rank: 2, alpha: 3});
  layer.apply(tf.input({batchShape: layer.baseLayer.batchInputShape}));
  stir(layer);
  stirFactors(layer);
  return layer;
}

/** `W + s·A·B` of one kernel, in plain loops. */
function updatedByHand(layer: LoRAWeights, name: string): tf.Tensor {
  const [w, a, b] = [name, `${name}/lora_A`, `${name}/lora_B`].map(weight =>
    numbers(layer.tryGetParameter(weight)!),
  ) as [number[], number[], number[]];
  const columns = b.length / 2;
  const updated = w.map((value, i) => {
    const [row, column] = [Math.floor(i / columns), i % columns];
    return value + layer.scaling * (a[row * 2]! * b[column]! + a[row * 2 + 1]! * b[columns + column]!);
  });
  return tf.tensor(updated, layer.getParameterShape(name));
}

/** The stock layer with the updated kernels. */
function mergedByHand(layer: LoRAWeights, args: object = {}): tf.layers.Layer {
  const weights = [...KERNELS.map(name => updatedByHand(layer, name)), layer.tryGetParameter('bias')!];
  return convLstm({...args, weights, name: 'by_hand'});
}

function filmModel(): Specimen {
  const model = tf.sequential({
    layers: [
      convLstm({returnSequences: true, name: 'first'}),
      convLstm({filters: 2, strides: 2, padding: 'valid', name: 'second', inputShape: undefined}),
      tf.layers.flatten({name: 'flat'}),
      tf.layers.dense({units: 2, name: 'head'}),
    ],
  });
  stir(model);
  return {model, inputs: [films()]};
}

describe('ConvLSTM2D', () => {
  test.each([
    {},
    {returnSequences: true, strides: 2, padding: 'valid'},
    {goBackwards: true, useBias: true, activation: 'relu'},
    {dataFormat: 'channelsFirst', inputShape: [3, 2, 4, 5]},
  ])('with %j computes what a stock layer with both kernels updated computes, and merges to it', async args => {
    // The stock layer computes channels first on cpu alone.
    await useBackend('dataFormat' in args ? 'cpu' : 'wasm');
    const layer = adapted(args);
    const x = films('dataFormat' in args);
    const expected = numbers(mergedByHand(layer, args).apply(x) as tf.Tensor);
    expect(numbers(layer.apply(x) as tf.Tensor)).toBeAllClose(expected);
    expect(numbers(layer.mergeToOriginalLayer().apply(x) as tf.Tensor)).toBeAllClose(expected);
  });

  test('gradients of the factors are those that tfjs has for the kernels, times the other factor', () => {
    const layer = adapted();
    const loss = (of: tf.layers.Layer) => {
      const y = of.apply(films()) as tf.Tensor;
      return tf.sum<tf.Scalar>(tf.mul(y, random(y.shape as [number, number], 8)));
    };
    const stock = mergedByHand(layer);
    stock.apply(films());
    const kernels = stock.weights.slice(0, 2).map(weight => weight.read() as tf.Variable);
    const ofKernels = tf.variableGrads(() => loss(stock), kernels).grads;
    const expected = KERNELS.flatMap((name, i) => {
      const gradient = tf.mul(ofKernels[kernels[i]!.name]!, layer.scaling);
      const dw = tf.reshape<tf.Rank.R2>(gradient, [-1, gradient.shape.at(-1)!]);
      const [a, b] = ['A', 'B'].map(factor =>
        tf.reshape<tf.Rank.R2>(layer.tryGetParameter(`${name}/lora_${factor}`)!, factor === 'A' ? [-1, 2] : [2, -1]),
      ) as [tf.Tensor2D, tf.Tensor2D];
      return [tf.matMul(dw, b, false, true), tf.matMul(a, dw, true)].map(numbers);
    });
    const factors = factorsOf(layer).map(weight => weight.read() as tf.Variable);
    const {grads} = tf.variableGrads(() => loss(layer), factors);
    expectGradients(
      factors.map(({name}) => numbers(grads[name]!)),
      expected,
    );
  });

  test("'all' finds it; it trains, is saved, loaded and merged, and its base stays as it is", async () => {
    const {model, inputs} = filmModel();
    const before = baseWeights(model);
    const lora = applyLoRA(model, {targets: 'all', rank: 2, seed: 1});
    expect(predictions(lora, inputs)).toEqual(predictions(model, inputs));
    expect(summarizeLoRA(lora).layers.map(({path, weight}) => [path, weight])).toEqual([
      ['first', 'kernel'],
      ['first', 'recurrent_kernel'],
      ['second', 'kernel'],
      ['second', 'recurrent_kernel'],
      ['head', undefined],
    ]);
    await train(lora, inputs);
    expect(baseWeights(lora)).toEqual(before);
    const trained = predictions(lora, inputs);
    expect(trained).not.toEqual(predictions(model, inputs));
    expect(predictions(await reloaded(lora), inputs)).toEqual(trained);
    const merged = mergeLoRA(lora);
    expect(merged.layers.map(layer => layer.getClassName())).toEqual(model.layers.map(layer => layer.getClassName()));
    expect(predictions(merged, inputs)[0]).toBeAllClose(trained[0]!);
  });

  test('leaks nothing, with dropout either', async () => {
    await withoutLeaks(async () => {
      const model = tf.sequential({layers: [convLstm({dropout: 0.2, recurrentDropout: 0.2})]});
      const x = films();
      const lora = applyLoRA(model, {rank: 2});
      await train(lora, [x], {epochs: 2});
      [lora, model].forEach(disposeModel);
      x.dispose();
    });
  });

  test('keeps its state from call to call where the base does, and forgets it when told to', () => {
    const args = {stateful: true, batchInputShape: [2, 3, 4, 5, 2], inputShape: undefined};
    const layer = adapted(args);
    const stock = mergedByHand(layer, args);
    for (let step = 0; step < 3; step++) {
      const expected = numbers(stock.apply(films()) as tf.Tensor);
      expect(numbers(layer.apply(films()) as tf.Tensor)).toBeAllClose(expected);
    }
    layer.resetStates();
    stock.resetStates();
    expect(numbers(layer.apply(films()) as tf.Tensor)).toBeAllClose(numbers(stock.apply(films()) as tf.Tensor));
  });
});

test("a dilated ConvLSTM2D is refused, and skipped by 'all' with the reason", async () => {
  await useBackend('cpu');
  tf.engine().startScope();
  const reason = 'tfjs has no gradient for dilationRate [2, 2] in a ConvLSTM2D. Exclude the layer.';
  const make = () => new LoRAWeights({layer: convLstm({dilationRate: 2}), weights: KERNELS});
  expect(make).toThrow(LoRAError);
  expect(make).toThrow(`Layer "lstm": ${reason}`);
  const model = tf.sequential({
    layers: [convLstm({dilationRate: 2}), tf.layers.flatten(), tf.layers.dense({units: 2, name: 'head'})],
  });
  expect(() => applyLoRA(model, {targets: ['lstm']})).toThrow(`Layer "lstm": ${reason}`);
  const warn = jest.spyOn(console, 'warn').mockImplementation(() => undefined);
  const {skipped} = summarizeLoRA(applyLoRA(model, {targets: 'all', rank: 1}));
  expect(skipped).toEqual([{path: 'lstm', className: 'ConvLSTM2D', reason}]);
  expect(warn).toHaveBeenCalledWith(`Left as they are:\nLayer "lstm": ${reason}`);
  warn.mockRestore();
  tf.engine().endScope();
});

type Triple = [number, number, number];

interface TransposedCase {
  volume: Triple;
  channels: number;
  filters: number;
  kernelSize: Triple;
  strides: Triple;
  padding: 'valid' | 'same';
  dataFormat: 'channelsLast' | 'channelsFirst';
  activation: (typeof ACTIVATIONS)[number];
  useBias: boolean;
}

function triple(max: number): fc.Arbitrary<Triple> {
  const size = fc.integer({min: 1, max});
  return fc.tuple(size, size, size);
}

const transposedCases: fc.Arbitrary<TransposedCase> = fc.record({
  volume: triple(3),
  channels: fc.integer({min: 1, max: 4}),
  filters: fc.integer({min: 1, max: 3}),
  kernelSize: triple(3),
  strides: triple(2),
  padding: fc.constantFrom('valid' as const, 'same' as const),
  dataFormat: fc.constantFrom('channelsLast' as const, 'channelsFirst' as const),
  activation: fc.constantFrom(...ACTIVATIONS),
  useBias: fc.boolean(),
});

function transposed({volume, channels, ...own}: TransposedCase, args: object = {}): tf.layers.Layer {
  const inputShape = own.dataFormat === 'channelsLast' ? [...volume, channels] : [channels, ...volume];
  return tf.layers.conv3dTranspose({...own, name: 'conv', inputShape, ...args});
}

function volumes({volume, channels, dataFormat}: TransposedCase): tf.Tensor {
  return random<tf.Rank.R5>(dataFormat === 'channelsLast' ? [2, ...volume, channels] : [2, channels, ...volume], 9);
}

describe('Conv3DTranspose', () => {
  function adaptedTransposed(c: TransposedCase): LoRAWeights {
    const fanIn = c.kernelSize.reduce((product, size) => product * size, c.filters);
    const rank = Math.min(2, fanIn, c.channels);
    const layer = new LoRAWeights({layer: transposed(c), weights: ['kernel'], rank, alpha: 3});
    layer.apply(tf.input({batchShape: layer.baseLayer.batchInputShape}));
    stir(layer);
    stirFactors(layer);
    return layer;
  }

  test('computes what a stock layer with the merged kernel computes, and merges to it, whatever its geometry', () =>
    fc.assert(
      fc.asyncProperty(transposedCases, async c => {
        const compute = (f: (layer: LoRAWeights) => tf.layers.Layer) => () => [
          f(adaptedTransposed(c)).apply(volumes(c)) as tf.Tensor,
        ];
        const stock = compute(layer => {
          const bias = layer.tryGetParameter('bias');
          const kernel = tf.tensor5d(mergedKernel(layer), [...c.kernelSize, c.filters, c.channels]);
          return transposed(c, {name: 'by_hand', weights: [kernel, ...(bias ? [bias] : [])]});
        });
        const [expected] = await on('cpu', stock);
        for (const form of [compute(layer => layer), compute(layer => layer.mergeToOriginalLayer())]) {
          expect((await on('wasm', form))[0]).toBeAllClose(expected!);
        }
      }),
      {numRuns: 30},
    ));

  testInAModel('LoRAWeights', () => {
    const model = tf.sequential({
      layers: [
        tf.layers.conv3dTranspose({
          filters: 3,
          kernelSize: 2,
          strides: 2,
          activation: 'relu',
          name: 'first',
          inputShape: [2, 2, 2, 4],
        }),
        tf.layers.conv3dTranspose({filters: 2, kernelSize: [1, 2, 3], padding: 'same', name: 'second'}),
        tf.layers.flatten({name: 'flat'}),
        tf.layers.dense({units: 2, name: 'head'}),
      ],
    });
    stir(model);
    return {model, inputs: [random([6, 2, 2, 2, 4], 3)]};
  });
});

function network(): tf.LayersModel {
  const model = tf.sequential({
    layers: [
      tf.layers.conv2d({
        filters: 6,
        kernelSize: 3,
        strides: 2,
        activation: 'relu',
        inputShape: [9, 9, 2],
        name: 'conv',
      }),
      tf.layers.depthwiseConv2d({kernelSize: 2, depthMultiplier: 2, name: 'depthwise'}),
      tf.layers.reshape({targetShape: [9, 12]}),
      tf.layers.lstm({units: 4, name: 'lstm'}),
      tf.layers.dense({units: 5, activation: 'tanh', name: 'dense'}),
    ],
  });
  stir(model);
  return model;
}

const x = () => random([1, 9, 9, 2], 5);

function predicted(model: tf.LayersModel): number[] {
  return tf.tidy(() => numbers(model.predict(x()) as tf.Tensor));
}

/** What the model that it merges to predicts. */
function predictedMerged(adapted: tf.LayersModel): number[] {
  const merged = mergeLoRA(adapted);
  const values = predicted(merged);
  disposeModel(merged);
  return values;
}

test.each(['lora', 'dora', 'loha'] as const)('%s predicts with the kernels of a stock layer', async method => {
  const layer = () => tf.layers.conv2d({filters: 6, kernelSize: 3, activation: 'relu', inputShape: [9, 9, 2]});
  const [base, adapted] = [tf.sequential({layers: [layer()]}), tf.sequential({layers: [layer()]})].map((model, i) =>
    i === 0 ? model : applyLoRA(model, {method, rank: 2}),
  ) as [tf.LayersModel, tf.LayersModel];
  const given = x();
  stirUpdates(adapted);
  expect(predicted(adapted)).toEqual(predictedMerged(adapted));
  const own = await kernelsOf(() => adapted.predict(given));
  const expected = await kernelsOf(() => base.predict(given));
  // tfjs counts a composed operation too.
  expect(own).toEqual(expected.filter(({name}) => !name.endsWith('__op')));
});

test.each([
  [256, true],
  [257, false],
])('whether a kernel of 512 × %i is kept with its update for predictions: %s', async (units, isKept) => {
  const base = tf.sequential({layers: [tf.layers.dense({units, inputShape: [512]})]});
  const adapted = applyLoRA(base, {rank: 2});
  const input = tf.ones([1, 512]);
  tf.dispose(adapted.predict(input)); // computes what is kept
  const [withUpdate, stock] = [
    await kernelsOf(() => adapted.predict(input)),
    await kernelsOf(() => base.predict(input)),
  ];
  expect(withUpdate.length <= stock.length).toBe(isKept);
});

test('what is kept for predictions follows the factors, their strength and the weights', async () => {
  const base = network();
  const given = [x(), tf.ones([1, 5])] as const;
  await withoutLeaks(async () => {
    const optimizer = tf.train.sgd(0.1);
    const adapted = applyLoRA(base, {rank: 2, targets: 'all', seed: 1});
    adapted.compile({optimizer, loss: 'meanSquaredError'});
    const before = [predicted(adapted)];
    stirUpdates(adapted);
    const own = getAdapter(adapted);
    const half = scaleAdapter(own, 0.5);
    const changes: (() => unknown)[] = [
      () => {},
      () => setAdapter(adapted, half),
      () => adapted.trainOnBatch(...given),
      () => stir(adapted),
      () => setAdapter(adapted, own),
    ];
    for (const change of changes) {
      await change();
      before.push(predicted(adapted));
      expect(before.at(-1)).toEqual(predictedMerged(adapted));
      expect(before.at(-1)).not.toEqual(before.at(-2));
    }
    [own, half].forEach(adapter => adapter.dispose());
    disposeModel(adapted);
    optimizer.dispose();
  });
});

test('after a change of the method, weights have the names that the method gives them from the beginning', async () => {
  await useBackend('cpu');
  await withoutLeaks(() => {
    const base = network();
    const namesOf = (model: tf.LayersModel) => model.weights.map(({originalName}) => originalName).sort();
    const targets = ['conv', 'dense'];
    const options = {rank: 2, targets, seed: 1};
    const methods = ['dora', 'loha', 'lokr', 'lora'] as const;
    const model = applyLoRA(base, options);
    for (const method of [...methods, ...methods]) {
      const fresh = applyLoRA(base, {...options, method});
      const adapter = getAdapter(fresh);
      setAdapter(model, adapter);
      predicted(model); // keeps kernels, which the next change frees
      expect(namesOf(model)).toEqual(namesOf(fresh));
      adapter.dispose();
      disposeModel(fresh);
    }
    [model, base].forEach(disposeModel);
  });
});
