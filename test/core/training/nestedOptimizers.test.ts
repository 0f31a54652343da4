import * as tf from '@tensorflow/tfjs';
import {
  accumulate,
  adam,
  adamW,
  applyLoRA,
  clipByGlobalNorm,
  disposeModel,
  getAdapter,
  LoRAError,
  loraPlus,
  resetOptimizer,
  setAdapter,
  sgd,
} from 'tfjs-lora';
import {learningRateOf, setLearningRate} from '../../../src/core/training/learningRate';
import {checkOptimizerState, stateOfOptimizer} from '../../../src/core/training/optimizerState';
import {withoutOwnCode} from '../../../src/backends/shared/tryOut';
import {numbers, random, useBackend, withoutLeaks} from '../../helpers';
import {factorsOf, MemoryHandler, mlp} from '../../models';

/** What variables are after gradients that are given step by step. */
function trained(
  optimizer: tf.Optimizer,
  variables: Record<string, number[]>,
  steps: readonly Record<string, number[]>[],
): Record<string, number[]> {
  const live = Object.entries(variables).map(
    ([name, values]) => [name, tf.variable(shaped(values), true, name)] as const,
  );
  for (const gradients of steps) {
    tf.tidy(() => optimizer.applyGradients(live.map(([name]) => ({name, tensor: shaped(gradients[name]!)}))));
  }
  const result = Object.fromEntries(live.map(([name, variable]) => [name, numbers(variable)]));
  live.forEach(([, variable]) => variable.dispose());
  optimizer.dispose();
  return result;
}

/** A column, as a factor is, so that decay takes it for a matrix. */
const shaped = (values: number[]) => tf.tensor2d(values, [values.length, 1]);

describe.each(['wasm', 'wasm without our module'])('on %s', name => {
  const on = async <T>(f: () => T | Promise<T>): Promise<T> => {
    return name.endsWith('module') ? withoutOwnCode(async () => f()) : f();
  };

  test.each([
    ['sgd', () => sgd({learningRate: 0.1})],
    ['sgd of tfjs', () => tf.train.sgd(0.1)],
  ])('B moves by the ratio as far as A under loraPlus with %s', (_, make) =>
    on(() => {
      const start = {'x/lora_A': [1, 2], 'x/lora_B': [1, 2], 'x/lora_B_1': [0, 0]};
      const gradient = {'x/lora_A': [0.5, -1], 'x/lora_B': [0.5, -1], 'x/lora_B_1': [1, 1]};
      const found = trained(loraPlus(make(), {ratio: 16}), start, [gradient]);
      expect(found['x/lora_A']).toBeAllClose([0.95, 2.1], {rtol: 1e-6, atol: 0});
      expect(found['x/lora_B']).toBeAllClose([1 - 16 * 0.05, 2 + 1.6], {rtol: 1e-6, atol: 1e-7});
      expect(found['x/lora_B_1']).toBeAllClose([-1.6, -1.6], {rtol: 1e-6, atol: 0});
    }),
  );

  test.each([
    ['adam', (rate: number) => adam({learningRate: rate}), 3],
    ['adam of tfjs', (rate: number) => tf.train.adam(rate), 16],
    ['momentum', (rate: number) => sgd({learningRate: rate, momentum: 0.9}), 5],
    ['rmsprop of tfjs', (rate: number) => tf.train.rmsprop(rate, 0.9, 0.5), 8],
  ])('loraPlus with %s is that optimizer at two rates', (_, make, ratio) =>
    on(() => {
      const steps = Array.from({length: 20}, (_, i) => ({
        a: numbers(random([3], 2 * i + 1)),
        b: numbers(random([3], 2 * i + 2)),
      }));
      const both = trained(
        loraPlus(make(0.01), {ratio}),
        {'y/lora_A': [1, 2, 3], 'y/lora_B': [0, 0, 0]},
        steps.map(({a, b}) => ({'y/lora_A': a, 'y/lora_B': b})),
      );
      const alone = trained(
        make(0.01),
        {a: [1, 2, 3]},
        steps.map(({a}) => ({a})),
      );
      const faster = trained(
        make(0.01 * ratio),
        {b: [0, 0, 0]},
        steps.map(({b}) => ({b})),
      );
      expect(both['y/lora_A']).toBeAllClose(alone.a!, {rtol: 1e-5, atol: 1e-6});
      expect(both['y/lora_B']).toBeAllClose(faster.b!, {rtol: 1e-5, atol: 1e-6});
    }),
  );

  test('gradients above the norm are scaled by one factor, and others not by a bit', () =>
    on(() => {
      const start = {one: [0, 0], two: [0]};
      const large = trained(clipByGlobalNorm(sgd({learningRate: 1}), 1), start, [{one: [2, 3], two: [6]}]);
      expect(large.one).toBeAllClose([-2 / 7, -3 / 7], {rtol: 1e-6, atol: 0});
      expect(large.two).toBeAllClose([-6 / 7], {rtol: 1e-6, atol: 0});
      const small = {one: [0.1, 0.2], two: [0.3]};
      expect(trained(clipByGlobalNorm(sgd({learningRate: 1}), 1), start, [small])).toEqual(
        trained(sgd({learningRate: 1}), start, [small]),
      );
    }));

  test('a step by accumulated gradients is that of their mean', () =>
    on(() => {
      const gradients = [{w: [1, 2]}, {w: [3, -2]}, {w: [5, 3]}, {w: [7, 1]}];
      const one = trained(accumulate(sgd({learningRate: 1}), 4), {w: [0, 0]}, gradients.slice(0, 3));
      expect(one.w).toEqual([0, 0]);
      expect(trained(accumulate(sgd({learningRate: 1}), 4), {w: [0, 0]}, gradients).w).toEqual([-4, -1]);
      const twice = trained(accumulate(sgd({learningRate: 1}), 2), {w: [0, 0]}, gradients);
      expect(twice.w).toEqual([-2 - 6, 0 - 2]);
    }));

  test('what is clipped is the mean inside accumulate, and each batch outside', () =>
    on(() => {
      const gradients = [{w: [4]}, {w: [-2]}];
      const inside = trained(accumulate(clipByGlobalNorm(sgd({learningRate: 1}), 0.5), 2), {w: [0]}, gradients);
      expect(inside.w).toBeAllClose([-0.5], {rtol: 1e-6, atol: 0});
      const outside = trained(clipByGlobalNorm(accumulate(sgd({learningRate: 1}), 2), 3), {w: [0]}, gradients);
      expect(outside.w).toBeAllClose([-(3 - 2) / 2], {rtol: 1e-6, atol: 0});
    }));

  test('adamW decays weights before the step, and leaves biases, gains and magnitudes alone', () =>
    on(() => {
      // Adam's first step is the rate, whatever the gradient, save for its epsilon.
      const start = {'d/kernel': [2], 'd/bias': [2], 'n/gamma': [2], 'd/lora_magnitude': [2], 'd/lora_A': [2]};
      const ones = Object.fromEntries(Object.keys(start).map(name => [name, [1]]));
      const found = trained(adamW({learningRate: 0.1, weightDecay: 0.5}), start, [ones]);
      const decayed = (1 - 0.05) * 2 - 0.1;
      expect([found['d/kernel'], found['d/lora_A']].flat()).toBeAllClose([decayed, decayed], {rtol: 1e-6, atol: 0});
      expect([found['d/bias'], found['n/gamma'], found['d/lora_magnitude']].flat()).toBeAllClose([1.9, 1.9, 1.9], {
        rtol: 1e-6,
        atol: 0,
      });
      const plus = trained(loraPlus(adamW({learningRate: 0.1, weightDecay: 0.5}), {ratio: 2}), {'d/lora_B': [2]}, [
        {'d/lora_B': [1]},
      ]);
      expect(plus['d/lora_B']).toBeAllClose([(1 - 0.1) * 2 - 0.2], {rtol: 1e-6, atol: 0});
    }));

  test('vectors do not decay, whatever their name', () =>
    on(() => {
      const gain = tf.variable(tf.ones([3]), true, 'gain');
      const optimizer = adamW({learningRate: 0.1, weightDecay: 0.5});
      tf.tidy(() => optimizer.applyGradients([{name: 'gain', tensor: tf.ones([3])}]));
      expect(numbers(gain)).toBeAllClose([0.9, 0.9, 0.9], {rtol: 1e-6, atol: 0});
      tf.dispose(gain);
      optimizer.dispose();
    }));

  test('four batches that are accumulated train as one of four times their size', () =>
    on(async () => {
      const {model, inputs} = mlp();
      const [x, y] = [
        random<tf.Rank.R2>([16, ...inputs[0]!.shape.slice(1)] as [number, number], 3),
        random<tf.Rank.R2>([16, 3], 4),
      ];
      const fit = async (optimizer: tf.Optimizer, batchSize: number) => {
        const adapted = applyLoRA(model, {rank: 2, seed: 1});
        adapted.compile({optimizer, loss: 'meanSquaredError'});
        await adapted.fit(x, y, {epochs: 3, batchSize, shuffle: false, verbose: 0});
        const factors = factorsOf(adapted).map(weight => numbers(weight.read()));
        disposeModel(adapted);
        optimizer.dispose();
        return factors.flat();
      };
      const large = await fit(adam({learningRate: 0.01}), 16);
      expect(await fit(accumulate(adam({learningRate: 0.01}), 4), 4)).toBeAllClose(large, {rtol: 1e-4, atol: 1e-6});
      disposeModel(model);
      tf.dispose([x, y, inputs]);
    }));

  test('nested optimizers go through a file, in the middle of what they accumulate, and on as before', () =>
    on(async () => {
      const base = tf.sequential({layers: [tf.layers.dense({units: 3, inputShape: [4]})]});
      const model = applyLoRA(base, {rank: 2, seed: 1});
      const optimizer = loraPlus(clipByGlobalNorm(accumulate(adamW({learningRate: 0.05}), 2), 0.5), {ratio: 4});
      model.compile({optimizer, loss: 'meanSquaredError'});
      const [x, y] = [random<tf.Rank.R2>([8, 4], 1), random<tf.Rank.R2>([8, 3], 2)];
      for (let step = 0; step < 3; step++) {
        await model.trainOnBatch(x, y);
      }
      const handler = new MemoryHandler();
      await model.save(handler, {includeOptimizer: true});
      const loaded = await tf.loadLayersModel(handler);
      expect(loaded.optimizer.getConfig()).toEqual(optimizer.getConfig());
      for (const one of [model, loaded]) {
        for (let step = 0; step < 4; step++) {
          await one.trainOnBatch(x, y);
        }
      }
      const [actual, expected] = [loaded, model].map(one => factorsOf(one).flatMap(weight => numbers(weight.read())));
      expect(actual).toBeAllClose(expected!, {rtol: 1e-4, atol: 1e-6});
      [loaded, model, base].forEach(disposeModel);
      tf.dispose([x, y]);
    }));

  test('after a reset they train an adapter of another rank, and nothing is left', () =>
    on(async () => {
      const {model, inputs} = mlp();
      const donor = applyLoRA(model, {rank: 2, seed: 2});
      const other = getAdapter(donor);
      const y = random([4, 3], 9);
      await withoutLeaks(async () => {
        const optimizer = accumulate(loraPlus(clipByGlobalNorm(adam(), 1)), 3);
        const adapted = applyLoRA(model, {rank: 3, seed: 1});
        adapted.compile({optimizer, loss: 'meanSquaredError'});
        const fit = () => adapted.fit(inputs[0]!, y, {epochs: 2, batchSize: 2, verbose: 0, shuffle: false});
        await fit();
        setAdapter(adapted, other);
        resetOptimizer(adapted);
        expect(optimizer.iterations).toBe(0);
        await fit();
        expect(optimizer.iterations).toBe(1);
        resetOptimizer(adapted);
        disposeModel(adapted);
      });
      other.dispose();
      [donor, model].forEach(disposeModel);
      tf.dispose([inputs, y]);
    }));
});

test('with our module clipping, accumulating and two rates are part of the one launch for a variable', async () => {
  await useBackend('wasm');
  const variable = tf.variable(tf.ones([4, 2]), true, 'launch/lora_B');
  const gradient = tf.ones([4, 2]);
  const launches = async (optimizer: tf.Optimizer) => {
    const step = () => optimizer.applyGradients([{name: variable.name, tensor: gradient}]);
    step();
    const {kernels} = await tf.profile(() => {
      step();
      return tf.scalar(0);
    });
    optimizer.dispose();
    return kernels.map(({name}) => name).filter(name => name !== 'Identity');
  };
  // None but the module's own, which counts as no kernel.
  expect(await launches(adam())).toEqual([]);
  expect(await launches(accumulate(clipByGlobalNorm(loraPlus(adamW()), 1), 1))).toEqual([]);
});

test('the learning rate of the innermost is that of all around it', () => {
  const inner = adam({learningRate: 0.3});
  const outer = loraPlus(clipByGlobalNorm(inner, 1));
  expect(learningRateOf(outer)).toBe(0.3);
  setLearningRate(outer, 0.1);
  expect(inner.getConfig().learningRate).toBe(0.1);
  const stock = clipByGlobalNorm(tf.train.sgd(0.5), 1);
  setLearningRate(stock, 0.25);
  expect(trained(stock, {v: [1]}, [{v: [1]}]).v).toEqual([0.75]);
});

test.each([
  [() => loraPlus('adam' as never), 'got "adam"'],
  [() => loraPlus(adam(), {ratios: 2} as never), 'There is no option "ratios"'],
  [() => accumulate(accumulate(adam(), 2), 2), 'accumulates already'],
])('what makes no step is refused (%#)', (make, message) => {
  expect(make).toThrow(LoRAError);
  expect(make).toThrow(message);
});

test.each([[{}], [{className: 'Dense', config: {}}], [{className: 'constructor', config: {}}], [null]])(
  'a file that names no optimizer inside another is refused (%#)',
  entry => {
    const {classNameMap} = tf.serialization.SerializationMap.getMap();
    const [cls, fromConfig] = classNameMap['tfjs-lora>LoRAPlus']!;
    expect(() => fromConfig(cls, {ratio: 2, optimizer: entry})).toThrow(LoRAError);
  },
);

test('a state is refused if the steps of any optimizer in the chain are no count', () => {
  const optimizer = accumulate(tf.train.momentum(0.1, 0.9), 2);
  const {state, tensors} = stateOfOptimizer(optimizer);
  const check = (iterations: number[]) => () => checkOptimizerState(optimizer, {...state, iterations}, tensors, []);
  expect(check([4, 2])).not.toThrow();
  for (const iterations of [[-1, 2], [4, -1], [4, 0.5], [4, Infinity], [4], [4, 2, 0]]) {
    expect(check(iterations)).toThrow('The state of the optimizer is not that of 0 variables');
  }
  optimizer.dispose();
});
