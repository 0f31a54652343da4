import * as tf from '@tensorflow/tfjs';
import {
  adam,
  applyLoRA,
  bestAdapter,
  type CallProgress,
  checkpoint,
  disposeModel,
  findLearningRate,
  fitOnFeatures,
  LoRAError,
  progress,
  resume,
  seededBatches,
  sgd,
  stopOnNaN,
} from 'tfjs-lora';
import {TrainingCallback} from '../../../src/core/training/callback';
import type {CheckpointState} from '../../../src/core/training/checkpointFile';
import {checksumOf} from '../../../src/platform/formats/checksum';
import {numbers, random, useBackend, withoutLeaks} from '../../helpers';
import {factorsOf, MemoryHandler, mlp} from '../../models';
import {setting} from './setting';

const REASON = new Error('the visitor left');
type Callbacks = NonNullable<Parameters<tf.LayersModel['fit']>[2]>['callbacks'];

/** Aborts a controller in a step, counted from 1. */
function abortingAt(controller: AbortController, step: number): tf.CustomCallback {
  let steps = 0;
  return new tf.CustomCallback({
    onBatchBegin: () => {
      if (++steps === step) {
        controller.abort(REASON);
      }
    },
    onTrainEnd: () => expect(steps).toBe(step), // no step came after it
  });
}

/** Ends a fit by a signal, and shows nothing. */
function stopping(signal: AbortSignal): tf.Callback {
  return progress({signal, onProgress: () => undefined});
}

describe('the signal of progress', () => {
  // 12 examples in batches of 4: three steps an epoch.
  test.each([1, 2, 3, 4, 6])('ends fit and fitDataset after step %i, with the history so far', async step => {
    await withoutLeaks(async () => {
      const {model, x, y, dispose} = setting();
      for (const train of [
        (callbacks: Callbacks) => model.fit(x, y, {epochs: 9, batchSize: 4, verbose: 0, callbacks}),
        (callbacks: Callbacks) =>
          model.fitDataset(seededBatches(x, y, {batchSize: 4, seed: 1}), {epochs: 9, verbose: 0, callbacks}),
      ]) {
        const controller = new AbortController();
        const {epoch, history} = await train([abortingAt(controller, step), stopping(controller.signal)]);
        expect(epoch.length).toBe(Math.ceil(step / 3));
        expect((history.loss as number[]).every(Number.isFinite)).toBe(true);
      }
      const {epoch} = await model.fit(x, y, {
        epochs: 2,
        verbose: 0,
        callbacks: [stopping(new AbortController().signal)],
      });
      expect(epoch).toEqual([0, 1]);
      dispose();
    });
  });

  test.each([undefined, 'val_loss'])('lets bestAdapter restore the best validated epoch, monitor %s', async monitor => {
    await withoutLeaks(async () => {
      const {model, x, y, factors, dispose} = setting(adam({learningRate: 0.05}));
      const controller = new AbortController();
      const best = bestAdapter({monitor});
      let first: number[][] = [];
      const note = new tf.CustomCallback({
        onEpochEnd: epoch => {
          first = epoch === 0 ? factors() : first;
        },
      });
      await model.fit(x, y, {
        ...{epochs: 9, batchSize: 4, verbose: 0, validationData: [x, y]},
        callbacks: [note, abortingAt(controller, 4), best, stopping(controller.signal)],
      });
      expect(best.epoch).toBe(0);
      expect(factors()).toEqual(first);
      dispose();
    });
  });

  test('is a signal, and not what has one', () => {
    for (const value of [null, {}, new AbortController()]) {
      expect(() => stopping(value as AbortSignal)).toThrow(LoRAError);
      expect(() => stopping(value as AbortSignal)).toThrow('signal must be an AbortSignal');
    }
  });
});

describe.each(['tensors', 'a dataset'])('fitOnFeatures of %s', kind => {
  const args = {epochs: 2, batchSize: 4, verbose: 0};

  // Three batches of features, twice with validation; then two epochs of three steps.
  test.each([0, 1, 3, 4, 6, 7, 9, 12])('that is aborted at moment %i leaves nothing behind', async moment => {
    await withoutLeaks(async () => {
      const {model, x, y, factors, dispose} = setting(undefined, 2, ['head']);
      const before = factors();
      const examples = () => seededBatches(x, y, {batchSize: 4, seed: 1});
      const controller = new AbortController();
      let now = 0;
      const tick = () => {
        if (++now === moment) {
          controller.abort(REASON);
        }
      };
      const options = {
        ...args,
        signal: controller.signal,
        onProgress: tick,
        callbacks: new tf.CustomCallback({onBatchEnd: tick}),
      };
      if (moment === 0) {
        controller.abort(REASON);
      }
      const run =
        kind === 'tensors'
          ? fitOnFeatures(model, x, y, {...options, validationData: [x, y]})
          : fitOnFeatures(model, examples(), {...options, validationData: examples()});
      await expect(run).rejects.toMatchObject({name: 'LoRAError', code: 'ERR_ABORTED', cause: REASON});
      expect(now).toBe(moment);
      if (moment <= 6) {
        expect(factors()).toEqual(before);
      }
      expect((await fitOnFeatures(model, x, y, args)).epoch).toEqual([0, 1]);
      dispose();
    });
  });

  test('ends with the error of an onProgress that throws', async () => {
    await withoutLeaks(async () => {
      const {model, x, y, dispose} = setting(undefined, 2, ['head']);
      const onProgress = () => {
        throw REASON;
      };
      const run =
        kind === 'tensors'
          ? fitOnFeatures(model, x, y, {...args, onProgress})
          : fitOnFeatures(model, seededBatches(x, y, {batchSize: 4, seed: 1}), {...args, onProgress});
      await expect(run).rejects.toBe(REASON);
      dispose();
    });
  });
});

describe('findLearningRate', () => {
  test.each([0, 1, 5, 10])('that is aborted at step %i leaves the model as it was', async moment => {
    await withoutLeaks(async () => {
      const {model, x, y, factors, dispose} = setting();
      const before = factors();
      const controller = new AbortController();
      const seen: CallProgress[] = [];
      if (moment === 0) {
        controller.abort(REASON);
      }
      const onProgress = (progress: CallProgress) => {
        if (seen.push(progress) === moment) {
          controller.abort(REASON);
        }
      };
      const run = findLearningRate(model, x, y, {steps: 10, batchSize: 4, signal: controller.signal, onProgress});
      await expect(run).rejects.toMatchObject({code: 'ERR_ABORTED', cause: REASON});
      expect(seen).toEqual(
        Array.from({length: moment}, (_, done) => ({done, total: 10, what: 'trying learning rates'})),
      );
      expect(factors()).toEqual(before);
      expect((await model.fit(x, y, {epochs: 1, verbose: 0})).epoch).toEqual([0]);
      dispose();
    });
  });
});

/** A loss that takes NaN for 0, as kernels that lose NaN do: it stays finite whatever the weights are. */
const forgiving = (labels: tf.Tensor, predictions: tf.Tensor) =>
  tf.tidy(() => {
    const known = tf.where(tf.isNaN(predictions), tf.zerosLike(predictions), predictions);
    return tf.mean(tf.square(tf.sub(labels, known)));
  });

/** An adapted model with a loss that stays finite, and data for three steps an epoch. */
function finiteLossSetting() {
  const {model: base, inputs} = mlp();
  const model = applyLoRA(base, {rank: 2, seed: 1});
  const optimizer = adam({learningRate: 0.01});
  model.compile({optimizer, loss: forgiving});
  const x = random<tf.Rank.R2>([12, 5], 5);
  const y = random<tf.Rank.R2>([12, 3], 6);
  const factors = () => factorsOf(model).map(weight => numbers(weight.read()));
  const fit = (callbacks: (tf.Callback | tf.CustomCallback)[], epochs = 3) =>
    model.fit(x, y, {epochs, batchSize: 4, shuffle: false, verbose: 0, callbacks: callbacks as tf.Callback[]});
  const dispose = () => {
    [model, base].forEach(each => disposeModel(each));
    tf.dispose([inputs, x, y]);
    optimizer.dispose();
  };
  return {model, x, y, factors, fit, dispose};
}

/** Writes a number into the first factor of a model, at the end of a batch. */
function spoil(model: tf.LayersModel, at: {epoch: number; batch: number}, value = NaN): tf.CustomCallback {
  let epoch = 0;
  return new tf.CustomCallback({
    onEpochBegin: number => void (epoch = number),
    onBatchEnd: batch => {
      if (epoch === at.epoch && batch === at.batch) {
        const [first] = factorsOf(model);
        tf.tidy(() => void first!.write(tf.fill(first!.shape as [number], value)));
      }
    },
  });
}

describe('weights that are not finite under a loss that is', () => {
  test.each([NaN, Infinity, -Infinity])('are seen by stopOnNaN in the step that spoilt them (%p)', async value => {
    await withoutLeaks(async () => {
      const {model, factors, fit, dispose} = finiteLossSetting();
      let good: number[][] = [];
      const watch = new tf.CustomCallback({onBatchBegin: batch => void (good = batch === 1 ? factors() : good)});
      const end = fit([watch, spoil(model, {epoch: 0, batch: 1}, value), stopOnNaN()]);
      await expect(end).rejects.toThrow(LoRAError);
      await expect(end).rejects.toThrow(/^In step 2 \(epoch 1, batch 2\) the loss was \d/);
      await expect(end).rejects.toThrow(
        'All weights were finite before it. Its gradients made the weights of "hidden" infinite or NaN. The model has ' +
          'its last finite weights again.',
      );
      expect(factors()).toEqual(good);
      dispose();
    });
  });

  test('are told of each fit anew by one stopOnNaN', async () => {
    await withoutLeaks(async () => {
      const {model, fit, dispose} = finiteLossSetting();
      const stop = stopOnNaN();
      await expect(fit([spoil(model, {epoch: 0, batch: 1}), stop], 1)).rejects.toThrow('In step 2 (epoch 1, batch 2)');
      await fit([stop], 1);
      const before = new tf.CustomCallback({
        onBatchBegin: () => {
          const [first] = factorsOf(model);
          tf.tidy(() => void first!.write(tf.fill(first!.shape as [number], NaN)));
        },
      });
      await expect(fit([before, stop], 1)).rejects.toThrow(
        'Before it, the weights of "hidden" were not finite. The model is as it was before this fit.',
      );
      dispose();
    });
  });

  test('never are the best adapter', async () => {
    await withoutLeaks(async () => {
      const {model, factors, fit, dispose} = finiteLossSetting();
      let first: number[][] = [];
      const scripted = new tf.CustomCallback({
        onEpochEnd: (epoch, logs) => {
          logs!.loss = 3 - epoch;
          first = epoch === 0 ? factors() : first;
        },
      });
      const end = fit([scripted, spoil(model, {epoch: 1, batch: 2}), bestAdapter()]);
      await expect(end).rejects.toThrow(LoRAError);
      await expect(end).rejects.toThrow(
        'In epoch 2 the weights of "hidden" were no longer finite, although the loss was 2. The model has its ' +
          'best adapter again, of epoch 1.',
      );
      expect(factors()).toEqual(first);
      dispose();
    });
  });

  test.each([
    ['at the end of an epoch', {}],
    ['in the middle of one', {everySteps: 2}],
  ])('never are in a checkpoint, %s', async (_, options) => {
    await withoutLeaks(async () => {
      const {model, fit, dispose} = finiteLossSetting();
      const handler = new MemoryHandler();
      await fit([checkpoint(handler)], 1);
      const {json} = handler;
      const reports: string[] = [];
      const bar = new (class extends TrainingCallback {
        override abandon(): void {
          reports.push('abandoned');
        }
      })();
      const end = fit([spoil(model, {epoch: 0, batch: 1}), bar, checkpoint(handler, options)]);
      await expect(end).rejects.toThrow(LoRAError);
      await expect(end).rejects.toThrow(
        /^No checkpoint was saved in epoch 1: hidden\/lora_A[^.]* holds? NaN or an infinity\. Earlier ones are unchanged\./,
      );
      expect(handler.json).toBe(json);
      expect(reports).toEqual(['abandoned']);
      dispose();
    });
  });

  test('are refused where they come from a checkpoint, by name', async () => {
    await withoutLeaks(async () => {
      const {model, factors, fit, dispose} = finiteLossSetting();
      const [good, bad] = [new MemoryHandler(), new MemoryHandler()];
      await fit([checkpoint(good), bestAdapter()], 1);
      const before = factors();
      for (const [name, told] of [
        ['model/head/lora_B', 'head/lora_B holds NaN or an infinity'],
        ['optimizer/0/accumulatedFirstMoment/1', 'slot 0/accumulatedFirstMoment/1 of the optimizer holds NaN'],
        ['callback/best/hidden/lora_A', 'hidden/lora_A, kept as best, holds NaN'],
      ] as const) {
        spoilCheckpoint(good, bad, name);
        await expect(resume(model, bad)).rejects.toThrow(LoRAError);
        await expect(resume(model, bad)).rejects.toThrow(told);
        const place = (slot: number) => (slot === 0 ? good : bad);
        const at = await resume(model, place, {keep: 2});
        expect(at.initialEpoch).toBe(1);
        expect(at.passedOver.join()).toContain(told);
        expect(factors()).toEqual(before);
        await fit([bestAdapter()], 0); // takes what the checkpoint kept for it
      }
      dispose();
    });
  });
});

/** Puts a checkpoint that is later, and holds NaN in one tensor, at another place. */
function spoilCheckpoint(from: MemoryHandler, to: MemoryHandler, name: string): void {
  const {weightSpecs, weightData, modelTopology, ...rest} = from.artifacts;
  const places = weightSpecs!.map(({shape}) => 4 * tf.util.sizeFromShape(shape));
  const index = weightSpecs!.findIndex(spec => spec.name === name);
  expect(index).toBeGreaterThan(-1);
  const data = (weightData as ArrayBuffer).slice(0);
  new DataView(data).setFloat32(
    places.slice(0, index).reduce((sum, size) => sum + size, 0),
    NaN,
    true,
  );
  const topology = modelTopology as {state: string};
  const state = JSON.parse(topology.state) as CheckpointState;
  const text = JSON.stringify({...state, number: state.number + 1});
  const changed = {...topology, state: text, checksum: checksumOf(text, data)};
  to.json = JSON.stringify({...rest, weightSpecs, modelTopology: changed});
  to.weightData = data;
}

describe('what does not train', () => {
  test('may hold infinities, as masks do', async () => {
    const model = tf.sequential({
      layers: [
        tf.layers.dense({units: 2, inputShape: [3], name: 'constant', activation: 'relu', trainable: false}),
        tf.layers.dense({units: 1, name: 'head'}),
      ],
    });
    const [, shift] = model.layers[0]!.weights;
    shift!.write(tf.tensor1d([-Infinity, 0]));
    model.compile({optimizer: sgd({learningRate: 0.1}), loss: 'meanSquaredError'});
    const [x, y] = [tf.ones([4, 3]), tf.ones([4, 1])];
    const handler = new MemoryHandler();
    await model.fit(x, y, {verbose: 0, callbacks: [stopOnNaN(), bestAdapter(), checkpoint(handler)]});
    expect(await resume(model, handler)).toMatchObject({initialEpoch: 1, passedOver: []});
  });
});

test('a sweep ends at the rate that spoils the weights, though the loss is finite', async () => {
  await useBackend('cpu');
  // The gradient is 1: from a rate of 3.4e38 on the step is infinite.
  const model = tf.sequential({layers: [tf.layers.dense({units: 1, useBias: false, inputShape: [1]})]});
  const loss = (_: tf.Tensor, predictions: tf.Tensor) => tf.mean(tf.clipByValue(predictions, -1, 1));
  const [x, y] = [tf.ones([4, 1]), tf.ones([4, 1])];
  model.compile({optimizer: tf.train.sgd(1), loss});
  tf.tidy(() => void model.weights[0]!.write(tf.zeros([1, 1])));
  const {steps} = await findLearningRate(model, x, y, {from: 1e39, to: 1e40, steps: 10, batchSize: 4});
  expect(steps).toHaveLength(1);
  expect(numbers(model.weights[0]!.read())).toEqual([0]);
});

test('weights that are not finite from the start are not taken for spoilt by a step', async () => {
  await useBackend('cpu');
  const {model, factors, fit} = finiteLossSetting();
  const [first] = factorsOf(model);
  tf.tidy(() => void first!.write(tf.fill(first!.shape as [number], NaN)));
  const before = factors();
  const end = fit([stopOnNaN()], 1);
  await expect(end).rejects.toThrow('Before it, the weights of "hidden" were not finite. The model is as it was');
  expect(factors()).toEqual(before);
});
