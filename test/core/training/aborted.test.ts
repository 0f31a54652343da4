import * as tf from '@tensorflow/tfjs';
import {
  adam,
  bestAdapter,
  findLearningRate,
  fitOnFeatures,
  LoRAError,
  type CallProgress,
  progress,
  seededBatches,
} from 'tfjs-lora';
import {withoutLeaks} from '../../helpers';
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
