import * as tf from '@tensorflow/tfjs';
import {
  adam,
  adamW,
  applyLoRA,
  bestAdapter,
  checkpoint,
  clipByGlobalNorm,
  compileModel,
  disposeModel,
  fineTune,
  type FineTuneOptions,
  learningRateSchedule,
  LoRAError,
  seededBatches,
  stopOnNaN,
} from 'tfjs-lora';
import {numbers, random, withoutLeaks} from '../../helpers';
import {factorsOf, MemoryHandler, mlp} from '../../models';

const EPOCHS = 3;
const STEPS = 3 * EPOCHS; // 12 examples in batches of 5

const RECIPE = {loss: 'meanSquaredError', epochs: EPOCHS, batchSize: 5, seed: 7, learningRate: 0.02} as const;

/** An adapted model that is not compiled, with data; the same each time. */
function setting() {
  const {model: base, inputs} = mlp();
  const model = applyLoRA(base, {rank: 2, seed: 1});
  const width = inputs[0]!.shape[1]!;
  const tensors = (examples: number, seed: number): [tf.Tensor, tf.Tensor] => [
    random<tf.Rank.R2>([examples, width], seed),
    random<tf.Rank.R2>([examples, 3], seed + 1),
  ];
  const [data, heldOut] = [tensors(12, 5), tensors(8, 7)];
  const factors = () => factorsOf(model).map(weight => numbers(weight.read()));
  const dispose = () => {
    [model, base].forEach(each => disposeModel(each));
    tf.dispose([inputs, data, heldOut]);
  };
  return {model, data, heldOut, factors, dispose};
}

/** What the long form of plain `compile` and `fitDataset` gives. */
async function longForm(isValidated = true) {
  const {model, data, heldOut, factors, dispose} = setting();
  model.compile({optimizer: clipByGlobalNorm(adam({learningRate: 0.02}), 1), loss: 'meanSquaredError'});
  const best = bestAdapter({patience: 5});
  const {history} = await model.fitDataset(seededBatches(...data, {batchSize: 5, seed: 7}), {
    epochs: EPOCHS,
    verbose: 0,
    ...(isValidated && {validationData: heldOut}),
    callbacks: [learningRateSchedule({warmup: 0.1}), stopOnNaN(), ...(isValidated ? [best] : [])],
  });
  const result = {history, epoch: best.epoch, factors: factors()};
  dispose();
  return result;
}

/** A place in memory, for two checkpoints in turn. */
function memory(): (slot: number) => tf.io.IOHandler {
  const slots = [new MemoryHandler(), new MemoryHandler()];
  return slot => ({
    save: artifacts => slots[slot]!.save(artifacts),
    load: () =>
      slots[slot]!.json === '' ? Promise.reject(Object.assign(new Error(), {code: 'ENOENT'})) : slots[slot]!.load(),
  });
}

/** A callback that throws in a step, counted from 1. */
function killer(at: number): tf.CustomCallback {
  let step = 0;
  return new tf.CustomCallback({
    onBatchEnd: () => {
      if (++step === at) {
        throw new Error('killed');
      }
    },
  });
}

test('gives the bits of the long form, with validation and without', async () => {
  for (const isValidated of [true, false]) {
    const expected = await longForm(isValidated);
    await withoutLeaks(async () => {
      const {model, data, heldOut, factors, dispose} = setting();
      const {history, epoch, resumed} = await fineTune(model, data, {
        ...RECIPE,
        ...(isValidated && {validationData: heldOut}),
      });
      expect(factors()).toEqual(expected.factors);
      expect(history).toEqual(expected.history);
      expect(epoch).toBe(expected.epoch ?? EPOCHS - 1);
      expect(resumed).toBeUndefined();
      dispose();
    });
  }
});

test('compiles no model that is compiled, and one of its own anew in each call', async () => {
  const {model, data, factors, dispose} = setting();
  const loss = 'meanSquaredError';
  await fineTune(model, data, {...RECIPE, optimizer: adamW({learningRate: 0.01}), learningRate: undefined});
  await fineTune(model, data, RECIPE);
  const trained = factors();
  dispose();

  const other = setting();
  await fineTune(other.model, other.data, {...RECIPE, learningRate: undefined, optimizer: adamW({learningRate: 0.01})});
  compileModel(other.model, {optimizer: clipByGlobalNorm(adam({learningRate: 0.02}), 1), loss});
  const {loss: _, learningRate: __, ...training} = RECIPE;
  await expect(fineTune(other.model, other.data, {...training, loss, maxNorm: 2})).rejects.toThrow(
    'The model is compiled already, so loss, maxNorm would have no effect.',
  );
  await fineTune(other.model, other.data, training);
  expect(other.factors()).toEqual(trained);
  other.dispose();
});

test('says which epoch was kept, and why', async () => {
  const {model, data, heldOut, dispose} = setting();
  const last = await fineTune(model, data, RECIPE);
  expect(last).toMatchObject({epoch: 2, reason: 'Epoch 3 was the last one. Epochs were not compared.'});
  const options = {...RECIPE, epochs: 9, learningRate: 1, maxNorm: false, validationData: heldOut} as const;
  const early = await fineTune(model, data, {...options, best: {patience: 1}});
  const losses = early.history.val_loss!;
  expect(losses.length).toBeLessThan(9);
  expect(losses[early.epoch]).toBe(Math.min(...losses));
  expect(early.reason).toBe(
    `Epoch ${early.epoch + 1} of ${losses.length} had the best val_loss, ${losses[early.epoch]}. Training ended ` +
      `${9 - losses.length} epochs early: none was better after it. With 8 validation examples the choice is mostly ` +
      'chance: 100 or more are useful.',
  );
  dispose();
});

test.each(Array.from({length: STEPS}, (_, i) => i + 1))(
  'continues after a kill in step %i, with the same bits',
  async at => {
    const expected = await longForm();
    const place = memory();
    const run = ({model, data, heldOut}: ReturnType<typeof setting>, callbacks: tf.CustomCallback[] = []) =>
      fineTune(model, data, {...RECIPE, validationData: heldOut, checkpoint: place, everySteps: 2, callbacks});
    const killed = setting();
    await expect(run(killed, [killer(at)])).rejects.toThrow('killed');
    killed.dispose();
    await withoutLeaks(async () => {
      const resumed = setting();
      const {history, epoch} = await run(resumed);
      expect(resumed.factors()).toEqual(expected.factors);
      expect(history).toEqual(expected.history);
      expect(epoch).toBe(expected.epoch);
      resumed.dispose();
    });
  },
);

test('a run that is over does not go on, even if it ended early', async () => {
  const place = memory();
  const [first, second] = [setting(), setting()];
  const options = {...RECIPE, epochs: 9, learningRate: 1, maxNorm: false, best: {patience: 1}} as const;
  const run = ({model, data, heldOut}: typeof first) =>
    fineTune(model, data, {...options, validationData: heldOut, checkpoint: place});
  const {resumed: _, ...result} = await run(first);
  expect(await run(second)).toMatchObject(result);
  expect(second.factors()).toEqual(first.factors());
  [first, second].forEach(one => one.dispose());
});

describe('a place with checkpoints of another run', () => {
  const place = memory();

  beforeAll(async () => {
    const {model, data, heldOut, dispose} = setting();
    await fineTune(model, data, {...RECIPE, validationData: heldOut, checkpoint: place});
    dispose();
  });

  const refuse = async (
    message: string | RegExp,
    changes: FineTuneOptions,
    change: (run: ReturnType<typeof setting>) => void = () => undefined,
  ) => {
    const run = setting();
    change(run);
    const options = {...RECIPE, validationData: run.heldOut, checkpoint: place, ...changes};
    const before = run.factors();
    const call = fineTune(run.model, run.data, options);
    await expect(call).rejects.toMatchObject({code: 'ERR_MISFIT'});
    await expect(call).rejects.toThrow(message);
    expect(run.factors()).toEqual(before);
    run.dispose();
  };

  test.each<[FineTuneOptions, string]>([
    [{epochs: 4}, 'It is of another run. epochs: 4, and 3 before.'],
    [{batchSize: 4, seed: 7}, 'batchSize: 4, and 5 before.'],
    [{learningRate: 0.03}, 'learning rate: 0.03, and 0.02 before.'],
    [{schedule: {shape: 'linear'}}, 'schedule: {"shape":"linear"}, and {"warmup":0.1} before.'],
    [{best: false}, 'best: false, and {"patience":5} before.'],
    [{loss: 'meanAbsoluteError'}, 'loss: "meanAbsoluteError", and "meanSquaredError" before.'],
    [{maxNorm: 2}, 'The optimizer is ClipByGlobalNorm {"maxNorm":2'],
    [{seed: 8}, 'The seed of the batches is 8, and was 7.'],
  ])('refuses %j', (options, message) => refuse(message, options));

  test('refuses other examples, even if one value differs', async () => {
    const message = /It is of another run\. training data: 12 examples \(\S+\), and 12 examples \(\S+\) before\./;
    await refuse(message, {}, ({data}) => {
      const values = data[1].dataSync();
      values[35] = values[35]! + 1e-3;
      const changed = tf.tensor(values, data[1].shape);
      data[1].dispose();
      data[1] = changed;
    });
    await refuse('validation data: 8 examples (', {}, ({heldOut}) => {
      heldOut[1].dispose();
      heldOut[1] = random([8, 3], 9);
    });
  });

  test('refuses another base', () =>
    refuse(/base: \d+ weights \(\S+\), and/, {}, ({model}) => {
      const frozen = model.weights.find(({originalName}) => originalName.endsWith('bias'))!;
      frozen.write(tf.tidy(() => tf.add(frozen.read(), 1e-3)));
    }));

  test('refuses checkpoints that the long form wrote', async () => {
    const handler = new MemoryHandler();
    const {model, data, dispose} = setting();
    model.compile({optimizer: clipByGlobalNorm(adam({learningRate: 0.02}), 1), loss: 'meanSquaredError'});
    const batches = seededBatches(...data, {batchSize: 5, seed: 7});
    await model.fitDataset(batches, {epochs: 1, verbose: 0, callbacks: [checkpoint(handler, {batches})]});
    await refuse('It was not written by fineTune', {checkpoint: handler});
    dispose();
  });
});

test('an abort ends the call with the best adapter so far, and saves no unfinished epoch', async () => {
  const whole = await longForm();
  await withoutLeaks(async () => {
    const place = memory();
    const [aborted, resumed] = [setting(), setting()];
    const controller = new AbortController();
    let step = 0;
    const abort = new tf.CustomCallback({
      onBatchEnd: () => {
        // The first of three batches of the second epoch.
        if (++step === 4) {
          controller.abort();
        }
      },
    });
    const run = ({model, data, heldOut}: typeof aborted, options: FineTuneOptions = {}) =>
      fineTune(model, data, {...RECIPE, validationData: heldOut, checkpoint: place, ...options});
    const call = run(aborted, {signal: controller.signal, callbacks: [abort]});
    await expect(call).rejects.toMatchObject({code: 'ERR_ABORTED'});
    await expect(call).rejects.toThrow('The model has its best adapter again, of epoch 1.');
    expect(step).toBe(5); // The library's callback comes first, so it sees the signal a batch later.
    expect((await run(resumed)).resumed).toMatchObject({initialEpoch: 1, step: 3});
    expect(resumed.factors()).toEqual(whole.factors);
    [aborted, resumed].forEach(one => one.dispose());
  });
});

test('a loss that is not finite ends the call, unless that is not wanted', async () => {
  const {model, data, dispose} = setting();
  const [xs, ys] = data;
  const infinite = tf.mul(ys, Infinity);
  const run = (options: FineTuneOptions) => fineTune(model, [xs, infinite], {...RECIPE, best: false, ...options});
  await expect(run({})).rejects.toMatchObject({code: 'ERR_NUMERIC'});
  const {history} = await run({stopOnNaN: false});
  expect(history.loss).toHaveLength(EPOCHS);
  infinite.dispose();
  dispose();
});

test('an error before the first step says that nothing changed', async () => {
  const {model, data, dispose} = setting();
  const unknown = tf.data.generator(function* () {
    yield {xs: data[0], ys: data[1]};
  });
  const call = fineTune(model, unknown as never, {loss: 'meanSquaredError', epochs: 1});
  await expect(call).rejects.toThrow('Pass {steps}. The model has the adapter that it had before.');
  dispose();
});

test('an error leaves the last weights that are finite, and says so', async () => {
  const {model, data, factors, dispose} = setting();
  const poison = new tf.CustomCallback({
    onBatchEnd: batch => {
      if (batch === 1) {
        factorsOf(model)[0]!.write(tf.tidy(() => tf.mul(factorsOf(model)[0]!.read(), NaN)));
      }
    },
  });
  await expect(fineTune(model, data, {...RECIPE, callbacks: [poison]})).rejects.toMatchObject({code: 'ERR_NUMERIC'});
  expect(factors().flat().every(Number.isFinite)).toBe(true);
  const failing = {
    load: () => Promise.reject(new Error('nothing here')),
    save: () => Promise.reject(new LoRAError('full')),
  };
  await expect(fineTune(model, data, {...RECIPE, checkpoint: failing})).rejects.toThrow(/nothing here/);
  const full = {...failing, load: () => Promise.reject(Object.assign(new Error(), {code: 'ENOENT'}))};
  await expect(fineTune(model, data, {...RECIPE, checkpoint: full})).rejects.toThrow(
    'full. The model has the adapter of step 3.',
  );
  dispose();
});

test('refuses what does not fit before anything changes', async () => {
  const {model, data, dispose} = setting();
  const {optimizer} = model;
  const batches = seededBatches(...data, {seed: 1});
  const refuse = (options: FineTuneOptions, message: string, examples: Parameters<typeof fineTune>[1] = data) =>
    expect(fineTune(model, examples, options)).rejects.toThrow(message);
  await refuse({epochs: 0}, 'epochs must be a whole number, 1 or more, got 0.');
  await refuse({everySteps: 2}, 'everySteps is for checkpoints.');
  await refuse({batchSize: 2}, 'batchSize and seed are for tensors.', batches);
  await refuse({validationData: 3 as never}, 'validationData must be [xs, ys], or a dataset of batches, got a number.');
  await refuse({}, 'data must be [xs, ys], or a dataset of batches, got an array.', [data[0]] as never);
  await refuse({optimizer: adam(), learningRate: 1}, 'The optimizer has a learning rate.');
  await refuse({maxNorm: 0}, 'maxNorm must be a number above 0, got 0.');
  await refuse({epoch: 3} as FineTuneOptions, 'There is no option "epoch".');
  expect(model.optimizer).toBe(optimizer);
  dispose();
});
