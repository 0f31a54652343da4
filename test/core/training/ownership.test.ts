import * as tf from '@tensorflow/tfjs';
import {
  accumulate,
  adam,
  adamW,
  applyLoRA,
  checkpoint,
  clipByGlobalNorm,
  disposeModel,
  findLearningRate,
  fitOnFeatures,
  loraPlus,
  resetOptimizer,
  resume,
  sgd,
  trainableVariables,
} from 'tfjs-lora';
import {withoutOwnCode} from '../../../src/backends/shared/tryOut';
import {numbers, random, withoutLeaks} from '../../helpers';
import {factorsOf, MemoryHandler} from '../../models';

const OPTIMIZERS: [name: string, make: () => tf.Optimizer][] = [
  ['adam', () => adam({learningRate: 0.02})],
  ['adamW', () => adamW({learningRate: 0.02})],
  ['sgd', () => sgd({learningRate: 0.1})],
  ['sgd with momentum', () => sgd({learningRate: 0.1, momentum: 0.9, nesterov: true})],
  ['loraPlus(adam)', () => loraPlus(adam({learningRate: 0.02}))],
  ['accumulate(clipByGlobalNorm(adam))', () => accumulate(clipByGlobalNorm(adam({learningRate: 0.02}), 1), 2)],
  ['clipByGlobalNorm(accumulate(sgd))', () => clipByGlobalNorm(accumulate(sgd({momentum: 0.9}), 3), 1)],
];

/**
 * A model with two branches, one of them a model: the piece of it that trains has its variables in another order than
 * the model itself.
 */
function branches(): tf.LayersModel {
  const dense = (name: string) => tf.layers.dense({units: 3, name, activation: 'tanh'});
  const chain = (x: tf.SymbolicTensor, ...names: string[]) =>
    names.reduce((tensor, name) => dense(name).apply(tensor) as tf.SymbolicTensor, x);
  const [one, other, inner] = [1, 2, 3].map(() => tf.input({shape: [3]})) as [
    tf.SymbolicTensor,
    tf.SymbolicTensor,
    tf.SymbolicTensor,
  ];
  const nested = tf.model({inputs: inner, outputs: chain(inner, 'n1', 'n2', 'n3'), name: 'nested'});
  const sum = tf.layers
    .add()
    .apply([nested.apply(chain(one, 'a')) as tf.SymbolicTensor, chain(other, 'b1', 'b2', 'b3', 'b4')]);
  return tf.model({inputs: [one, other], outputs: chain(sum as tf.SymbolicTensor, 'head')});
}

const TARGETS = ['nested/n2', 'nested/n3', 'b3', 'b4', 'head'];
const LOSS = 'meanSquaredError';

/** A base, its data, and models that are adapted from it. */
function setting() {
  const base = branches();
  const [x, y] = [[random([8, 3], 5), random([8, 3], 6)], random([8, 3], 7)] as const;
  const adapted = () => applyLoRA(base, {rank: 2, targets: TARGETS, seed: 1});
  const args = {epochs: 2, batchSize: 2, verbose: 0, shuffle: false} as const;
  const fit = (model: tf.LayersModel) => model.fit([...x], y, args);
  const fitPiece = (model: tf.LayersModel) => fitOnFeatures(model, [...x], y, args);
  const valuesOf = (model: tf.LayersModel) => factorsOf(model).map(weight => numbers(weight.read()));
  const dispose = () => {
    disposeModel(base);
    tf.dispose([...x, y]);
  };
  return {base, x, y, adapted, fit, fitPiece, valuesOf, args, dispose};
}

const count = () => tf.memory().numTensors;

describe.each(['wasm', 'wasm without our module'])('on %s', name => {
  const on = async (f: () => Promise<void>): Promise<void> => {
    await (name.endsWith('module') ? withoutOwnCode(f) : f());
  };

  test.each(OPTIMIZERS)('fit, fitOnFeatures, compiling again and disposeModel leave nothing of %s', (_, make) =>
    on(() =>
      withoutLeaks(async () => {
        const {adapted, fit, fitPiece, dispose} = setting();
        const model = adapted();
        const empty = count();
        model.compile({optimizer: make(), loss: LOSS});
        await fit(model);
        await fitPiece(model);
        const used = count();
        expect(used).toBeGreaterThan(empty);
        for (let round = 0; round < 3; round++) {
          model.compile({optimizer: make(), loss: LOSS});
          await fitPiece(model);
          await fit(model);
          expect(count()).toBe(used);
        }
        disposeModel(model);
        dispose();
      }),
    ),
  );

  test.each(OPTIMIZERS)('%s trains on after the last of its models is gone, as a new one does', (_, make) =>
    on(() =>
      withoutLeaks(async () => {
        const {adapted, fit, valuesOf, dispose} = setting();
        const optimizer = make();
        const results: number[][][] = [];
        for (const each of [optimizer, optimizer, make()]) {
          const model = adapted();
          model.compile({optimizer: each, loss: LOSS});
          await fit(model);
          results.push(valuesOf(model));
          disposeModel(model);
          each.dispose(); // does nothing
        }
        expect(results[1]).toEqual(results[0]);
        expect(results[2]).toEqual(results[0]);
        dispose();
      }),
    ),
  );
});

describe('on cpu', () => {
  /** The tensors of an Adam that has trained a model of `branches`: two moments of each factor, two powers. */
  const MOMENTS = 2 * 2 * TARGETS.length + 2;

  test('an optimizer goes with the last of the models that are compiled with it', () =>
    withoutLeaks(async () => {
      const {adapted, fit, dispose} = setting();
      const [one, other, plain] = [adapted(), adapted(), branches()];
      const optimizer = adam();
      [one, other, plain].forEach(model => model.compile({optimizer, loss: LOSS}));
      await fit(one);
      const used = count();
      const held = one.weights.length + plain.weights.length;
      disposeModel(one);
      disposeModel(plain);
      expect(count()).toBe(used - held);
      await fit(other);
      disposeModel(other);
      dispose();
    }));

  test('compiling again frees the optimizer before, unless another model has it', () =>
    withoutLeaks(async () => {
      const {adapted, fit, dispose} = setting();
      const [one, other] = [adapted(), adapted()];
      const optimizer = adam();
      one.compile({optimizer, loss: LOSS});
      await fit(one);
      const used = count();
      one.compile({optimizer, loss: 'meanAbsoluteError'});
      expect(count()).toBe(used);
      other.compile({optimizer, loss: LOSS});
      one.compile({optimizer: 'sgd', loss: LOSS});
      expect(count()).toBe(used + 1); // the rate of that sgd
      other.compile({optimizer: sgd(), loss: LOSS});
      expect(count()).toBe(used + 2 - MOMENTS);
      [one, other].forEach(disposeModel);
      dispose();
    }));

  test('a model that tfjs disposed of holds no optimizer back', () =>
    withoutLeaks(() => {
      const {base, adapted, dispose} = setting();
      const simple = tf.sequential({layers: [tf.layers.dense({units: 1, inputShape: [2]})]});
      const optimizer = adam();
      [simple, base].forEach(model => model.compile({optimizer, loss: LOSS}));
      simple.dispose();
      disposeModel(adapted());
      dispose();
    }));

  test('nor does a model of which only a layer is gone, with another model that has it', () =>
    withoutLeaks(() => {
      const simple = tf.sequential({layers: [tf.layers.dense({units: 1, inputShape: [2]})]});
      const shared = tf.layers.dense({units: 2, inputShape: [2]});
      const body = tf.sequential({layers: [shared]});
      const head = tf.layers.dense({units: 1});
      const whole = tf.model({inputs: body.inputs, outputs: head.apply(body.outputs) as tf.SymbolicTensor});
      const optimizer = adam();
      [simple, whole].forEach(model => model.compile({optimizer, loss: LOSS}));
      body.dispose();
      disposeModel(simple);
      head.dispose();
    }));

  test('optimizers around the same one share it', () =>
    withoutLeaks(async () => {
      const {adapted, fit, dispose} = setting();
      const [one, other] = [adapted(), adapted()];
      const inner = adam();
      one.compile({optimizer: clipByGlobalNorm(inner, 1), loss: LOSS});
      other.compile({optimizer: accumulate(inner, 2), loss: LOSS});
      await fit(other);
      const used = count();
      const held = one.weights.length;
      disposeModel(one);
      expect(count()).toBe(used - held);
      await fit(other);
      expect(count()).toBe(used - held);
      disposeModel(other);
      dispose();
    }));

  test("an optimizer of the user's own stays, also inside one of this library", () =>
    withoutLeaks(async () => {
      const {adapted, fit, dispose} = setting();
      const empty = count();
      const own = tf.train.adam(0.01);
      const model = adapted();
      model.compile({optimizer: accumulate(own, 2), loss: LOSS});
      await fit(model);
      disposeModel(model);
      expect(count()).toBe(empty + MOMENTS);
      own.dispose();
      dispose();
    }));

  test('a Sequential and a model inside it let go of their optimizers', () =>
    withoutLeaks(async () => {
      const inside = tf.sequential({layers: [tf.layers.dense({units: 3, inputShape: [2]})]});
      const [x, y] = [tf.ones([4, 2]), tf.ones([4, 3])];
      inside.compile({optimizer: adam(), loss: LOSS});
      await inside.fit(x, y, {verbose: 0});
      const model = tf.sequential({layers: [inside, tf.layers.dense({units: 3})]});
      for (let round = 0; round < 2; round++) {
        model.compile({optimizer: adam(), loss: LOSS});
        await model.fit(x, y, {verbose: 0});
      }
      disposeModel(model);
      tf.dispose([x, y]);
    }));

  test('a model that is compiled during fitOnFeatures leaves the optimizer to it until its end', () =>
    withoutLeaks(async () => {
      const {x, y, adapted, args, dispose} = setting();
      const model = adapted();
      const optimizer = adam();
      model.compile({optimizer, loss: LOSS});
      const steps: number[] = [];
      await fitOnFeatures(model, [...x], y, {
        ...args,
        callbacks: {
          onBatchEnd: () => {
            if (steps.push(optimizer.iterations) === 2) {
              model.compile({optimizer: adam(), loss: LOSS});
            }
          },
        },
      });
      expect(steps).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
      expect(optimizer.iterations).toBe(0); // as that of a new one
      disposeModel(model);
      dispose();
    }));

  test('findLearningRate leaves the optimizer to the model', () =>
    withoutLeaks(async () => {
      const {x, y, adapted, fit, dispose} = setting();
      const model = adapted();
      model.compile({optimizer: accumulate(adam(), 2), loss: LOSS});
      await findLearningRate(model, [...x], y, {steps: 10});
      await fit(model);
      disposeModel(model);
      dispose();
    }));

  test.each([
    ['fit', false],
    ['fitOnFeatures', true],
  ])('moments of another model are refused by %s, which changes nothing', (_, isPiece) =>
    withoutLeaks(async () => {
      const {adapted, fit, fitPiece, valuesOf, dispose} = setting();
      const [one, other] = [adapted(), adapted()];
      const optimizer = accumulate(adam(), 2);
      [one, other].forEach(model => model.compile({optimizer, loss: LOSS}));
      await fit(one);
      const [before, used, names] = [valuesOf(other), count(), trainableVariables(one).map(each => each.name)];
      const refused = isPiece ? fitPiece(other) : fit(other);
      await expect(refused).rejects.toMatchObject({
        code: 'ERR_MISFIT',
        message: expect.stringContaining(`moments of another model, which was trained with it: of ${names[0]}, `),
      });
      expect(valuesOf(other)).toEqual(before);
      expect(count()).toBe(used);
      await fit(one);
      resetOptimizer(other);
      await fit(other);
      await expect(fit(one)).rejects.toThrow('Compile each model with its own optimizer, such as adam()');
      [one, other].forEach(disposeModel);
      dispose();
    }),
  );

  test.each([
    ['of this library', () => adam()],
    ['of tfjs', () => tf.train.adam()],
  ])('moments of a model that is gone are dropped by an optimizer %s', async (_, make) => {
    const {adapted, fit, valuesOf} = setting();
    const results: number[][][] = [];
    const used = make();
    const kept = adapted();
    kept.compile({optimizer: used, loss: LOSS}); // so that it is not freed
    for (const optimizer of [used, used, make()]) {
      const model = adapted();
      model.compile({optimizer, loss: LOSS});
      await fit(model);
      results.push(valuesOf(model));
      disposeModel(model);
    }
    expect(results[1]).toEqual(results[0]);
    expect(results[2]).toEqual(results[0]);
  });

  test('moments of a loop of its own are refused too', async () => {
    const {x, adapted, fit} = setting();
    const [one, other] = [adapted(), adapted()];
    const optimizer = adam();
    const loss = () => tf.mean<tf.Scalar>(one.apply([...x]) as tf.Tensor);
    optimizer.minimize(loss, false, trainableVariables(one));
    other.compile({optimizer, loss: LOSS});
    await expect(fit(other)).rejects.toThrow('moments of another model');
  });

  test('plain models share an optimizer of tfjs, as without the library', async () => {
    const models = [1, 2].map(() => tf.sequential({layers: [tf.layers.dense({units: 1, inputShape: [2]})]}));
    const optimizer = tf.train.momentum(0.1, 0.9);
    const [x, y] = [tf.ones([4, 2]), tf.ones([4, 1])];
    for (const model of models) {
      model.compile({optimizer, loss: LOSS});
      await model.fit(x, y, {verbose: 0});
    }
    expect(optimizer.iterations).toBe(2);
    models.forEach(disposeModel);
  });

  test('moments follow their variables from fit to fitOnFeatures, which trains them in another order', async () => {
    const {adapted, fit, fitPiece, valuesOf} = setting();
    const results: number[][][] = [];
    for (const second of [fit, fitPiece]) {
      const model = adapted();
      model.compile({optimizer: accumulate(adam({learningRate: 0.02}), 3), loss: LOSS});
      await fit(model);
      await second(model);
      await fit(model);
      results.push(valuesOf(model));
      disposeModel(model);
    }
    results[1]!.forEach((values, i) => expect(values).toBeAllClose(results[0]![i]!, {rtol: 1e-4, atol: 1e-6}));
  });

  test.each([
    ['fit', false],
    ['fitOnFeatures', true],
  ])('a checkpoint of fitOnFeatures is resumed by %s, and nothing is left', (_, isPiece) =>
    withoutLeaks(async () => {
      const {x, y, adapted, args, valuesOf, dispose} = setting();
      const handlers = [new MemoryHandler(), new MemoryHandler()];
      const place = (slot: number) => handlers[slot]!;
      const optimizer = () => accumulate(clipByGlobalNorm(adam({learningRate: 0.02}), 1), 3);
      const model = adapted();
      model.compile({optimizer: optimizer(), loss: LOSS});
      const start = valuesOf(model);
      await fitOnFeatures(model, [...x], y, {...args, epochs: 2, callbacks: [checkpoint(place)]});
      await fitOnFeatures(model, [...x], y, {...args, epochs: 4, initialEpoch: 2});
      const expected = valuesOf(model);
      // As in a process that is killed and started again, the variables have the same names.
      tf.tidy(() => factorsOf(model).forEach((each, i) => each.write(tf.tensor(start[i]!, each.shape as number[]))));
      for (let round = 0; round < 2; round++) {
        model.compile({optimizer: optimizer(), loss: LOSS});
        const resumed = {...args, epochs: 4, ...(await resume(model, place))};
        expect(resumed.initialEpoch).toBe(2);
        await (isPiece ? fitOnFeatures(model, [...x], y, resumed) : model.fit([...x], y, resumed));
        valuesOf(model).forEach((values, i) => expect(values).toBeAllClose(expected[i]!, {rtol: 1e-4, atol: 1e-6}));
      }
      disposeModel(model);
      dispose();
    }),
  );

  test('an optimizer that is loaded with a model goes with it, and trains it beside the one that was saved', async () => {
    const {x, y, adapted, fit} = setting();
    const model = adapted();
    model.compile({optimizer: accumulate(adam({learningRate: 0.02}), 2), loss: LOSS});
    await fit(model);
    const file = new MemoryHandler();
    await model.save(file, {includeOptimizer: true}); // tfjs leaves the count of steps behind
    await withoutLeaks(async () => {
      const loaded = [await tf.loadLayersModel(file), await tf.loadLayersModel(file)];
      for (const each of loaded) {
        await each.fit([...x], y, {verbose: 0});
      }
      await fit(model);
      loaded.forEach(disposeModel);
    });
  });
});
