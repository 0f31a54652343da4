import * as tf from '@tensorflow/tfjs';
import {
  adam,
  applyLoRA,
  bestAdapter,
  checkpoint,
  findLearningRate,
  fitOnFeatures,
  learningRateSchedule,
  LoRAError,
  resume,
  seededBatches,
  sgd,
  stopOnNaN,
} from 'tfjs-lora';
import {numbers, random, useBackend, withoutLeaks} from '../../helpers';
import {factorsOf, MemoryHandler, mlp} from '../../models';
import {setting} from './setting';

/** Notes the learning rate of each step. */
class Rates extends tf.Callback {
  readonly rates: number[] = [];

  override onBatchEnd(): Promise<void> {
    this.rates.push((this.model.optimizer as unknown as {learningRate: number}).learningRate);
    return Promise.resolve();
  }
}

test('a schedule rises, falls as a cosine, and leaves the rate as it was', async () => {
  const optimizer = sgd({learningRate: 0.1});
  const {model, x, y} = setting(optimizer);
  const rates = new Rates();
  await model.fit(x, y, {
    epochs: 3,
    batchSize: 4,
    verbose: 0,
    callbacks: [learningRateSchedule({warmup: 3}), rates],
  });
  const cosine = [0, 1, 2, 3, 4, 5].map(t => (0.1 * (1 + Math.cos((Math.PI * t) / 6))) / 2);
  expect(rates.rates).toBeAllClose([0.1 / 3, 0.2 / 3, 0.1, ...cosine], {rtol: 1e-12, atol: 1e-12});
  expect(optimizer.getConfig().learningRate).toBe(0.1);
});

test('the best adapter comes back bit for bit, and patience ends the fit', async () => {
  await withoutLeaks(async () => {
    const {model, x, y, factors, dispose} = setting(adam({learningRate: 0.05}));
    const losses = [3, 1, 2, 2, 0];
    const seen: number[][][] = [];
    const scripted = new tf.CustomCallback({
      onEpochEnd: (epoch, logs) => {
        logs!.val_loss = losses[epoch]!;
        seen.push(factors());
      },
    });
    const best = bestAdapter({patience: 2});
    const {epoch} = await model.fit(x, y, {epochs: 5, verbose: 0, callbacks: [scripted, best]});
    expect(epoch).toEqual([0, 1, 2, 3]);
    expect({epoch: best.epoch, value: best.value}).toEqual({epoch: 1, value: 1});
    expect(factors()).toEqual(seen[1]);
    expect(factors()).not.toEqual(seen[3]);
    dispose();
  });
});

test('a loss that is no number ends the fit, names step and layer, and leaves good weights', async () => {
  await withoutLeaks(async () => {
    const {model, x, y, factors, dispose} = setting();
    let good: number[][] = [];
    const poison = new tf.CustomCallback({
      onBatchBegin: batch => {
        if (batch === 2) {
          good = factors();
          const [first] = factorsOf(model);
          tf.tidy(() => void first!.write(tf.fill(first!.shape as [number], NaN)));
        }
      },
    });
    const fit = model.fit(x, y, {epochs: 2, batchSize: 4, verbose: 0, callbacks: [poison, stopOnNaN()]});
    await expect(fit).rejects.toThrow(LoRAError);
    await expect(fit).rejects.toThrow('In step 3 (epoch 1, batch 3) the loss was NaN.');
    await expect(fit).rejects.toThrow('Before it, the weights of "hidden" were not finite.');
    expect(factors().flat().every(Number.isFinite)).toBe(true);
    expect(good.length).toBeGreaterThan(0);
    dispose();
  });
});

describe('a schedule', () => {
  test('without validation data, bestAdapter says once in a fit that it follows the training loss', async () => {
    await useBackend('cpu');
    const warn = jest.spyOn(console, 'warn').mockImplementation();
    try {
      const {model, x, y, dispose} = setting();
      const warningsOf = async (callback: tf.Callback, more: tf.ModelFitArgs = {}) => {
        warn.mockClear();
        await model.fit(x, y, {epochs: 3, verbose: 0, callbacks: [callback], ...more});
        return warn.mock.calls.map(([text]) => String(text));
      };
      expect(await warningsOf(bestAdapter())).toEqual([
        expect.stringContaining('because the fit has no validation data'),
      ]);
      expect(await warningsOf(bestAdapter(), {validationData: [x, y]})).toEqual([]);
      expect(await warningsOf(bestAdapter({monitor: 'loss'}))).toEqual([]);
      dispose();
    } finally {
      warn.mockRestore();
    }
  });

  test.each([
    ['cosine', [0.5, 1, 1, 0.75, 0.25]],
    ['linear', [0.5, 1, 1, 2 / 3, 1 / 3]],
    ['constant', [0.5, 1, 1, 1, 1]],
  ] as const)('of the shape %s has the factors that its formula says', (shape, expected) => {
    const schedule = learningRateSchedule({shape, warmup: 2, steps: 5});
    expect([0, 1, 2, 3, 4].map(step => schedule.factorAt(step))).toBeAllClose([...expected], {rtol: 1e-12, atol: 0});
  });

  test('takes a share of all steps for its warm-up', () => {
    const schedule = learningRateSchedule({warmup: 0.1, steps: 100});
    expect([schedule.factorAt(0), schedule.factorAt(9), schedule.factorAt(10)]).toEqual([0.1, 1, 1]);
  });

  test('works in a loop of one’s own', () => {
    const optimizer = tf.train.sgd(0.4);
    const schedule = learningRateSchedule({shape: 'linear', steps: 4});
    const variable = tf.variable(tf.scalar(0));
    for (let step = 0; step < 4; step++) {
      schedule.set(optimizer, step);
      optimizer.minimize(() => tf.mul(variable, 1), false, [variable]);
    }
    expect(variable.dataSync()[0]).toBeCloseTo(-0.4 * (1 + 0.75 + 0.5 + 0.25), 6);
  });

  test('knows the steps of batches that say how many they are, and asks for them where data do not', async () => {
    const {model, x, y} = setting(sgd({learningRate: 1e-3}));
    const rates = new Rates();
    const schedule = () => learningRateSchedule({shape: 'linear'});
    await model.fitDataset(seededBatches(x, y, {batchSize: 4, seed: 1}), {
      epochs: 2,
      verbose: 0,
      callbacks: [schedule(), rates],
    });
    expect(rates.rates).toBeAllClose(
      [6, 5, 4, 3, 2, 1].map(left => (1e-3 * left) / 6),
      {rtol: 1e-12, atol: 0},
    );
    const endless = tf.data.generator(function* () {
      yield {xs: x.clone(), ys: y.clone()};
    });
    const fit = model.fitDataset(endless, {epochs: 1, verbose: 0, callbacks: [schedule()]});
    await expect(fit).rejects.toThrow('Pass {steps}');
  });
});

describe('the best adapter', () => {
  test('of a plain model is all that trains', async () => {
    const {model, inputs} = mlp();
    model.compile({optimizer: adam({learningRate: 0.1}), loss: 'meanSquaredError'});
    const y = random([inputs[0]!.shape[0], 3], 1);
    let first: number[][] = [];
    const values = () => model.weights.map(weight => numbers(weight.read()));
    const scripted = new tf.CustomCallback({
      onEpochEnd: (epoch, logs) => {
        logs!.loss = epoch;
        first = epoch === 0 ? values() : first;
      },
    });
    await model.fit(inputs[0]!, y, {epochs: 3, verbose: 0, callbacks: [scripted, bestAdapter()]});
    expect(values()).toEqual(first);
  });

  test('takes the larger accuracy for the better one, and any other quantity that is asked for', async () => {
    const {model, x, y} = setting();
    const logs = [{val_acc: 0.2}, {val_acc: 0.6}, {val_acc: 0.5}];
    const scripted = () => new tf.CustomCallback({onEpochEnd: (epoch, all) => void Object.assign(all!, logs[epoch])});
    const [highest, lowest] = [bestAdapter({monitor: 'val_acc'}), bestAdapter({monitor: 'val_acc', mode: 'min'})];
    await model.fit(x, y, {epochs: 3, verbose: 0, callbacks: [scripted(), highest, lowest]});
    expect([highest.epoch, lowest.epoch]).toEqual([1, 0]);
    const coarse = bestAdapter({monitor: 'val_acc', minDelta: 0.5});
    await model.fit(x, y, {epochs: 3, verbose: 0, callbacks: [scripted(), coarse]});
    expect(coarse.epoch).toBe(0);
    const missing = model.fit(x, y, {epochs: 1, verbose: 0, callbacks: [bestAdapter({monitor: 'val_loss'})]});
    await expect(missing).rejects.toThrow('There is no "val_loss" to monitor. The logs of an epoch have: loss.');
  });

  test('is back when the loss is no number, also where another callback ends the fit', async () => {
    for (const callbacks of [
      () => [bestAdapter()],
      () => [bestAdapter(), stopOnNaN()],
      () => [stopOnNaN(), bestAdapter()],
    ]) {
      const {model, x, y, factors} = setting();
      let first: number[][] = [];
      const poison = new tf.CustomCallback({
        onEpochEnd: epoch => {
          first = epoch === 0 ? factors() : first;
        },
        onBatchBegin: () => {
          if (first.length > 0) {
            tf.tidy(() => void factorsOf(model)[0]!.write(tf.fill(factorsOf(model)[0]!.shape as [number], NaN)));
          }
        },
      });
      const fit = model.fit(x, y, {epochs: 4, verbose: 0, callbacks: [poison, ...callbacks()]});
      await expect(fit).rejects.toThrow('The model has its best adapter again, of epoch 1');
      expect(factors()).toEqual(first);
    }
  });

  test('is that of the whole model when it is fitted on features', async () => {
    const {x, y} = setting();
    let first: number[][] = [];
    const suffixed = applyLoRA(mlp().model, {rank: 2, targets: ['head'], seed: 1});
    suffixed.compile({optimizer: adam(), loss: 'meanSquaredError'});
    await fitOnFeatures(suffixed, x, y, {
      epochs: 3,
      verbose: 0,
      callbacks: [
        new tf.CustomCallback({
          onEpochEnd: (epoch, logs) => {
            logs!.loss = epoch;
            first = epoch === 0 ? factorsOf(suffixed).map(weight => numbers(weight.read())) : first;
          },
        }),
        bestAdapter(),
      ],
    });
    expect(factorsOf(suffixed).map(weight => numbers(weight.read()))).toEqual(first);
  });
});

test('with these callbacks alone a fit lets other things have their turn', async () => {
  await useBackend('cpu');
  const {model, x, y} = setting();
  const turns: number[] = [];
  const timer = setInterval(() => turns.push(0), 1);
  let now = 0;
  const clock = jest.spyOn(tf.util, 'now').mockImplementation(() => (now += 40));
  await model.fit(x, y, {epochs: 20, batchSize: 1, verbose: 0, callbacks: [learningRateSchedule(), bestAdapter()]});
  clock.mockRestore();
  clearInterval(timer);
  expect(turns.length).toBeGreaterThan(5);
});

test('a second copy of the library leaves fits as the first has made them', async () => {
  const {fit, fitDataset} = Object.getOwnPropertyDescriptors(tf.LayersModel.prototype);
  jest.doMock('@tensorflow/tfjs', () => tf);
  await jest.isolateModulesAsync(async () => {
    const {TrainingCallback} = await import('../../../src/core/training/callback');
    expect(bestAdapter()).not.toBeInstanceOf(TrainingCallback);
  });
  jest.dontMock('@tensorflow/tfjs');
  const descriptors = Object.getOwnPropertyDescriptors(tf.LayersModel.prototype);
  expect(descriptors.fit.value).toBe(fit.value);
  expect(descriptors.fitDataset.value).toBe(fitDataset.value);
});

test('a list of callbacks and plain objects is refused, in any order, before the fit', async () => {
  await useBackend('cpu');
  const {model, x, y} = setting();
  const object = {onEpochEnd: () => undefined};
  for (const callbacks of [
    [object, bestAdapter()],
    [bestAdapter(), object],
  ] as never[]) {
    const fit = model.fit(x, y, {verbose: 0, callbacks});
    await expect(fit).rejects.toThrow('callbacks: [progress(), new tf.CustomCallback({onEpochEnd})].');
  }
  const data = tf.data.array([{xs: tf.zeros([1, 3]), ys: tf.zeros([1, 2])}]);
  const fit = model.fitDataset(data, {epochs: 1, verbose: 0, callbacks: [bestAdapter(), object] as never});
  await expect(fit).rejects.toThrow(LoRAError);
  const history = await model.fit(x, y, {verbose: 0, callbacks: [object, {onTrainEnd: () => undefined}]});
  expect(history.epoch).toEqual([0]);
});

test.each([
  [() => learningRateSchedule({shape: 'cosin' as never}), 'shape must be one of "cosine", "linear", "constant"'],
  [() => bestAdapter({mode: 'auto' as never}), 'mode'],
  [() => bestAdapter({monitor: ''}), 'monitor'],
  [() => bestAdapter({monitors: 'loss'} as never), 'There is no option "monitors"'],
])('an option that is not in its range is refused (%#)', (make, message) => {
  expect(make).toThrow(LoRAError);
  expect(make).toThrow(message);
});

test('the random numbers of layers go on from a checkpoint, and are as before after a sweep', async () => {
  const {model: base, inputs} = mlp();
  const y = random([inputs[0]!.shape[0], 3], 1);
  const make = () => {
    const model = applyLoRA(base, {rank: 2, seed: 1});
    model.compile({optimizer: adam(), loss: 'meanSquaredError'});
    return {model, layer: model.getLayer('hidden') as unknown as {dropout: {seed: number; step: number}}};
  };
  const seen = (layer: object, seed: number, step: number) =>
    Object.defineProperty(layer, 'dropout', {value: {seed, step}, configurable: true});
  const [first, second] = [make(), make()];
  seen(first.layer, 5, 17);
  seen(second.layer, 6, 0);
  const handler = new MemoryHandler();
  await first.model.fit(inputs[0]!, y, {verbose: 0, callbacks: [checkpoint(handler)]});
  await resume(second.model, handler);
  expect(second.layer.dropout).toEqual({seed: 5, step: 17});
  const sweep = findLearningRate(second.model, inputs[0]!, y, {steps: 10});
  second.layer.dropout.step = 40;
  await sweep;
  expect(second.layer.dropout).toEqual({seed: 5, step: 17});
});

test('a sweep refuses a signal that is none before it begins', async () => {
  const {model, inputs} = mlp();
  model.compile({optimizer: 'sgd', loss: 'meanSquaredError'});
  const signal = {aborted: false} as AbortSignal;
  const sweep = findLearningRate(model, inputs[0]!, tf.zeros([inputs[0]!.shape[0], 3]), {signal});
  await expect(sweep).rejects.toThrow('signal must be an AbortSignal');
});
