import * as tf from '@tensorflow/tfjs';
import {adam, applyLoRA, disposeModel, LoRAError, resetOptimizer, sgd} from 'tfjs-lora';
import {withoutOwnCode} from '../../../src/backends/shared/tryOut';
import {numbers, random, useBackend, withoutLeaks} from '../../helpers';

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

  test('a saved model goes on with the state of its optimizer', () =>
    on(async () => {
      const base = tf.sequential({layers: [tf.layers.dense({units: 3, inputShape: [4]})]});
      const model = applyLoRA(base, {rank: 2, seed: 1});
      model.compile({optimizer: adam({learningRate: 0.05}), loss: 'meanSquaredError'});
      const [x, y] = [random<tf.Rank.R2>([8, 4], 1), random<tf.Rank.R2>([8, 3], 2)];
      await model.trainOnBatch(x, y);
      const artifacts: tf.io.ModelArtifacts[] = [];
      const handler = tf.io.withSaveHandler(saved => {
        artifacts.push(saved);
        return Promise.resolve({modelArtifactsInfo: {dateSaved: new Date(), modelTopologyType: 'JSON' as const}});
      });
      await model.save(handler, {includeOptimizer: true});
      const loaded = await tf.loadLayersModel(tf.io.fromMemory(artifacts[0]!));
      expect(loaded.optimizer.getClassName()).toBe('tfjs-lora>LoRAAdam');
      const losses = [model, loaded].map(async one => {
        const first = await one.trainOnBatch(x, y);
        return [first, await one.trainOnBatch(x, y)];
      });
      const [expected, actual] = (await Promise.all(losses)) as [number[], number[]];
      expect(actual).toBeAllClose(expected, {rtol: 1e-5, atol: 1e-7});
      [loaded, model, base].forEach(disposeModel);
      tf.dispose([x, y]);
    }));
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
