import * as tf from '@tensorflow/tfjs';
import {
  bestAdapter,
  fitOnFeatures,
  learningRateSchedule,
  LoRAError,
  progress,
  sgd,
  type TrainingProgress,
} from 'tfjs-lora';
import {fakeElement} from './fakeElement';
import {setting} from './setting';

type Callbacks = (tf.Callback | tf.CustomCallback)[];

test('reports steps, epochs, losses, the rate and the time left', async () => {
  const {model, x, y} = setting(sgd({learningRate: 0.01}));
  const seen: TrainingProgress[] = [];
  const {history} = await model.fit(x, y, {
    epochs: 2,
    batchSize: 4,
    verbose: 0,
    callbacks: [progress({onProgress: one => seen.push(one), everySeconds: 0})],
  });
  expect(seen.map(({at, epoch, done}) => [at, epoch, done])).toEqual([
    ...[1, 2, 3].map(step => ['step', 1, step]),
    ['epoch', 1, 3],
    ...[4, 5, 6].map(step => ['step', 2, step]),
    ['epoch', 2, 6],
    ['end', 2, 6],
  ]);
  expect(seen.every(({total, epochs, learningRate}) => total === 6 && epochs === 2 && learningRate === 0.01)).toBe(
    true,
  );
  expect(seen[3]!.logs.loss).toBe(history.loss![0]);
  expect(seen.at(-1)!.logs.loss).toBe(history.loss![1]);
  expect(seen[0]!.secondsLeft).toBeGreaterThan(0);
  expect(seen.at(-1)!.secondsLeft).toBe(0);
});

test('draws a line in a terminal, and into a file the outcome alone', async () => {
  const {model, x, y} = setting(sgd({learningRate: 0.01}));
  const written: string[] = [];
  const write = jest.spyOn(process.stdout, 'write').mockImplementation(text => written.push(String(text)) > 0);
  const {isTTY} = process.stdout;
  const draw = async (terminal: boolean) => {
    process.stdout.isTTY = terminal;
    written.length = 0;
    await model.fit(x, y, {
      epochs: 2,
      batchSize: 4,
      verbose: 0,
      callbacks: [progress({label: 'LoRA', everySeconds: 0})],
    });
    return written.join('');
  };
  try {
    const file = await draw(false);
    expect(file).toMatch(/^\rLoRA {14}█{30} · epoch 2\/2 · 6\/6 steps · loss [\d.]+ · 0 s\n$/);
    const terminal = await draw(true);
    expect(terminal).toMatch(/\rLoRA {14}█{15}░{15} · epoch 1\/2 · 3\/6 steps · loss [\d.]+ · rate 1\.0e-2 · 0 s left/);
    expect(terminal.endsWith('\n')).toBe(true);
  } finally {
    process.stdout.isTTY = isTTY;
    write.mockRestore();
  }
});

test.each([
  [59, '59 s'],
  [65, '1:05 min'],
  [725, '12:05 min'],
])('%i seconds are %s', async (seconds, text) => {
  const {model, x, y} = setting(sgd({learningRate: 0.01}));
  const written: string[] = [];
  const write = jest.spyOn(process.stdout, 'write').mockImplementation(one => written.push(String(one)) > 0);
  const {isTTY} = process.stdout;
  process.stdout.isTTY = false;
  let time = 1000;
  jest.spyOn(tf.util, 'now').mockImplementation(() => time);
  const later = new tf.CustomCallback({onEpochEnd: () => void (time += 1000 * seconds)});
  try {
    await model.fit(x, y, {epochs: 1, verbose: 0, callbacks: [later, progress()]});
    expect(written.join('')).toMatch(new RegExp(` · ${text}\\n$`));
  } finally {
    process.stdout.isTTY = isTTY;
    write.mockRestore();
  }
});

test('a fit without epochs reports its end, without the logs of an earlier one', async () => {
  const {model, x, y} = setting(sgd({learningRate: 0.01}));
  const seen: TrainingProgress[] = [];
  const callbacks = [progress({onProgress: one => seen.push(one), everySeconds: 1e3})];
  await model.fit(x, y, {epochs: 1, batchSize: 4, verbose: 0, callbacks});
  expect(seen.at(-1)!.logs.loss).toBeGreaterThan(0);
  seen.length = 0;
  await model.fit(x, y, {initialEpoch: 1, epochs: 1, batchSize: 4, verbose: 0, callbacks});
  expect(seen).toMatchObject([{at: 'end', secondsLeft: 0}]);
  expect(seen[0]!.logs).toEqual({});
});

test('an epoch of a dataset of unknown size says how many steps the others have', async () => {
  const {model, x, y} = setting(sgd({learningRate: 0.01}));
  const data = tf.data.generator(function* () {
    for (let i = 0; i < 4; i++) {
      yield {xs: x.clone(), ys: y.clone()};
    }
  });
  const seen: TrainingProgress[] = [];
  const callbacks = [progress({onProgress: one => seen.push(one), everySeconds: 0})];
  await model.fitDataset(data, {epochs: 3, verbose: 0, callbacks});
  expect(seen.map(({at, done, total}) => [at, done, total])).toEqual([
    ...[1, 2, 3, 4].map(step => ['step', step, Infinity]),
    ['epoch', 4, 12],
    ...[5, 6, 7, 8].map(step => ['step', step, 12]),
    ['epoch', 8, 12],
    ...[9, 10, 11, 12].map(step => ['step', step, 12]),
    ['epoch', 12, 12],
    ['end', 12, 12],
  ]);
});

test('a line that bestAdapter cuts off with an error ends, and a callback reports each fit that it is used in', async () => {
  const {model, x, y} = setting(sgd({learningRate: 0.01}));
  const written: string[] = [];
  const write = jest.spyOn(process.stdout, 'write').mockImplementation(text => written.push(String(text)) > 0);
  const {isTTY} = process.stdout;
  process.stdout.isTTY = true;
  const poison = new tf.CustomCallback({onEpochEnd: (_, logs) => void (logs!.loss = NaN)});
  const fit = (...callbacks: Callbacks) => model.fit(x, y, {epochs: 1, batchSize: 4, verbose: 0, callbacks});
  try {
    await expect(fit(progress({everySeconds: 0}), poison, bestAdapter({monitor: 'loss'}))).rejects.toThrow(LoRAError);
    expect(written.join('')).toMatch(/3\/3 steps[^\n]*\n$/);
  } finally {
    process.stdout.isTTY = isTTY;
    write.mockRestore();
  }
  const seen: string[] = [];
  const twice = progress({onProgress: ({at}) => seen.push(at), everySeconds: 1e3});
  await fit(twice);
  await fit(twice);
  expect(seen).toEqual(['epoch', 'end', 'epoch', 'end']);
});

test('a fit after one that an error of another callback ended draws on a new line', async () => {
  const {model, x, y} = setting(sgd({learningRate: 0.01}));
  const written: string[] = [];
  const write = jest.spyOn(process.stdout, 'write').mockImplementation(text => written.push(String(text)) > 0);
  const {isTTY} = process.stdout;
  process.stdout.isTTY = true;
  const bar = progress({everySeconds: 0});
  const fit = (...others: Callbacks) =>
    model.fit(x, y, {epochs: 1, batchSize: 4, verbose: 0, callbacks: [bar, ...others]});
  try {
    const fail = () => {
      throw new Error('stop');
    };
    await expect(fit(new tf.CustomCallback({onEpochEnd: fail}))).rejects.toThrow('stop');
    expect(written.join('').split('\n')).toHaveLength(1);
    written.length = 0;
    await fit();
    const [rest, line, end] = written.join('').split('\n');
    expect([rest, end]).toEqual(['', '']);
    expect(line).toMatch(/^\r█{10}░{20} · 1\/3 steps · loss [\d.]+ · rate 1\.0e-2 · 0 s left\r█{20}░{10} · 2\/3 steps/);
  } finally {
    process.stdout.isTTY = isTTY;
    write.mockRestore();
  }
});

test('each fit of one callback has a line', async () => {
  const {model, x, y} = setting(sgd({learningRate: 0.01}));
  const written: string[] = [];
  const write = jest.spyOn(process.stdout, 'write').mockImplementation(text => written.push(String(text)) > 0);
  const {isTTY} = process.stdout;
  process.stdout.isTTY = true;
  const callbacks = [progress({everySeconds: 0})];
  try {
    for (let fit = 0; fit < 2; fit++) {
      await model.fit(x, y, {epochs: 1, batchSize: 4, verbose: 0, callbacks});
    }
  } finally {
    process.stdout.isTTY = isTTY;
    write.mockRestore();
  }
  const lines = written.join('').split('\n');
  expect(lines.map(line => line.slice(0, 2))).toEqual(['\r█', '\r█', '']);
});

describe('in an element', () => {
  /** Fits with a bar in an element. What it shows at the start, after each step, and at the end. */
  const shown = async (label: string, others: (model: tf.LayersModel) => Callbacks = () => []) => {
    const {model, x, y, dispose} = setting(sgd({learningRate: 0.01}));
    const {element, children} = fakeElement();
    const states: [value: number | undefined, text: string][] = [];
    const note = () => void states.push([children[0]!.value, children[1]!.textContent]);
    const noting = new tf.CustomCallback({
      onEpochBegin: epoch => (epoch === 0 ? note() : undefined),
      onBatchEnd: note,
    });
    const write = jest.spyOn(process.stdout, 'write');
    const callbacks = [progress({label, element, everySeconds: 0}), noting, ...others(model)];
    const fit = model.fit(x, y, {epochs: 2, batchSize: 4, verbose: 0, callbacks});
    const error: unknown = await fit.then(
      () => undefined,
      (reason: unknown) => reason,
    );
    note();
    expect(write).not.toHaveBeenCalled();
    write.mockRestore();
    expect(children.map(({tag}) => tag)).toEqual(['progress', 'div']);
    dispose();
    return {states, error, name: children[0]!.attributes['aria-label']};
  };

  test('draws a named bar and a line of text', async () => {
    const {states, name, error} = await shown('LoRA');
    expect({name, error}).toEqual({name: 'LoRA', error: undefined});
    expect(states.map(([value]) => value)).toEqual([undefined, ...[1, 2, 3, 4, 5, 6, 6].map(step => step / 6)]);
    expect(states[0]![1]).toBe('LoRA');
    expect(states[1]![1]).toMatch(/^LoRA · epoch 1\/2 · 1\/6 steps · loss [\d.]+ · rate 1\.0e-2 · 0 s left$/);
    expect(states.at(-1)![1]).toMatch(/^LoRA · done · epoch 2\/2 · 6\/6 steps · loss [\d.]+ · 0 s$/);
    expect((await shown('')).name).toBe('Training');
  });

  test('says that a fit stopped early, or by an error', async () => {
    const stop = (model: tf.LayersModel) => new tf.CustomCallback({onEpochEnd: () => void (model.stopTraining = true)});
    const [, early] = (await shown('', model => [stop(model)])).states.at(-1)!;
    expect(early).toMatch(/^stopped early · epoch 1\/2 · 3\/6 steps · loss [\d.]+ · 0 s$/);
    const poison = new tf.CustomCallback({onEpochEnd: (_, logs) => void (logs!.loss = NaN)});
    const {states, error} = await shown('', () => [poison, bestAdapter()]);
    expect(error).toBeInstanceOf(LoRAError);
    expect(states.at(-1)![1]).toMatch(/^stopped by an error · epoch 1\/2 · 3\/6 steps · .*\d s$/);
  });

  test('starts without a share in each fit', async () => {
    const {model, x, y} = setting(sgd({learningRate: 0.01}));
    const {element, children} = fakeElement();
    const starts: unknown[] = [];
    const noting = new tf.CustomCallback({onEpochBegin: () => void starts.push(children[0]!.value)});
    const callbacks = [progress({element, everySeconds: 0}), noting];
    await model.fit(x, y, {epochs: 1, batchSize: 4, verbose: 0, callbacks});
    expect(children[0]!.value).toBe(1);
    await model.fit(x, y, {epochs: 1, batchSize: 4, verbose: 0, callbacks});
    expect(starts).toEqual([undefined, undefined]);
  });

  test('says so too if the fit cannot begin', async () => {
    const {model, x, y} = setting();
    const {element, children} = fakeElement();
    const data = tf.data.generator(function* () {
      yield {xs: x.clone(), ys: y.clone()};
    });
    const callbacks = [progress({element}), learningRateSchedule()];
    await expect(model.fitDataset(data, {epochs: 1, verbose: 0, callbacks})).rejects.toThrow('Pass {steps}');
    expect(children[1]!.textContent).toBe('stopped by an error');
  });
});

test('counts what fitOnFeatures does before its steps as time that passed, not as their pace', async () => {
  let now = 0;
  jest.spyOn(tf.util, 'now').mockImplementation(() => now);
  const {model, x, y} = setting(sgd({learningRate: 0.01}), 2, ['head']);
  const seen: TrainingProgress[] = [];
  const timed = new tf.CustomCallback({onBatchBegin: () => void (now += 1000)});
  const callbacks = [timed, progress({onProgress: one => seen.push(one)})];
  await fitOnFeatures(model, x, y, {
    epochs: 2,
    batchSize: 4,
    verbose: 0,
    callbacks,
    onProgress: () => void (now += 20_000), // three batches of features
  });
  const times = seen.map(({at, seconds, secondsLeft}) => [at, seconds, secondsLeft]);
  expect(times).toEqual([
    ...[1, 2, 3].map(step => ['step', 60 + step, 6 - step]),
    ['epoch', 63, 3],
    ...[4, 5, 6].map(step => ['step', 60 + step, 6 - step]),
    ['epoch', 66, 0],
    ['end', 66, 0],
  ]);
  await model.fit(x, y, {epochs: 1, batchSize: 4, verbose: 0, callbacks});
  expect(seen.at(-1)!.seconds).toBe(3);
});

test.each([
  [() => progress({label: 1 as never}), 'label'],
  [() => progress({onProgress: 1 as never}), 'onProgress'],
  [() => progress({everySeconds: -1}), 'everySeconds'],
  [() => progress({element: null as never}), 'element must be an element of the page'],
  [() => progress({element: '#training' as never}), "document.getElementById('training') returns, got a string."],
])('an option that is not in its range is refused (%#)', (make, message) => {
  expect(make).toThrow(LoRAError);
  expect(make).toThrow(message);
});
