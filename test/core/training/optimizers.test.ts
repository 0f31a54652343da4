import * as tf from '@tensorflow/tfjs';
import {adam, applyLoRA, disposeModel, getAdapter, LoRAError, resetOptimizer, setAdapter, sgd} from 'tfjs-lora';
import {withoutOwnCode} from '../../../src/backends/shared/tryOut';
import {numbers, random, useBackend, withoutLeaks} from '../../helpers';
import {factorsOf, mlp, reloaded, stirFactors} from '../../models';

const SHAPES = [[7], [4, 8], [3, 3, 5, 2], [1], [33]];

/**
 * The variables, and what the optimizer keeps of them, after some steps by gradients that are the same for each
 * optimizer.
 */
async function trained(make: () => tf.Optimizer, steps: number): Promise<Float32Array[]> {
  const optimizer = make();
  const variables = SHAPES.map((shape, i) => tf.tidy(() => tf.variable(random(shape as [number], i + 1))));
  for (let step = 0; step < steps; step++) {
    tf.tidy(() => {
      const gradients = variables.map(({name, shape}, i) => ({
        name,
        tensor: random(shape as [number], 100 * step + i + 1),
      }));
      optimizer.applyGradients(gradients);
    });
  }
  const slots = (await optimizer.getWeights()).slice(1).map(({tensor}) => tensor.dataSync<'float32'>());
  const values = variables.map(variable => variable.dataSync<'float32'>());
  tf.dispose(variables);
  optimizer.dispose();
  return [...values, ...slots];
}

const KINDS: [name: string, own: () => tf.Optimizer, stock: () => tf.Optimizer][] = [
  ['adam', () => adam({learningRate: 0.01}), () => tf.train.adam(0.01)],
  [
    'adam with all options',
    () => adam({learningRate: 0.1, beta1: 0.5, beta2: 0.9, epsilon: 1e-3}),
    () => tf.train.adam(0.1, 0.5, 0.9, 1e-3),
  ],
  ['sgd', () => sgd({learningRate: 0.1}), () => tf.train.sgd(0.1)],
  ['momentum', () => sgd({learningRate: 0.1, momentum: 0.9}), () => tf.train.momentum(0.1, 0.9)],
  [
    'Nesterov’s momentum',
    () => sgd({learningRate: 0.1, momentum: 0.9, nesterov: true}),
    () => tf.train.momentum(0.1, 0.9, true),
  ],
];

describe.each(['wasm', 'wasm without our module'])('on %s', name => {
  const on = async <T>(f: () => Promise<T>): Promise<T> => {
    return name.endsWith('module') ? withoutOwnCode(f) : f();
  };

  test.each(KINDS)('%s gives the numbers of tfjs after a hundred steps', (_, own, stock) =>
    on(async () => {
      const [actual, expected] = [await trained(own, 100), await trained(stock, 100)];
      expect(actual.length).toBe(expected.length);
      actual.forEach((values, i) => {
        const largest = Math.max(...expected[i]!.map(Math.abs));
        expect(values).toBeAllClose(expected[i]!, {rtol: 1e-6, atol: 1e-6 * largest});
      });
    }),
  );

  test.each(KINDS)('%s counts its steps as tfjs does', (_, own, stock) =>
    on(async () => {
      const variable = tf.variable(tf.ones([5]));
      for (const make of [own, stock]) {
        const optimizer = make();
        for (let i = 0; i < 3; i++) {
          optimizer.minimize(() => tf.sum<tf.Scalar>(tf.square(variable)));
        }
        const [iterations] = await optimizer.getWeights();
        expect(numbers(iterations!.tensor)).toEqual([3]);
        iterations!.tensor.dispose();
        optimizer.dispose();
      }
      variable.dispose();
    }),
  );

  test.each(KINDS)('%s that was disposed begins anew', (_, own) =>
    on(async () => {
      const optimizer = own();
      const stepFromOnes = async () => {
        const variable = tf.variable(tf.ones([5]));
        optimizer.minimize(() => tf.sum<tf.Scalar>(tf.square(variable)));
        const values = await variable.data();
        optimizer.dispose();
        variable.dispose();
        return values;
      };
      const first = await stepFromOnes();
      expect(first[0]).toBeLessThan(1);
      expect(await stepFromOnes()).toEqual(first);
    }),
  );

  test.each(KINDS.filter(([kind]) => kind === 'adam'))('a step of %s leaks no tensors', (_, own) =>
    on(async () => {
      const optimizer = own();
      const variable = tf.variable(tf.ones([5]));
      const step = () => optimizer.minimize(() => tf.sum<tf.Scalar>(tf.square(variable)));
      step();
      await withoutLeaks(step);
      tf.dispose(variable);
      optimizer.dispose();
    }),
  );

  test('what shares its numbers with a variable or with a slot keeps them', () =>
    on(async () => {
      const optimizer = adam({learningRate: 0.1});
      const variable = tf.variable(tf.ones([6]));
      const step = () => optimizer.minimize(() => tf.sum<tf.Scalar>(tf.square(variable)));
      step();
      const [, first] = (await optimizer.getWeights()) as [unknown, {tensor: tf.Tensor}];
      const copies = [variable.clone(), first.tensor.clone()];
      const before = copies.map(copy => [...copy.dataSync()]);
      step();
      expect(copies.map(copy => [...copy.dataSync()])).toEqual(before);
      expect([...variable.dataSync()]).not.toEqual(before[0]);
      tf.dispose([variable, ...copies]);
      optimizer.dispose();
    }));

  test.each<[string, () => tf.Optimizer]>([
    ['LoRAAdam', () => adam({learningRate: 0.05})],
    ['LoRAMomentum', () => sgd({learningRate: 0.05, momentum: 0.9})],
    ['LoRASGD', () => sgd({learningRate: 0.05})],
  ])('a saved model goes on with the state of its %s', (className, make) =>
    on(async () => {
      const base = tf.sequential({layers: [tf.layers.dense({units: 3, inputShape: [4]})]});
      const model = applyLoRA(base, {rank: 2, seed: 1});
      model.compile({optimizer: make(), loss: 'meanSquaredError'});
      const [x, y] = [random<tf.Rank.R2>([8, 4], 1), random<tf.Rank.R2>([8, 3], 2)];
      await model.trainOnBatch(x, y);
      const loaded = await reloaded(model, {includeOptimizer: true});
      expect(loaded.optimizer.getClassName()).toBe(`tfjs-lora>${className}`);
      const losses = [model, loaded].map(async one => {
        const first = await one.trainOnBatch(x, y);
        return [first, await one.trainOnBatch(x, y)];
      });
      const [expected, actual] = (await Promise.all(losses)) as [number[], number[]];
      expect(actual).toBeAllClose(expected, {rtol: 1e-5, atol: 1e-7});
      [loaded, model, base].forEach(disposeModel);
      tf.dispose([x, y]);
    }),
  );
});

test('slots of another shape are refused before anything is written', async () => {
  await useBackend('wasm');
  const base = tf.sequential({layers: [tf.layers.dense({units: 4, inputShape: [4]})]});
  const model = applyLoRA(base, {rank: 2});
  model.compile({optimizer: adam(), loss: 'meanSquaredError'});
  const optimizer = model.optimizer;
  const [small, large] = [tf.variable(tf.ones([2])), tf.variable(tf.ones([9]))];
  optimizer.minimize(() => tf.sum<tf.Scalar>(tf.square(small)), false, [small]);
  const larger = () => optimizer.minimize(() => tf.sum<tf.Scalar>(tf.square(large)), false, [large]);
  expect(larger).toThrow(LoRAError);
  expect([...large.dataSync()]).toEqual(new Array(9).fill(1));
  resetOptimizer(model);
  larger();
  expect(large.dataSync()[0]).toBeLessThan(1);
});

test.each([
  [() => adam({learningRate: NaN}), 'learningRate'],
  [() => adam({learningRate: -1}), 'learningRate'],
  [() => adam({beta1: 1}), 'beta1'],
  [() => adam({beta2: -0.1}), 'beta2'],
  [() => adam({epsilon: Infinity}), 'epsilon'],
  [() => sgd({momentum: 1}), 'momentum'],
  [() => sgd({nesterov: true}), 'nesterov'],
])('an option out of its range is refused (%#)', (make, name) => {
  expect(make).toThrow(LoRAError);
  expect(make).toThrow(name);
});

const OPTIMIZERS: [name: string, make: () => tf.Optimizer][] = [
  ['sgd', () => tf.train.sgd(0.05)],
  ['momentum', () => tf.train.momentum(0.05, 0.9)],
  ['adagrad', () => tf.train.adagrad(0.05)],
  ['adadelta', () => tf.train.adadelta(0.5)],
  ['adam', () => tf.train.adam(0.05)],
  ['adamax', () => tf.train.adamax(0.05, 0.9, 0.999, 1e-7, 0.1)],
  ['rmsprop', () => tf.train.rmsprop(0.01, 0.9, 0.5)],
  ['centered rmsprop', () => tf.train.rmsprop(0.01, 0.9, 0.5, 1e-7, true)],
];

/** A model with an adapter of rank 3, another adapter of rank 2, and data. */
function pairOfAdapters() {
  const {model, inputs} = mlp();
  const donor = applyLoRA(model, {rank: 2});
  stirFactors(donor, 7);
  const other = getAdapter(donor);
  const adapted = applyLoRA(model, {rank: 3, seed: 1});
  const [x, y] = [inputs[0]!, random([4, 3], 9)];
  const fit = () => adapted.fit(x, y, {epochs: 3, batchSize: 2, verbose: 0, shuffle: false});
  const dispose = () => {
    [donor, adapted, model].forEach(each => disposeModel(each));
    other.dispose();
    tf.dispose([x, y]);
  };
  return {adapted, other, fit, dispose};
}

test.each(OPTIMIZERS)('after a reset, %s trains an adapter of another rank as a new one would', async (_, make) => {
  const {adapted, other, fit} = pairOfAdapters();
  const optimizer = make();
  adapted.compile({optimizer, loss: 'meanSquaredError'});
  await fit();
  setAdapter(adapted, other);
  resetOptimizer(adapted);
  expect(optimizer.iterations).toBe(0);
  await fit();
  const trained = factorsOf(adapted).map(weight => numbers(weight.read()));
  optimizer.dispose();

  setAdapter(adapted, other);
  const fresh = make();
  adapted.compile({optimizer: fresh, loss: 'meanSquaredError'});
  await fit();
  expect(trained).toEqual(factorsOf(adapted).map(weight => numbers(weight.read())));
  trained.forEach((values, i) => expect(values).not.toEqual(numbers(Object.values(other.tensors)[i]!)));
});

test.each(OPTIMIZERS)('fit resets %s by itself after an adapter of another rank', async (_, make) => {
  const {adapted, other, fit} = pairOfAdapters();
  const [used, fresh] = [make(), make()];
  adapted.compile({optimizer: used, loss: 'meanSquaredError'});
  await fit();
  const trained = [];
  for (const optimizer of [used, fresh]) {
    setAdapter(adapted, other);
    if (optimizer === fresh) {
      adapted.compile({optimizer, loss: 'meanSquaredError'});
    }
    await fit();
    trained.push(factorsOf(adapted).map(weight => numbers(weight.read())));
  }
  expect(trained[0]).toEqual(trained[1]);
});

test.each(OPTIMIZERS)('a reset of %s frees what it kept', async (_, make) => {
  const optimizer = make();
  await withoutLeaks(async () => {
    const {adapted, other, fit, dispose} = pairOfAdapters();
    adapted.compile({optimizer, loss: 'meanSquaredError'});
    await fit();
    setAdapter(adapted, other);
    resetOptimizer(adapted);
    await fit();
    resetOptimizer(adapted);
    dispose();
  });
});

test('a model that is not compiled has no optimizer to reset', async () => {
  await useBackend('cpu');
  const {adapted} = pairOfAdapters();
  expect(() => resetOptimizer(adapted)).toThrow(LoRAError);
  expect(() => resetOptimizer(adapted)).toThrow('model.compile');
});
