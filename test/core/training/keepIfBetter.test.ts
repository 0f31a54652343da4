import * as tf from '@tensorflow/tfjs';
import {
  accuracy,
  applyLoRA,
  bestAdapter,
  checkpoint,
  disposeModel,
  keepIfBetter,
  learningRateSchedule,
  LoRAError,
  progress,
  resume,
  seededBatches,
  withReplay,
} from 'tfjs-lora';
import {numbers, withoutLeaks} from '../../helpers';
import {MemoryHandler} from '../../models';

const XS = Array.from({length: 40}, (_, i) => (i - 20) / 10);

/** A line through zero, whose slope is `slope`; the base's is 0. */
async function afterFit(
  slope: number,
  options: Partial<Parameters<typeof keepIfBetter>[0]>,
  {ys: targets = XS, loss = 'meanSquaredError'}: {ys?: number[]; loss?: tf.ModelCompileArgs['loss']} = {},
) {
  const base = tf.sequential({
    layers: [tf.layers.dense({units: 1, inputShape: [1], useBias: false, kernelInitializer: 'zeros', name: 'line'})],
  });
  const model = applyLoRA(base, {rank: 1, seed: 1});
  const [xs, ys] = [tf.tensor2d(XS, [40, 1]), tf.tensor2d(targets, [40, 1])];
  const optimizer = tf.train.sgd(0);
  model.compile({optimizer, loss});
  const gate = keepIfBetter({validationData: [xs, ys], ...options});
  const write = new tf.CustomCallback({
    onEpochEnd: () => {
      model.trainableWeights.forEach(weight => {
        const value = weight.name.includes('lora_B') ? slope : 1;
        tf.tidy(() => void weight.write(tf.fill(weight.shape as number[], value)));
      });
      return Promise.resolve();
    },
  });
  await model.fit(xs, ys, {epochs: 1, callbacks: [write, gate]});
  const [found] = tf.tidy(() => numbers(model.predict(tf.ones([1, 1])) as tf.Tensor));
  tf.dispose([xs, ys]);
  optimizer.dispose();
  disposeModel(model);
  disposeModel(base);
  return {gate, found};
}

test('an adapter that is better stays, with the means before and after', async () => {
  await withoutLeaks(async () => {
    const {gate, found} = await afterFit(0.5, {});
    const square = XS.reduce((sum, x) => sum + x * x, 0) / 40;
    expect([gate.before, gate.after]).toBeAllClose([square, 0.25 * square], {rtol: 1e-4, atol: 1e-5});
    expect(gate.kept).toBe(true);
    expect(found).toBeCloseTo(0.5, 5);
    // Each gain is 0.75·x², whose mean is at most this with chance.
    expect(gate.atLeast).toBeGreaterThan(0.5 * 0.75 * square);
    expect(gate.atLeast).toBeLessThan(0.75 * square);
  });
});

test('scores of a function are compared before and after, and higher is better', async () => {
  let calls = 0;
  const gains = [3, 1, 2, 2];
  const scores = () => Promise.resolve(++calls === 1 ? gains : [0, 0, 0, 0]);
  const {gate, found} = await afterFit(0.5, {validationData: undefined, scores});
  expect(gate).toMatchObject({kept: true, before: 0, after: 2});
  expect(found).toBeCloseTo(0.5, 5);
  const worse = await afterFit(0.5, {validationData: undefined, scores: () => (++calls % 2 === 0 ? [4, 5] : [4, 4])});
  expect(worse.gate.kept).toBe(false);
  const none = afterFit(0.5, {validationData: undefined, scores: () => undefined as never});
  await expect(none).rejects.toThrow('scores must return a number for each held-out example, got undefined.');
  expect(() => keepIfBetter({scores: 3 as never})).toThrow('scores must be a function');
  expect(() => keepIfBetter({})).toThrow('validationData must be [xs, ys]');
});

test.each([
  ['one that is worse', -0.5, {}, 'which is not above 0. The earlier adapter is back.'],
  ['a gain below the margin', 0.5, {margin: 2}, 'which is not above 2.'],
  ['one that misses the minimum', 0.5, {minimum: 0.01}, 'which does not reach 0.01.'],
] as const)('%s goes, and the earlier adapter is back', async (_name, slope, options, reason) => {
  await withoutLeaks(async () => {
    const {gate, found} = await afterFit(slope, options);
    expect(gate.kept).toBe(false);
    expect(gate.reason).toContain(reason);
    expect(found).toBe(0);
  });
});

/** The squared error, which takes NaN for 0. */
function blindError(targets: tf.Tensor, outputs: tf.Tensor): tf.Tensor {
  const squares = tf.squaredDifference(targets, outputs);
  return tf.mean(tf.where(tf.isNaN(squares), 0, squares));
}

test.each([
  ['a weight that is NaN', NaN, 'to NaN on 40 examples; the weights of "line" were no longer finite.'],
  ['an infinite weight', Infinity, 'to NaN on 40 examples; the weights of "line" were no longer finite.'],
  ['an infinite error', 1e30, 'to Infinity on 40 examples; for 39 of them it was no longer finite.'],
])('an adapter with %s goes, and the reason says why', async (_name, slope, reason) => {
  const {gate, found} = await afterFit(slope, {});
  expect(gate.kept).toBe(false);
  expect(gate.reason).toContain(`${reason} The earlier adapter is back.`);
  expect(found).toBe(0);
});

test('an adapter with a weight that is NaN goes even if the metric is better', async () => {
  const {gate, found} = await afterFit(NaN, {}, {loss: blindError});
  expect(gate).toMatchObject({kept: false, after: 0});
  expect(gate.reason).toContain('the weights of "line" were no longer finite.');
  expect(found).toBe(0);
});

test.each([
  [0.95, 0.75, '95 % confidence the gain is at least 0.75'],
  [0.5, 1.875, '50 % confidence the gain is at least 1.88'],
])('of two examples a mean exceeds, with a confidence of %d, %d', async (confidence, atLeast, reason) => {
  const [xs, ys] = [tf.tensor2d([1, 2], [2, 1]), tf.tensor2d([1, 2], [2, 1])];
  // The errors 1 and 4 become 0.25 and 1: means of two draws are 0.75, 1.875 and 3, one to two to one.
  const {gate} = await afterFit(0.5, {validationData: [xs, ys], confidence});
  expect(gate.atLeast).toBeCloseTo(atLeast, 6);
  expect(gate.reason).toContain(reason);
});

test('held-out examples are predicted in batches of 32, or of the size that is asked for', async () => {
  const spy = jest.spyOn(tf.LayersModel.prototype, 'predict');
  const counts = () => spy.mock.calls.splice(0).map(([x]) => (x as tf.Tensor).shape[0]);
  await afterFit(0.5, {});
  expect(counts()).toEqual([32, 8, 32, 8, 1]);
  await afterFit(0.5, {batchSize: 15});
  expect(counts()).toEqual([15, 15, 10, 15, 15, 10, 1]);
});

test('the seed of the samples is 0 by default', async () => {
  const bounds: (number | undefined)[] = [];
  for (const options of [{}, {seed: 0}, {seed: 1}]) {
    bounds.push((await afterFit(0.5, options)).gate.atLeast);
  }
  expect(bounds[0]).toBe(bounds[1]);
  expect(bounds[0]).not.toBe(bounds[2]);
});

test('one example whose error becomes infinite is enough', async () => {
  // 1.8e19² is below the largest float32, and (1.8e19 + 2 · 0.5e18)² is not.
  const ys = XS.map((_, i) => (i === 0 ? 1.8e19 : 0));
  const {gate, found} = await afterFit(0.5e18, {}, {ys});
  expect(gate).toMatchObject({kept: false, atLeast: NaN});
  expect(gate.reason).toContain('for 1 of them it was no longer finite.');
  expect(found).toBe(0);
});

describe('with other callbacks', () => {
  /** A line of slope 0, whose slope each epoch sets to the next of `slopes`, and fits with callbacks. */
  function line(slopes: number[]) {
    const base = tf.sequential({
      layers: [tf.layers.dense({units: 1, inputShape: [1], useBias: false, kernelInitializer: 'zeros', name: 'line'})],
    });
    const model = applyLoRA(base, {rank: 1, seed: 1});
    const [xs, ys] = [tf.tensor2d(XS, [40, 1]), tf.tensor2d(XS, [40, 1])];
    const optimizer = tf.train.sgd(0);
    model.compile({optimizer, loss: 'meanSquaredError'});
    const gate = keepIfBetter({validationData: [xs, ys]});
    const write = new tf.CustomCallback({
      onEpochEnd: epoch => {
        model.trainableWeights.forEach(weight => {
          const value = weight.name.includes('lora_B') ? slopes[epoch]! : 1;
          tf.tidy(() => void weight.write(tf.fill(weight.shape as number[], value)));
        });
      },
    });
    const slope = () => tf.tidy(() => numbers(model.predict(tf.ones([1, 1])) as tf.Tensor)[0]!);
    const fit = (...callbacks: (tf.Callback | tf.CustomCallback)[]) =>
      model.fit(xs, ys, {epochs: slopes.length, verbose: 0, callbacks: [write, ...callbacks]});
    const dispose = () => {
      tf.dispose([xs, ys]);
      optimizer.dispose();
      [model, base].forEach(disposeModel);
    };
    return {gate, fit, slope, dispose};
  }

  const losses = (...values: number[]) =>
    new tf.CustomCallback({onEpochEnd: (epoch, logs) => void (logs!.loss = values[epoch]!)});

  test.each(['before', 'after'])('the epoch that bestAdapter takes is judged, with the gate %s it', async order => {
    const {gate, fit, slope} = line([0.5, -1]);
    const best = bestAdapter({monitor: 'loss'});
    await fit(losses(1, 2), ...(order === 'before' ? [gate, best] : [best, gate]));
    expect(gate.kept).toBe(true);
    expect(slope()).toBeCloseTo(0.5, 6);
  });

  test('a fit that another callback ends with an error gets the earlier adapter back, and is not judged', async () => {
    await withoutLeaks(async () => {
      const {gate, fit, slope, dispose} = line([0.5]);
      await fit(gate);
      expect([gate.kept, slope()]).toEqual([true, 0.5]);
      await expect(fit(losses(NaN), bestAdapter({monitor: 'loss'}), gate)).rejects.toThrow(LoRAError);
      expect(gate.kept).toBeUndefined();
      expect(slope()).toBe(0.5);
      dispose();
    });
  });

  test('the adapter before such a fit is the one that comes back', async () => {
    const {gate, fit, slope} = line([0.5]);
    await expect(fit(losses(NaN), bestAdapter({monitor: 'loss'}), gate)).rejects.toThrow(LoRAError);
    expect(slope()).toBe(0);
  });

  test('a fit after one that a stranger’s error ended leaks nothing', async () => {
    await withoutLeaks(async () => {
      const {gate, fit, dispose} = line([0.5]);
      const fail = () => {
        throw new Error('stop');
      };
      await expect(fit(gate, new tf.CustomCallback({onEpochBegin: fail}))).rejects.toThrow('stop');
      await fit(gate);
      dispose();
    });
  });
});

test('an example whose error is infinite with both adapters has no say', async () => {
  const ys = XS.map((x, i) => (i === 7 ? Infinity : x));
  const {gate} = await afterFit(0.5, {}, {ys});
  expect(gate.kept).toBe(true);
  expect(gate.reason).toContain('on 39 examples;');
  expect(Number.isFinite(gate.atLeast)).toBe(true);
});

test('an adapter that changed nothing is not kept, whatever the metric', async () => {
  const base = tf.sequential({
    layers: [
      tf.layers.dense({units: 2, inputShape: [2], useBias: false, kernelInitializer: 'identity', name: 'classes'}),
    ],
  });
  const model = applyLoRA(base, {rank: 1, seed: 1});
  const xs = tf.tensor2d(Array.from({length: 20}, (_, i) => [i % 2, 1 - (i % 2)]));
  const ys = tf.tensor2d(Array.from({length: 20}, (_, i) => [i < 11 ? i % 2 : 1 - (i % 2)]));
  const optimizer = tf.train.sgd(0);
  model.compile({optimizer, loss: 'sparseCategoricalCrossentropy', metrics: [accuracy()]});
  const gate = keepIfBetter({validationData: [xs, ys], metric: 'acc'});
  await model.fit(xs, ys, {epochs: 1, callbacks: [bestAdapter(), gate]});
  expect(gate.before).toBe(gate.after);
  expect(gate).toMatchObject({kept: false, atLeast: 0});
});

test('a resumed run is judged against the adapter before its first part, and leaks nothing', async () => {
  await withoutLeaks(async () => {
    const base = tf.sequential({
      layers: [tf.layers.dense({units: 1, inputShape: [1], useBias: false, kernelInitializer: 'zeros', name: 'line'})],
    });
    const [xs, ys] = [tf.tensor2d(XS, [40, 1]), tf.tensor2d(XS, [40, 1])];
    const place = new MemoryHandler();
    /** Trains an adapter up to an epoch, whose values it sets to the slope. */
    const run = async (epochs: number, slope: number) => {
      const model = applyLoRA(base, {rank: 1, seed: 1});
      const optimizer = tf.train.sgd(0);
      model.compile({optimizer, loss: 'meanSquaredError'});
      const gate = keepIfBetter({validationData: [xs, ys]});
      const write = new tf.CustomCallback({
        onEpochEnd: () => {
          model.trainableWeights.forEach(weight => {
            tf.tidy(() => void weight.write(tf.fill(weight.shape as number[], weight.name.includes('B') ? slope : 1)));
          });
        },
      });
      const at = epochs === 1 ? {} : await resume(model, place);
      await model.fit(xs, ys, {epochs, ...at, callbacks: [write, gate, checkpoint(place)]});
      optimizer.dispose();
      disposeModel(model);
      return gate;
    };
    await run(1, 0.5);
    const gate = await run(2, 0.25);
    const square = XS.reduce((sum, x) => sum + x * x, 0) / 40;
    // Worse than after the first part, but better than before it.
    expect([gate.before, gate.after]).toBeAllClose([square, 0.75 ** 2 * square], {rtol: 1e-4, atol: 1e-5});
    expect(gate.kept).toBe(true);
    tf.dispose([xs, ys]);
    disposeModel(base);
  });
});

test('targets without an axis of columns reach the loss as they do in fit', async () => {
  const model = tf.sequential({layers: [tf.layers.dense({units: 1, inputShape: [1], kernelInitializer: 'zeros'})]});
  const shapes = new Set<string>();
  const loss = (targets: tf.Tensor, outputs: tf.Tensor) => {
    shapes.add(targets.shape.slice(1).join());
    return tf.losses.meanSquaredError(targets, outputs);
  };
  const optimizer = tf.train.sgd(0.1);
  model.compile({optimizer, loss});
  const [xs, ys] = [tf.tensor2d(XS, [40, 1]), tf.tensor1d(XS)];
  await model.fit(xs, ys, {epochs: 1, callbacks: [keepIfBetter({validationData: [xs, ys]})]});
  expect([...shapes]).toEqual(['1']);
});

test('errors say what is wrong', async () => {
  const x = tf.ones([2, 1]);
  const model = tf.sequential({layers: [tf.layers.dense({units: 1, inputShape: [1]})]});
  model.compile({optimizer: 'sgd', loss: 'meanSquaredError'});
  const unknown = keepIfBetter({validationData: [x, x], metric: 'acc'});
  await expect(model.fit(x, x, {callbacks: [unknown]})).rejects.toThrow(
    'There is no "acc" in the logs. There are: loss.',
  );
  expect(() => keepIfBetter({validationData: x as never})).toThrow('validationData must be [xs, ys]');
  expect(() => keepIfBetter({validationData: [x, x], margins: 1} as never)).toThrow('There is no option "margins"');
  expect(() => keepIfBetter({validationData: [x, tf.ones([3, 1])]})).toThrow('got 2 and 3.');
  expect(() => keepIfBetter({validationData: [x, x], metric: ''})).toThrow('metric must be ');
  expect(() => keepIfBetter({validationData: [tf.ones([1, 1]), tf.ones([1, 1])]})).toThrow('at least two, got 1.');
  expect(() => keepIfBetter({validationData: [tf.ones([2]), tf.scalar(1)]})).toThrow('validationData must be [xs, ys]');
  expect(() => withReplay(x as never, {replay: x as never})).toThrow(LoRAError);
  const data = seededBatches(x, x, {seed: 1});
  expect(() => withReplay(data, {replay: data, share: 1})).toThrow(
    'share must be a number above 0 and below 1, got 1.',
  );
});

const numbered = (from: number, count: number) =>
  tf.data.array(Array.from({length: count}, (_, i) => ({xs: from + i, ys: 0})));

test('earlier batches are spread between new ones, and go on in the next pass', async () => {
  const both = withReplay(numbered(0, 4), {replay: numbered(10, 3), share: 1 / 3});
  const pass = async () => (await both.toArray()).map(({xs}) => xs);
  expect(both.size).toBe(6);
  // In double precision, 39 · (1 + 0.35 / 0.65) is 59.99999999999999.
  expect(withReplay(numbered(0, 39), {replay: numbered(0, 1), share: 0.35}).size).toBe(60);
  expect(await pass()).toEqual([0, 1, 10, 2, 3, 11]);
  expect(await pass()).toEqual([0, 1, 12, 2, 3, 10]);
  const empty = withReplay(numbered(0, 4), {replay: numbered(0, 0), share: 0.5});
  await expect(empty.toArray()).rejects.toThrow('replay has no batches');
});

// Of n new batches, share / (1 − share) · n are earlier ones.
test.each([
  [3, 0.2, 20, 15, [4, 4, 3, 4, 4, 4]],
  [1, 0.2, 60, 15, [1, 2, 1, 1, 1, 2]],
  [8, 0.25, 3, 8, [11, 10, 11]],
  [16, 0.2, 2, 8, [20, 20]],
])(
  'passes of %d new batches with a share of %d, %d times, have %d earlier ones',
  async (news, share, times, olds, sizes) => {
    const both = withReplay(numbered(0, news), {replay: numbered(100, 7), share});
    const passes: number[][] = [];
    for (let i = 0; i < times; i++) {
      passes.push((await both.toArray()).map(({xs}) => xs));
    }
    expect(passes.flat().filter(x => x >= 100)).toHaveLength(olds);
    expect(passes.slice(0, sizes.length).map(pass => pass.length)).toEqual(sizes);
    passes.forEach(pass => expect(pass.filter(x => x < 100)).toHaveLength(news));
    expect(both.size * times).toBeCloseTo(news * times + olds, 9);
  },
);

test('a schedule knows all steps of passes that differ in length', async () => {
  const model = tf.sequential({layers: [tf.layers.dense({units: 1, inputShape: [1]})]});
  const optimizer = tf.train.sgd(1);
  model.compile({optimizer, loss: 'meanSquaredError'});
  const [xs, ys] = [tf.zeros([6, 1]), tf.zeros([6, 1])];
  const batches = seededBatches(xs, ys, {batchSize: 2, seed: 1});
  const data = withReplay(batches, {replay: seededBatches(xs, ys, {batchSize: 2, seed: 2}), share: 0.2});
  const rates: number[] = [];
  const reports: (number | undefined)[] = [];
  await model.fitDataset(data, {
    epochs: 4,
    callbacks: [
      learningRateSchedule({shape: 'linear'}),
      progress({onProgress: ({total}) => reports.push(total)}),
      new tf.CustomCallback({
        onBatchBegin: () =>
          Promise.resolve(void rates.push((optimizer as unknown as {learningRate: number}).learningRate)),
      }),
    ],
  });
  // 12 new batches and 3 earlier ones: the rate falls by a fifteenth in each step.
  expect(rates).toBeAllClose(Array.from({length: 15}, (_, i) => 1 - i / 15));
  expect(new Set(reports)).toEqual(new Set([15]));
});
