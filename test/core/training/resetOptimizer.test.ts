import * as tf from '@tensorflow/tfjs';
import {applyLoRA, disposeModel, getAdapter, LoRAError, resetOptimizer, setAdapter} from 'tfjs-lora';
import {numbers, random, useBackend, withoutLeaks} from '../../helpers';
import {factorsOf, mlp, stirFactors} from '../../models';

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
function setting() {
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
  const {adapted, other, fit} = setting();
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
  const {adapted, other, fit} = setting();
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
    const {adapted, other, fit, dispose} = setting();
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
  const {adapted} = setting();
  expect(() => resetOptimizer(adapted)).toThrow(LoRAError);
  expect(() => resetOptimizer(adapted)).toThrow('model.compile');
});
