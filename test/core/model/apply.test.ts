import * as tf from '@tensorflow/tfjs';
import {applyLoRA} from '../../../src/core/model/apply';
import {isAdapted} from '../../../src/core/model/adapted';
import '../../../src/core/model/fits'; // watches fits
import {disposeModel, trainableVariables} from '../../../src/core/rewire/dispose';
import {mergeLoRA, removeLoRA} from '../../../src/core/model/restore';
import {kernelsOf, numbers, random, useBackend, withoutLeaks} from '../../helpers';
import {baseWeights, cnn, factorsOf, mlp, nested, predictions, reloaded, stirFactors, train, ZOO} from '../../models';

const CONFIG = {rank: 2, alpha: 3, seed: 1};

function namesOf(model: tf.LayersModel): string[] {
  return Object.keys(baseWeights(model)).sort();
}

/** Names of the layers of this library, wherever they are in a model's file. */
function ownClasses(model: tf.LayersModel): string[] {
  return JSON.stringify(model.toJSON(null, false)).match(/LoRA\w*|FrozenLayer|TrainedLayer/g) ?? [];
}

describe.each(ZOO)('%s', (_, make) => {
  test('computes, adapted, what it computed before, bit for bit', () => {
    const {model, inputs} = make();
    const adapted = applyLoRA(model, CONFIG);
    expect(predictions(adapted, inputs)).toEqual(predictions(model, inputs));
  });

  test('keeps its names, and shares its buffers with the original', () => {
    const {model} = make();
    const {numDataBuffers} = tf.memory();
    const adapted = applyLoRA(model, CONFIG);
    expect(tf.memory().numDataBuffers - numDataBuffers).toBe(factorsOf(adapted).length);
    expect(factorsOf(adapted).length).toBeGreaterThan(0);
    expect(adapted.name).toBe(model.name);
    expect(adapted.layers.map(({name}) => name)).toEqual(model.layers.map(({name}) => name));
    expect(namesOf(adapted)).toEqual(namesOf(model));
    expect(adapted.getClassName()).toBe(model.getClassName());
  });

  test('trains its factors, each of them, and nothing else, there or in the original', async () => {
    const {model, inputs} = make();
    const adapted = applyLoRA(model, CONFIG);
    const [before, predicted] = [baseWeights(model), predictions(model, inputs)];
    const factors = factorsOf(adapted).map(w => numbers(w.read()));
    expect(adapted.trainableWeights).toHaveLength(factors.length);
    // Adam's steps are as wide where a gradient is small, as it is before a recurrent layer.
    await train(adapted, inputs, {optimizer: 'adam'});
    expect(baseWeights(adapted)).toEqual(before);
    expect(baseWeights(model)).toEqual(before);
    expect(predictions(model, inputs)).toEqual(predicted);
    expect(predictions(adapted, inputs)).not.toEqual(predicted);
    factorsOf(adapted).forEach((weight, i) => {
      const moved = numbers(weight.read()).map((v, j) => Math.abs(v - factors[i]![j]!));
      expect(Math.max(...moved)).toBeGreaterThan(1e-4);
    });
  });

  test('is, merged, a model of stock layers that computes the same, after a file too', async () => {
    const {model, inputs} = make();
    const adapted = applyLoRA(model, CONFIG);
    stirFactors(adapted);
    const merged = mergeLoRA(adapted);
    const expected = predictions(adapted, inputs);
    predictions(merged, inputs).forEach((output, i) => {
      expect(output).toBeAllClose(expected[i]!);
      expect(output).not.toBeAllClose(predictions(model, inputs)[i]!);
    });
    expect(ownClasses(merged)).toEqual([]);
    expect(merged.countParams()).toBe(model.countParams());
    expect(predictions(await reloaded(merged), inputs)).toEqual(predictions(merged, inputs));
    expect(predictions(adapted, inputs)).toEqual(expected);
  });

  test('gives the original back when the adapter is removed', async () => {
    const {model, inputs} = make();
    const adapted = applyLoRA(model, CONFIG);
    stirFactors(adapted);
    const plain = removeLoRA(adapted);
    expect(predictions(plain, inputs)).toEqual(predictions(model, inputs));
    expect(baseWeights(plain)).toEqual(baseWeights(model));
    expect(ownClasses(plain)).toEqual([]);
    expect(plain.trainableWeights).toHaveLength(model.trainableWeights.length);
    const [again, original] = [await reloaded(plain), await reloaded(model)];
    expect(again.toJSON(null, false)).toEqual(original.toJSON(null, false));
    expect(predictions(again, inputs)).toEqual(predictions(model, inputs));
  });

  test('is saved and loaded with its adapter, and goes on training that alone', async () => {
    const {model, inputs} = make();
    const adapted = applyLoRA(model, CONFIG);
    stirFactors(adapted);
    const again = await reloaded(adapted);
    expect(predictions(again, inputs)).toEqual(predictions(adapted, inputs));
    const factors = factorsOf(again).map(w => numbers(w.read()));
    await train(again, inputs);
    expect(baseWeights(again)).toEqual(baseWeights(model));
    factorsOf(again).forEach((weight, i) => {
      expect(numbers(weight.read())).not.toEqual(factors[i]);
    });
    expect(predictions(removeLoRA(again), inputs)).toEqual(predictions(model, inputs));
  });

  test('leaks nothing from apply to dispose', async () => {
    await withoutLeaks(async () => {
      const {model, inputs} = make();
      const adapted = applyLoRA(model, CONFIG);
      await train(adapted, inputs, {epochs: 2});
      const [merged, plain] = [mergeLoRA(adapted), removeLoRA(adapted)];
      [merged, plain, adapted, model].forEach(each => disposeModel(each));
      tf.dispose(inputs);
    });
  });
});

test('every base weight and statistic is bit-identical after 100 steps of Adam, also after a reload', async () => {
  const {model, inputs} = cnn();
  const before = baseWeights(model);
  const adapted = applyLoRA(model, {...CONFIG, exclude: ['head']});
  const again = await reloaded(adapted);
  for (const each of [adapted, again]) {
    await train(each, inputs, {epochs: 100});
    expect(baseWeights(each)).toEqual(before);
    expect(factorsOf(each)).toHaveLength(2);
  }
});

test('a training step takes no gradient of a frozen kernel, adapted or not, and none of the data', async () => {
  const {model, inputs} = cnn();
  const adapted = applyLoRA(model, {rank: 1, targets: ['conv']});
  const variables = trainableVariables(adapted);
  const kernels = await kernelsOf(() =>
    tf.tidy(() => {
      const loss = () => tf.mean<tf.Scalar>(adapted.apply(inputs, {training: true}) as tf.Tensor);
      return tf.variableGrads(loss, variables).grads;
    }),
  );
  const outputs = (kernel: string) => kernels.filter(({name}) => name === kernel).map(({output}) => output);
  // Of A: 3×3×2×1. The kernel itself would be 3×3×2×4, that of the head 16×3.
  expect(outputs('Conv2DBackpropFilter')).toEqual(['3×3×2']);
  expect(outputs('Conv2DBackpropInput')).not.toContain('2×6×6×2');
  expect(outputs('BatchMatMul')).not.toContain('16×3');
  expect(outputs('BatchMatMul')).toContain('2×16');
});

test('evaluate, fitDataset and summary work as on any model', async () => {
  const {model, inputs} = mlp();
  const adapted = applyLoRA(model, CONFIG);
  adapted.compile({optimizer: 'sgd', loss: 'meanSquaredError'});
  const y = random([4, 3], 1);
  const loss = numbers(adapted.evaluate(inputs[0]!, y, {verbose: 0}) as tf.Scalar)[0]!;
  const error = tf.sub(model.predict(inputs[0]!) as tf.Tensor, y);
  expect(loss).toBeCloseTo(numbers(tf.mean(tf.square(error)))[0]!, 5);
  const dataset = tf.data.array([{xs: inputs[0]!, ys: y}]);
  const {history} = await adapted.fitDataset(dataset, {epochs: 5, verbose: 0});
  expect(history.loss!.at(-1)).toBeLessThan(history.loss![0] as number);
  const lines: string[] = [];
  adapted.summary(undefined, undefined, line => lines.push(String(line)));
  expect(lines.join('\n')).toMatch(/hidden.*LoRADense/);
  // 2·(5 + 6) + 2·(6 + 3)
  expect(lines.join('\n')).toContain('Trainable params: 40');
});

describe('applyLoRA', () => {
  test('adapts with rank 8 by default, all that can be adapted', () => {
    const model = tf.sequential({
      layers: [tf.layers.dense({units: 32, inputShape: [40], name: 'one'})],
    });
    const [a, b] = factorsOf(applyLoRA(model)).map(({shape}) => shape);
    expect([a, b]).toEqual([
      [40, 8],
      [8, 32],
    ]);
  });

  test('starts equally with one seed, differently in each layer, and otherwise randomly', () => {
    const square = () =>
      tf.sequential({
        layers: ['one', 'two'].map(name =>
          tf.layers.dense({units: 4, inputShape: [4], name, kernelInitializer: 'ones'}),
        ),
      });
    const start = (config: object) =>
      factorsOf(applyLoRA(square(), {rank: 2, ...config}))
        .filter(({originalName}) => originalName.endsWith('lora_A'))
        .map(w => numbers(w.read()));
    expect(start({seed: 5})).toEqual(start({seed: 5}));
    expect(start({seed: 5})).not.toEqual(start({seed: 6}));
    expect(start({})).not.toEqual(start({}));
    const [one, two] = start({seed: 5});
    expect(one).not.toEqual(two);
    expect(start({init: 'ones'})).toEqual([new Array(8).fill(1), new Array(8).fill(1)]);
  });

  test('keeps a shared layer one', () => {
    const [, make] = ZOO.find(([name]) => name.includes('shared'))!;
    const adapted = applyLoRA(make().model, CONFIG);
    const tower = adapted.layers.filter(({name}) => name === 'tower');
    expect(tower).toHaveLength(1);
    expect(tower[0]!.inboundNodes).toHaveLength(2);
  });

  test("trains in a loop of one's own what trainableVariables lists, and nothing else without a list", () => {
    const {model, inputs} = nested();
    const adapted = applyLoRA(model, CONFIG);
    const before = baseWeights(model);
    const variables = trainableVariables(adapted);
    expect(variables).toHaveLength(6);
    const factors = variables.map(numbers);
    const optimizer = tf.train.sgd(1);
    const loss = () => tf.mean<tf.Scalar>(adapted.apply(inputs, {training: true}) as tf.Tensor);
    for (const list of [variables, undefined]) {
      for (let step = 0; step < 3; step++) {
        optimizer.minimize(loss, false, list);
      }
      expect(baseWeights(adapted)).toEqual(before);
    }
    variables.forEach((variable, i) => expect(numbers(variable)).not.toEqual(factors[i]));
  });

  test('can adapt again a model that was merged', () => {
    const {model, inputs} = mlp();
    const once = applyLoRA(model, CONFIG);
    stirFactors(once);
    const merged = mergeLoRA(once);
    const twice = applyLoRA(merged, CONFIG);
    expect(predictions(twice, inputs)).toEqual(predictions(merged, inputs));
  });

  test('outlives the original, whose buffers it shares', () => {
    const {model, inputs} = nested();
    const expected = predictions(model, inputs);
    const adapted = applyLoRA(model, CONFIG);
    disposeModel(model);
    expect(predictions(adapted, inputs)).toEqual(expected);
  });

  test('goes on training when the backend is changed', async () => {
    const trained = async (backends: string[]) => {
      await useBackend('cpu');
      const {model, inputs} = cnn();
      const adapted = applyLoRA(model, {...CONFIG, exclude: ['head']});
      const y = random([2, 3], 1);
      for (const backend of backends) {
        await useBackend(backend);
        adapted.compile({optimizer: tf.train.sgd(0.1), loss: 'meanSquaredError'});
        await adapted.fit(inputs[0]!, y, {epochs: 3, verbose: 0, shuffle: false});
      }
      return predictions(adapted, inputs)[0]!;
    };
    const expected = await trained(['cpu', 'cpu', 'cpu']);
    expect(await trained(['wasm', 'cpu', 'wasm'])).toBeAllClose(expected, {atol: 1e-4});
    await useBackend('cpu');
  });
});

describe.each(['Sequential', 'functional'])('training a %s base', kind => {
  let warn: jest.SpyInstance;
  beforeEach(() => {
    warn = jest.spyOn(console, 'warn').mockImplementation();
  });
  afterEach(() => {
    warn.mockRestore();
  });

  function base(): tf.LayersModel {
    const layers = ['one', 'two'].map(name => tf.layers.dense({units: 2, inputShape: [2], name}));
    const sequential = tf.sequential({layers});
    return kind === 'Sequential' ? sequential : tf.model({inputs: sequential.inputs, outputs: sequential.outputs});
  }

  const fit = (model: tf.LayersModel): Promise<unknown> => model.fit(tf.ones([2, 2]), tf.ones([2, 2]), {verbose: 0});
  const trainOnBatch = (model: tf.LayersModel): Promise<unknown> =>
    model.trainOnBatch(tf.ones([2, 2]), tf.ones([2, 2]));

  async function warningsOf(model: tf.LayersModel, train = fit): Promise<number> {
    warn.mockClear();
    model.compile({optimizer: 'sgd', loss: 'meanSquaredError'});
    await train(model);
    return warn.mock.calls.filter(([text]) => String(text).includes('passed to applyLoRA')).length;
  }

  test.each([fit, trainOnBatch].map(train => [train.name, train] as const))(
    'with %s warns once if the adapted model is forgotten',
    async (_, train) => {
      const model = base();
      expect(await warningsOf(model, train)).toBe(0);
      applyLoRA(model, CONFIG);
      expect(await warningsOf(model, train)).toBe(1);
      expect(await warningsOf(model, train)).toBe(0);
    },
  );

  test.each<[string, (adapted: tf.LayersModel) => unknown]>([
    ['was compiled', adapted => adapted.compile({optimizer: 'sgd', loss: 'meanSquaredError'})],
    ['predicted', adapted => adapted.predict(tf.ones([1, 2]))],
    ['was called in a loop', adapted => adapted.apply(tf.ones([1, 2]), {training: true})],
    ['was disposed of', disposeModel],
    ['is the one that is fitted', adapted => warningsOf(adapted)],
    ['is the one that trains on a batch', adapted => warningsOf(adapted, trainOnBatch)],
  ])('does not warn if the adapted model %s', async (_, use) => {
    for (const train of [fit, trainOnBatch]) {
      const model = base();
      const adapted = applyLoRA(model, CONFIG);
      await use(adapted);
      expect(await warningsOf(model, train)).toBe(0);
    }
  });
});

test('isAdapted distinguishes an adapted model from a plain one', () => {
  const {model} = mlp();
  const adapted = applyLoRA(model, CONFIG);
  expect([model, adapted, removeLoRA(adapted), mergeLoRA(adapted)].map(isAdapted)).toEqual([false, true, false, false]);
  expect(isAdapted(applyLoRA(model, {exclude: [() => true], trainInFull: ['head']}))).toBe(true);
  expect(() => isAdapted({} as tf.LayersModel)).toThrow('The model must be a tf.LayersModel');
});
