import * as tf from '@tensorflow/tfjs';
import {
  type Adapter,
  applyLoRA,
  fitOnFeatures,
  getAdapter,
  LoRAError,
  predictWith,
  setAdapter,
  withAdapter,
} from '../../../src/index';
import {MICROTASKS} from '../../../src/core/model/fits';
import {isTraining, trainedIn} from '../../../src/platform/tfjs/training';
import {numbers, random} from '../../helpers';
import {mlp, nested, predictions, reloaded, stirFactors, train} from '../../models';

const CHANGED = /has a different adapter than when this fit began/;

type Callbacks = Partial<tf.CustomCallbackArgs>;

/** A model that is ready to train, another adapter for it, and what it takes to train. */
function setting(make = mlp) {
  const {model, inputs} = make();
  const donor = applyLoRA(model, {rank: 1});
  stirFactors(donor, 7);
  const other = getAdapter(donor);
  const compiled = (lora: tf.LayersModel) => {
    lora.compile({optimizer: 'sgd', loss: 'meanSquaredError'});
    return lora;
  };
  const adapted = compiled(applyLoRA(model, {rank: 2, seed: 1}));
  const x = inputs[0]!;
  const y = random<tf.Rank.R2>([4, 3], 9);
  const fit = (lora = adapted, callbacks: Callbacks = {}) =>
    lora.fit(x, y, {epochs: 4, batchSize: 2, shuffle: false, verbose: 0, callbacks});
  return {model, adapted, other, x, y, fit, compiled, inputs};
}

/** A fit that other code comes in between, and that is not over soon. */
const long: tf.ModelFitArgs = {epochs: 1000, yieldEvery: 'batch', verbose: 0};

const pause = () => new Promise<void>(resolve => setTimeout(resolve));

function values(adapter: Adapter): number[][] {
  return Object.values(adapter.tensors).map(numbers);
}

/** What the model of a setting learns when nobody disturbs it. */
async function undisturbed(make = mlp): Promise<number[][]> {
  const {adapted, fit} = setting(make);
  await fit();
  return values(getAdapter(adapted));
}

describe('a fit is refused its next step', () => {
  test.each<[string, (adapted: tf.LayersModel, other: Adapter) => unknown]>([
    ['setAdapter', (adapted, other) => setAdapter(adapted, other)],
    ['setAdapter of none', adapted => setAdapter(adapted, null)],
    ['a withAdapter that waits', (adapted, other) => withAdapter(adapted, other, pause)],
  ])('after %s, right after it was called', async (_, change) => {
    for (const load of [(lora: tf.LayersModel) => lora, reloaded]) {
      const {adapted, other, fit, compiled} = setting();
      const lora = compiled(await load(adapted));
      const before = values(other);
      const training = fit(lora);
      const changing = change(lora, other);
      await expect(training).rejects.toThrow(LoRAError);
      await changing;
      expect(values(other)).toEqual(before);
      await fit(lora); // one that begins now is in order
    }
  });

  test('and the one after that, though an earlier fit has ended', async () => {
    const {adapted, other, x, y, fit} = setting();
    await fit();
    const training = fit();
    setAdapter(adapted, other);
    await expect(training).rejects.toThrow(CHANGED);
    await fit();
    const next = adapted.fit(x, y, long);
    await pause();
    setAdapter(adapted, null);
    await expect(next).rejects.toThrow(CHANGED);
  });

  test.each<keyof Callbacks>(['onTrainBegin', 'onEpochBegin', 'onBatchBegin', 'onBatchEnd', 'onEpochEnd'])(
    'after setAdapter in %s',
    async name => {
      const {adapted, other, fit} = setting();
      let calls = 0;
      const once = () => {
        if (calls++ === 0) {
          setAdapter(adapted, other);
        }
      };
      await expect(fit(adapted, {[name]: once})).rejects.toThrow(CHANGED);
      expect(hasMoved(adapted, other)).toBe(false);
    },
  );

  test('by fitDataset too', async () => {
    const {adapted, other, x, y} = setting();
    const dataset = tf.data.array([{xs: x, ys: y}]).map(({xs, ys}) => ({xs: tf.clone(xs), ys: tf.clone(ys)}));
    const training = adapted.fitDataset(dataset, {epochs: 3, verbose: 0});
    setAdapter(adapted, other);
    await expect(training).rejects.toThrow(CHANGED);
  });

  test('of a model around the one that changes', async () => {
    const {adapted, other, x, y} = setting();
    const input = tf.input({shape: [5]});
    const around = tf.model({inputs: input, outputs: adapted.apply(input) as tf.SymbolicTensor});
    around.compile({optimizer: 'sgd', loss: 'meanSquaredError'});
    const training = around.fit(x, y, long);
    await pause();
    setAdapter(adapted, other);
    await expect(training).rejects.toThrow(CHANGED);
  });

  test('of a model inside the one that changes', async () => {
    const {adapted, x} = setting(nested);
    const inner = adapted.getLayer('body') as tf.LayersModel;
    inner.compile({optimizer: 'sgd', loss: 'meanSquaredError'});
    const training = inner.fit(x, random([4, 4], 3), {epochs: 4, verbose: 0});
    setAdapter(adapted, null);
    await expect(training).rejects.toThrow(CHANGED);
  });
});

/** Whether training has moved a model away from an adapter that was set. */
function hasMoved(adapted: tf.LayersModel, other: Adapter): boolean {
  const now = getAdapter(adapted);
  const moved = JSON.stringify(values(now)) !== JSON.stringify(values(other));
  now.dispose();
  return moved;
}

describe('a fit is not disturbed by', () => {
  test.each<keyof Callbacks>([
    'onTrainBegin',
    'onEpochBegin',
    'onBatchBegin',
    'onBatchEnd',
    'onEpochEnd',
    'onTrainEnd',
  ])('a withAdapter that %s awaits', async name => {
    const {adapted, other, fit} = setting();
    const seen = new Set<string>();
    await fit(adapted, {
      [name]: () =>
        withAdapter(adapted, other, async () => {
          await pause();
          seen.add(JSON.stringify(values(getAdapter(adapted))));
        }),
    });
    expect([...seen]).toEqual([JSON.stringify(values(other))]);
    expect(values(getAdapter(adapted))).toEqual(await undisturbed());
    await fit();
  });

  test('what returns at once, whenever it comes', async () => {
    const {adapted, other, x, fit} = setting();
    const use = () => {
      withAdapter(adapted, other, () => adapted.predict(x));
      predictWith(adapted, x, [other, null, other, null]);
    };
    const training = fit();
    for (let turn = 0; turn < 60; turn++) {
      use();
      await Promise.resolve();
    }
    await training;
    expect(values(getAdapter(adapted))).toEqual(await undisturbed());
  });

  test('a snapshot of its own adapter that a callback restores', async () => {
    const {adapted, other, fit} = setting();
    let best: Adapter | undefined;
    await fit(adapted, {
      onEpochEnd: epoch => {
        if (epoch === 0) {
          best = getAdapter(adapted);
          setAdapter(adapted, other);
          setAdapter(adapted, best);
        }
        if (epoch === 2) {
          setAdapter(adapted, best!);
        }
      },
    });
    const twoEpochs = setting();
    await twoEpochs.adapted.fit(twoEpochs.x, twoEpochs.y, {epochs: 2, batchSize: 2, shuffle: false, verbose: 0});
    expect(values(getAdapter(adapted))).toEqual(values(getAdapter(twoEpochs.adapted)));
  });

  test('training of another adapter that a callback awaits', async () => {
    const {adapted, other, x, y, fit} = setting();
    const optimizer = tf.train.sgd(0.1);
    let moved = false;
    await fit(adapted, {
      onEpochEnd: () =>
        withAdapter(adapted, other, async () => {
          await pause();
          optimizer.minimize(() =>
            tf.losses.meanSquaredError(y, adapted.apply(x, {training: true}) as tf.Tensor).mean(),
          );
          moved = hasMoved(adapted, other);
        }),
    });
    expect(moved).toBe(true);
    expect(values(getAdapter(adapted))).toEqual(await undisturbed());
  });

  test('an adapter that is set when it has ended, or in its last callback', async () => {
    const {adapted, other, fit} = setting();
    await fit();
    setAdapter(adapted, other);
    await fit(adapted, {onTrainEnd: () => setAdapter(adapted, null)});
    await fit(adapted, {
      onEpochEnd: epoch => {
        if (epoch === 3) {
          setAdapter(adapted, other);
        }
      },
    });
    await fit();
  });

  test('a fit before it that failed, changed or not', async () => {
    const {adapted, other, x, fit} = setting();
    const wrong = adapted.fit(x, tf.zeros([4, 7]), {verbose: 0});
    setAdapter(adapted, other);
    await expect(wrong).rejects.toThrow();
    await fit();
    const callbacks = {
      onBatchBegin: () => {
        setAdapter(adapted, null);
        throw new Error('mine');
      },
    };
    await expect(fit(adapted, callbacks)).rejects.toThrow('mine');
    await fit();
  });
});

test('a fit inside of withAdapter trains that adapter, and the former one is as it was', async () => {
  for (const where of ['model', 'scope']) {
    const {adapted, other, fit} = setting();
    stirFactors(adapted, 70);
    const before = values(getAdapter(adapted));
    const start = values(other);
    const trained = await withAdapter(adapted, other, async scope => {
      await pause();
      await fit(where === 'scope' ? scope.model : adapted);
      return getAdapter(adapted);
    });
    expect(values(trained)).not.toEqual(start);
    expect(values(other)).toEqual(start);
    expect(values(getAdapter(adapted))).toEqual(before);
    const alone = setting();
    setAdapter(alone.adapted, alone.other);
    await alone.fit();
    expect(values(trained)).toEqual(values(getAdapter(alone.adapted)));
  }
});

test('a fit that goes on is not taken along by a snapshot of its adapter that withAdapter sets', async () => {
  const {adapted, fit} = setting();
  const own = getAdapter(adapted);
  const training = fit();
  const other = withAdapter(adapted, own, pause);
  await expect(training).rejects.toThrow(CHANGED);
  await other;
});

test('layers of plain models, and models that sit in two places, train as ever', async () => {
  const inner = tf.sequential({layers: [tf.layers.dense({units: 5, inputShape: [5]})]});
  const input = tf.input({shape: [5]});
  const [layer] = inner.layers as [tf.layers.Layer];
  const output = layer.apply(inner.apply(input)) as tf.SymbolicTensor; // in two containers
  await train(tf.model({inputs: input, outputs: output}), [tf.ones([4, 5])]);
});

describe('fitOnFeatures', () => {
  function late() {
    const {model, inputs} = nested();
    const adapted = applyLoRA(model, {rank: 2, targets: ['head'], seed: 1});
    adapted.compile({optimizer: 'sgd', loss: 'meanSquaredError'});
    const donor = applyLoRA(model, {rank: 1, targets: ['head']});
    const x = inputs[0]!;
    const y = random<tf.Rank.R2>([4, 3], 9);
    const options = {epochs: 3, batchSize: 2, verbose: 0};
    return {adapted, other: getAdapter(donor), x, y, inputs, options};
  }

  test('is a fit that the adapter may not change under, while features are computed or after', async () => {
    const {adapted, other, x, y, options} = late();
    const first = fitOnFeatures(adapted, x, y, options);
    setAdapter(adapted, other);
    await expect(first).rejects.toThrow(CHANGED);
    const second = fitOnFeatures(adapted, x, y, {...options, callbacks: {onEpochEnd: () => setAdapter(adapted, null)}});
    await expect(second).rejects.toThrow(CHANGED);
    await fitOnFeatures(adapted, x, y, options);
    await adapted.fit(x, y, options);
  });

  test('and another fit of the model exclude each other', async () => {
    const {adapted, x, y, options} = late();
    const first = fitOnFeatures(adapted, x, y, options);
    await expect(fitOnFeatures(adapted, x, y, options)).rejects.toThrow(LoRAError);
    await expect(fitOnFeatures(adapted, x, y, options)).rejects.toThrow('The model is already training');
    await expect(adapted.fit(x, y, options)).rejects.toThrow('another fit() call is ongoing');
    await first;
    const fit = adapted.fit(x, y, options);
    await expect(fitOnFeatures(adapted, x, y, options)).rejects.toThrow('The model is already training');
    await fit;
    await fitOnFeatures(adapted, x, y, options);
  });

  test('works inside withAdapter, and together with one that a callback awaits', async () => {
    const {adapted, other, x, y, inputs, options} = late();
    const before = predictions(adapted, inputs);
    const trained = await withAdapter(adapted, other, async () => {
      await fitOnFeatures(adapted, x, y, options);
      return getAdapter(adapted);
    });
    expect(values(trained)).not.toEqual(values(other));
    expect(predictions(adapted, inputs)).toEqual(before);
    await fitOnFeatures(adapted, x, y, {
      ...options,
      callbacks: {onEpochEnd: () => withAdapter(adapted, other, pause)},
    });
    expect(predictions(adapted, inputs)).not.toEqual(before);
  });
});

test('tfjs ends a fit within half of the microtasks that the library waits for it', async () => {
  const {adapted, fit} = setting();
  const counts: Promise<number>[] = [];
  const untilEnd = async () => {
    let count = 0;
    for (; isTraining(trainedIn(adapted)) && count < 10 * MICROTASKS; count++) {
      await Promise.resolve();
    }
    return count;
  };
  await fit(adapted, {onTrainEnd: () => void counts.push(untilEnd())});
  const [count = 0] = await Promise.all(counts);
  expect(count).toBeGreaterThan(0);
  expect(count).toBeLessThanOrEqual(MICROTASKS / 2);
});
