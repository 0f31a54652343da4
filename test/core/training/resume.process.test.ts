import {spawn} from 'node:child_process';
import {readdirSync, readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import {
  adam,
  applyLoRA,
  bestAdapter,
  checkpoint,
  disposeModel,
  learningRateSchedule,
  LoRAError,
  resume,
  seededBatches,
  sgd,
} from 'tfjs-lora';
import {checksumOf} from '../../../src/platform/formats/checksum';
import type {SeededDataset} from '../../../src/core/training/seededBatches';
import type {CheckpointState} from '../../../src/core/training/checkpointFile';
import {bundled} from '../../bundled';
import {BACKENDS, numbers, useBackend, withoutLeaks} from '../../helpers';
import {factorsOf, MemoryHandler, mlp} from '../../models';
import {temporaryFolder} from '../../temporaryFolder';
import {setting} from './setting';

const PROGRAM = bundled(join(__dirname, 'run.ts'));

let folder: string;
beforeEach(() => (folder = temporaryFolder()));

const fitOptions = {batchSize: 4, shuffle: false, verbose: 0} as const;

/** Trains in a process of its own, which is killed after so many steps. Gives what it said. */
async function run(place: string, mode: string, killAfter = Infinity): Promise<string> {
  const child = spawn(process.execPath, [PROGRAM, place, mode], {stdio: ['ignore', 'pipe', 'ignore']});
  let text = '';
  child.stdout.on('data', data => {
    text += String(data);
    if (text.split('STEP').length > killAfter) {
      child.kill('SIGKILL');
    }
  });
  await new Promise(resolve => child.on('close', resolve));
  return text;
}

const endOf = (text: string) => text.slice(text.indexOf('END'));

test.each([
  ['at epochs, in the order of the data', 'fit'],
  ['in the middle of epochs, in a seeded order', 'steps'],
])(
  'a run that is killed and resumed %s ends with the same numbers, bit for bit',
  async (_, mode) => {
    const place = `file://${join(folder, 'run')}`;
    const [whole] = await Promise.all([run(`file://${join(folder, 'whole')}`, mode), run(place, mode, 23)]);
    expect(whole).toMatch(/^FROM 0 0\n/);
    const resumed = await run(place, mode);
    expect(resumed).toMatch(/^FROM [1-9]/);
    expect(endOf(resumed)).toMatch(/^END \[\[-?\d/);
    expect(endOf(resumed)).toBe(endOf(whole));
  },
  180_000,
);

describe.each(BACKENDS)('on %s', backend => {
  beforeAll(() => useBackend(backend));

  test.each([
    ['sgd', () => sgd({learningRate: 0.05})],
    ['adam', () => adam({learningRate: 0.02})],
    ['adam of tfjs', () => tf.train.adam(0.02)],
    ['adamax of tfjs', () => tf.train.adamax(0.02, 0.9, 0.999, 1e-7, 0.1)],
    ['rmsprop of tfjs', () => tf.train.rmsprop(0.01, 0.9, 0.5)],
  ])('a run with %s goes on bit for bit in another model', async (_, make) => {
    const whole = setting(make());
    const callbacks = () => [learningRateSchedule({warmup: 2}), bestAdapter()];
    await whole.model.fit(whole.x, whole.y, {...fitOptions, epochs: 4, callbacks: callbacks()});
    const handler = new MemoryHandler();
    const [first, second] = [setting(make()), setting(make())];
    const stop = new tf.CustomCallback({onEpochEnd: epoch => void (first.model.stopTraining = epoch === 1)});
    await first.model.fit(first.x, first.y, {
      ...fitOptions,
      epochs: 4,
      callbacks: [stop, ...callbacks(), checkpoint(handler)],
    });
    const at = await resume(second.model, handler);
    expect(at).toEqual({initialEpoch: 2, step: 6, passedOver: []});
    await second.model.fit(second.x, second.y, {...fitOptions, epochs: 4, ...at, callbacks: callbacks()});
    expect(second.factors()).toEqual(whole.factors());
    [whole, first, second].forEach(({dispose}) => dispose());
  });
});

describe.each(BACKENDS)('in the middle of an epoch, on %s', backend => {
  beforeAll(() => useBackend(backend));

  /** A run of 3 epochs of 3 batches. What a callback and the history see of losses, and the factors in the end. */
  async function train(place: string, stopAt = Infinity) {
    const optimizer = adam({learningRate: 0.05});
    const {model, x, y, factors, dispose} = setting(optimizer);
    model.compile({optimizer, loss: 'meanSquaredError', metrics: ['mae']});
    const batches = seededBatches(x, y, {batchSize: 5, seed: 3}); // 5, 5 and 2 of 12
    const seen: unknown[] = [];
    let step = 0;
    const witness = new tf.CustomCallback({
      onBatchEnd: () => {
        if (++step === stopAt) {
          throw new Error('killed');
        }
      },
      onEpochEnd: (_, logs) => void seen.push({...logs}),
    });
    const at = await resume(model, place, {batches});
    const callbacks = [witness, bestAdapter({monitor: 'loss'}), checkpoint(place, {batches, everySteps: 1})];
    const fit = model.fitDataset(batches, {epochs: 3, verbose: 0, ...at, callbacks});
    const {history} = await fit.catch((error: unknown) => {
      expect(String(error)).toBe('Error: killed');
      return {history: {}};
    });
    const result = {history: history as Record<string, number[]>, seen, factors: factors()};
    dispose();
    return result;
  }

  test('a run goes on with the losses of whole epochs, and ends with the same adapter', async () => {
    const whole = await train(`file://${join(folder, 'whole')}`);
    expect(whole.history.loss).toHaveLength(3);
    for (const stopAt of [2, 3, 5, 6, 7, 9]) {
      const place = `file://${join(folder, String(stopAt))}`;
      const first = await train(place, stopAt);
      const second = await train(place);
      const epochs = Math.floor((stopAt - 1) / 3);
      expect([first.seen.length, second.seen.length]).toEqual([epochs, 3 - epochs]);
      expect([...first.seen, ...second.seen]).toEqual(whole.seen);
      expect([second.history.loss, second.history.mae]).toEqual(
        [whole.history.loss, whole.history.mae].map(values => values!.slice(epochs)),
      );
      expect(second.factors).toEqual(whole.factors);
    }
  });

  test('a run that is resumed twice in an epoch keeps the sums of both', async () => {
    const whole = await train(`file://${join(folder, 'whole')}`);
    const place = `file://${join(folder, 'run')}`;
    await train(place, 5); // saved at 4
    await train(place, 2); // saved at 5
    const {history, factors} = await train(place);
    expect(history.loss).toEqual(whole.history.loss!.slice(1));
    expect(factors).toEqual(whole.factors);
  });
});

describe('checkpoints', () => {
  beforeAll(() => useBackend('cpu'));

  test('leave no tensor behind, saved, resumed or refused', async () => {
    await withoutLeaks(async () => {
      const {model, x, y, dispose} = setting();
      const handler = new MemoryHandler();
      const fit = async (options: object) =>
        model.fit(x, y, {...fitOptions, epochs: 3, ...options, callbacks: [bestAdapter(), checkpoint(handler)]});
      await fit({epochs: 2});
      await resume(model, handler);
      await fit(await resume(model, handler));
      const other = setting(sgd());
      await expect(resume(other.model, handler)).rejects.toThrow(LoRAError);
      other.dispose();
      dispose();
    });
  });

  test('are kept in turn, and a damaged one is passed over for the one before it', async () => {
    const {model, x, y, dispose} = setting();
    const place = `file://${join(folder, 'run')}`;
    await model.fit(x, y, {...fitOptions, epochs: 3, callbacks: [checkpoint(place)]});
    expect(readdirSync(folder).sort()).toEqual(['run-0', 'run-1']);
    expect(await resume(model, place)).toMatchObject({initialEpoch: 3, passedOver: []});
    const weights = join(folder, 'run-0', 'weights.bin'); // checkpoints 0 and 2
    const bytes = readFileSync(weights);
    bytes[10]! ^= 1;
    writeFileSync(weights, bytes);
    const at = await resume(model, place);
    expect(at.initialEpoch).toBe(2);
    expect(at.passedOver.join()).toContain('weights.bin');
    writeFileSync(join(folder, 'run-1', 'model.json'), '{');
    await expect(resume(model, place)).rejects.toThrow('No checkpoint is of use here');
    dispose();
  });

  test('of another model, optimizer or seed are refused, and nothing is changed', async () => {
    const place = `file://${join(folder, 'run')}`;
    const {model, x, y, dispose} = setting();
    const batches = seededBatches(x, y, {batchSize: 4, seed: 1});
    await model.fitDataset(batches, {epochs: 1, verbose: 0, callbacks: [checkpoint(place, {batches})]});
    const cases: [made: ReturnType<typeof setting>, options: Parameters<typeof resume>[2], message: string][] = [
      [setting(adam(), 1), {}, 'of shape ['],
      [setting(sgd()), {}, 'The optimizer is LoRASGD'],
      [setting(adam({beta1: 0.5})), {}, 'The optimizer is LoRAAdam'],
      [setting(), {batches: seededBatches(x, y, {batchSize: 4, seed: 2})}, 'The seed of the batches is 2, and was 1'],
    ];
    for (const [made, options, message] of cases) {
      const before = made.factors();
      const told = resume(made.model, place, options);
      await expect(told).rejects.toThrow(LoRAError);
      await expect(told).rejects.toThrow(message);
      expect(made.factors()).toEqual(before);
      expect(made.model.optimizer.iterations).toBe(0);
      made.dispose();
    }
    dispose();
  });

  test('of an adapter with another strength are refused, though the tensors fit', async () => {
    const handler = new MemoryHandler();
    const {model, x, y, dispose} = setting();
    await model.fit(x, y, {...fitOptions, epochs: 1, callbacks: [checkpoint(handler)]});
    const {model: base} = mlp();
    const stronger = applyLoRA(base, {rank: 2, alpha: 8, seed: 1});
    stronger.compile({optimizer: adam({learningRate: 0.02}), loss: 'meanSquaredError'});
    const before = factorsOf(stronger).map(weight => numbers(weight.read()));
    await expect(resume(stronger, handler)).rejects.toThrow('the adapter has another strength or method');
    expect(factorsOf(stronger).map(weight => numbers(weight.read()))).toEqual(before);
    [stronger, base].forEach(disposeModel);
    dispose();
  });

  test('of a run with another schedule are not gone on with', async () => {
    const handler = new MemoryHandler();
    const {model, x, y, dispose} = setting();
    const fit = async (options: object, warmup: number) =>
      model.fit(x, y, {
        ...fitOptions,
        epochs: 4,
        ...options,
        callbacks: [learningRateSchedule({warmup, steps: 20}), checkpoint(handler)],
      });
    await fit({epochs: 2}, 2);
    await expect(fit(await resume(model, handler), 3)).rejects.toThrow('warmup: 3, and 2 before');
    await fit(await resume(model, handler), 2);
    dispose();
  });

  test('that callbacks refuse, or do not take, leave no tensor behind and the model as resumed', async () => {
    await withoutLeaks(async () => {
      const handler = new MemoryHandler();
      const {model, x, y, factors, dispose} = setting();
      const fit = async (options: object, ...callbacks: tf.Callback[]) =>
        model.fit(x, y, {...fitOptions, epochs: 4, ...options, callbacks});
      const schedule = (warmup: number) => learningRateSchedule({warmup, steps: 20});
      await fit({epochs: 2}, schedule(2), bestAdapter(), checkpoint(handler));
      for (const callbacks of [
        [bestAdapter(), schedule(3)],
        [schedule(3), bestAdapter()],
        [bestAdapter(), learningRateSchedule({warmup: 2, shape: 'linear', steps: 20})],
      ]) {
        const at = await resume(model, handler);
        const before = factors();
        await expect(fit(at, ...callbacks)).rejects.toThrow('The schedule is another one');
        expect(factors()).toEqual(before);
      }
      await fit(await resume(model, handler), schedule(2));
      dispose();
    });
  });

  test('with a tensor of a name that objects have are refused, and leave nothing', async () => {
    await withoutLeaks(async () => {
      const handler = new MemoryHandler();
      const {model, x, y, dispose} = setting();
      await model.fit(x, y, {...fitOptions, epochs: 1, callbacks: [checkpoint(handler), bestAdapter()]});
      const json = JSON.parse(handler.json) as {weightSpecs: tf.io.WeightsManifestEntry[]};
      json.weightSpecs.at(-1)!.name = '__proto__';
      const load = () => Promise.resolve({...json, weightData: handler.weightData} as unknown as tf.io.ModelArtifacts);
      await expect(resume(model, {load})).rejects.toThrow('its list of tensors');
      dispose();
    });
  });

  test('without a part of the best adapter are not gone on with', async () => {
    await withoutLeaks(async () => {
      const handler = new MemoryHandler();
      const {model, x, y, dispose} = setting();
      await model.fit(x, y, {...fitOptions, epochs: 1, callbacks: [checkpoint(handler), bestAdapter()]});
      const json = JSON.parse(handler.json) as {weightSpecs: tf.io.WeightsManifestEntry[]};
      const place = json.weightSpecs.findIndex(({name}) => name.startsWith('callback/best/'));
      json.weightSpecs[place]!.name = 'other';
      const load = () => Promise.resolve({...json, weightData: handler.weightData} as unknown as tf.io.ModelArtifacts);
      const at = await resume(model, {load});
      await expect(model.fit(x, y, {...fitOptions, epochs: 2, ...at, callbacks: [bestAdapter()]})).rejects.toThrow(
        'which adapter was the best',
      );
      dispose();
    });
  });

  test('with sums of an epoch that are none are not gone on with', async () => {
    await withoutLeaks(async () => {
      const handler = new MemoryHandler();
      const {model, x, y, dispose} = setting();
      const batches = seededBatches(x, y, {batchSize: 4, seed: 1});
      const options = {epochs: 1, verbose: 0};
      await model.fitDataset(batches, {
        ...options,
        callbacks: [checkpoint(handler, {batches, everySteps: 2, keep: 1})],
      });
      (batches as SeededDataset).startAt(0);
      for (const means of [
        {},
        {examples: 1.5, sums: {loss: '1'}},
        {examples: 4, sums: {}},
        {examples: 4, sums: null},
      ]) {
        const json = JSON.parse(handler.json) as {modelTopology: {state: string; checksum: string}};
        const state = JSON.parse(json.modelTopology.state) as CheckpointState;
        Object.assign(state, {epoch: 0, batch: 2, callbacks: {means}});
        json.modelTopology.state = JSON.stringify(state);
        const {weightData} = handler;
        json.modelTopology.checksum = checksumOf(json.modelTopology.state, weightData as ArrayBuffer);
        const load = () => Promise.resolve({...json, weightData} as unknown as tf.io.ModelArtifacts);
        const at = await resume(model, {load}, {batches});
        await expect(model.fitDataset(batches, {...options, ...at})).rejects.toThrow(
          'what the means of its epoch were',
        );
      }
      dispose();
    });
  });

  test('of an epoch without a number for its loss are not written', async () => {
    const handler = new MemoryHandler();
    const {model, x, dispose} = setting();
    const y = tf.fill([12, 3], NaN);
    await model.fit(x, y, {...fitOptions, callbacks: [checkpoint(handler, {everySteps: 1})]});
    expect(handler.json).toBe('');
    y.dispose();
    dispose();
  });

  test('need a place for each, and none is a beginning', async () => {
    const {model, dispose} = setting();
    expect(await resume(model, `file://${join(folder, 'none')}`)).toEqual({initialEpoch: 0, step: 0, passedOver: []});
    expect(() => checkpoint(new MemoryHandler(), {keep: 2})).toThrow('A handler is one place');
    expect(() => checkpoint('file://run.safetensors')).toThrow('cannot be a .safetensors file');
    expect(() => checkpoint(1 as never)).toThrow(LoRAError);
    expect(() => checkpoint('')).toThrow(LoRAError);
    expect(() => checkpoint('x', {everySteps: 0})).toThrow('everySteps');
    expect(() => checkpoint('x', {everyEpochs: 1.5})).toThrow('everyEpochs');
    expect(() => checkpoint('x', {keep: 0})).toThrow('keep');
    expect(() => checkpoint('x', {batches: {} as never})).toThrow('batches');
    const plain = mlp().model;
    await expect(resume(plain, 'file://x')).rejects.toThrow('not compiled');
    disposeModel(plain);
    dispose();
  });

  test.each<[string, (state: CheckpointState) => object]>([
    ['an invalid state', (state: CheckpointState) => ({...state, epoch: -1})],
    ['an invalid state of the optimizer', (state: CheckpointState) => ({...state, optimizer: {names: null}})],
    ['slots that are not there', (state: CheckpointState) => ({...state, optimizer: {...state.optimizer, names: {}}})],
    ['callbacks that are none', (state: CheckpointState) => ({...state, callbacks: []})],
    ...[[-1], [0.5], ['1'], [1, 1]].map((iterations): [string, (state: CheckpointState) => object] => [
      `${JSON.stringify(iterations)} as the steps of the optimizer`,
      state => ({...state, optimizer: {...state.optimizer, iterations}}),
    ]),
  ])('whose checksum is right and that have %s are refused', async (_, change) => {
    const handler = new MemoryHandler();
    const {model, x, y, dispose} = setting();
    await model.fit(x, y, {...fitOptions, callbacks: [checkpoint(handler), bestAdapter()]});
    rewrite(handler, change);
    await expect(resume(model, handler)).rejects.toThrow(LoRAError);
    dispose();
  });

  test('whose tensors are not of the model are refused before anything is changed', async () => {
    const handler = new MemoryHandler();
    const {model, x, y, factors, dispose} = setting();
    await model.fit(x, y, {...fitOptions, callbacks: [checkpoint(handler), bestAdapter()]});
    const before = factors();
    const {weightSpecs} = handler.artifacts;
    for (const kind of ['model/', 'optimizer/', 'callback/best/']) {
      const place = weightSpecs!.findIndex(({name, shape}) => name.startsWith(kind) && shape.length === 2);
      const {shape} = weightSpecs![place]!;
      for (const changed of [
        {shape: [...shape].reverse().concat(1)},
        {dtype: 'int32'},
        {name: 'other'},
        {name: weightSpecs![0]!.name === weightSpecs![place]!.name ? weightSpecs![1]!.name : weightSpecs![0]!.name},
      ]) {
        const json = JSON.parse(handler.json) as {weightSpecs: object[]};
        json.weightSpecs[place] = {...json.weightSpecs[place], ...changed};
        const load = () => Promise.resolve({...json, weightData: handler.weightData} as tf.io.ModelArtifacts);
        const isKept = kind.startsWith('callback') && changed.name === 'other';
        const told = resume(model, {load});
        await (isKept ? told : expect(told).rejects.toThrow(LoRAError));
        expect(factors()).toEqual(before);
      }
    }
    dispose();
  });
});

/** Changes what a checkpoint says, as someone would who knows the checksum. */
function rewrite(handler: MemoryHandler, change: (state: CheckpointState) => object): void {
  const json = JSON.parse(handler.json) as {modelTopology: {state: string; checksum: string}};
  const state = JSON.stringify(change(JSON.parse(json.modelTopology.state) as CheckpointState));
  const checksum = checksumOf(state, handler.weightData as ArrayBuffer);
  handler.json = JSON.stringify({...json, modelTopology: {...json.modelTopology, state, checksum}});
}

describe('seeded batches', () => {
  beforeAll(() => useBackend('cpu'));

  const orderIn = async (batches: ReturnType<typeof seededBatches>) => {
    const seen: number[] = [];
    await batches.forEachAsync(({xs, ys}) => {
      seen.push(...numbers(xs as tf.Tensor));
      expect(numbers(ys as tf.Tensor)).toEqual(numbers(xs as tf.Tensor).map(value => 0 - value));
      tf.dispose([xs, ys] as tf.Tensor[]);
    });
    return seen;
  };

  test('come in another order each epoch, the same for the same seed', async () => {
    const x = tf.range(0, 10);
    const y = tf.neg(x);
    const make = (seed: number) => seededBatches(x, y, {batchSize: 4, seed});
    const one = make(1);
    expect(one.size).toBe(3);
    const [first, second] = [await orderIn(one), await orderIn(one)];
    expect([...first].sort((a, b) => a - b)).toEqual(numbers(x));
    expect(second).not.toEqual(first);
    const again = make(1);
    expect([await orderIn(again), await orderIn(again)]).toEqual([first, second]);
    expect(await orderIn(make(2))).not.toEqual(first);
    const later = make(1);
    (later as SeededDataset).startAt(1, 2);
    expect(await orderIn(later)).toEqual(second.slice(8));
    tf.dispose([x, y]);
  });

  test('of several inputs come as lists or by name', async () => {
    const [a, b] = [tf.range(0, 4), tf.range(4, 8)];
    const iterator = await seededBatches({a, b}, [b], {batchSize: 4, seed: 1}).iterator();
    const {value} = (await iterator.next()) as {value: {xs: Record<string, tf.Tensor>; ys: tf.Tensor[]}};
    expect(numbers(value.xs.b!)).toEqual(numbers(value.xs.a!).map(number => number + 4));
    expect(numbers(value.ys[0]!)).toEqual(numbers(value.xs.b!));
    tf.dispose([a, b, value]);
  });

  test.each([
    [() => seededBatches(tf.ones([2]), tf.ones([3]), {seed: 1}), 'the same number of examples'],
    [() => seededBatches(tf.scalar(1), tf.ones([3]), {seed: 1}), 'xs must be a tensor'],
    [() => seededBatches([], tf.ones([3]), {seed: 1}), 'xs must be a tensor'],
    [() => seededBatches(tf.ones([2]), tf.ones([2]), {} as never), 'seed'],
    [() => seededBatches(tf.ones([2]), tf.ones([2]), {seed: 1, batchSize: 0}), 'batchSize'],
  ])('of unusable tensors or options are refused (%#)', (make, message) => {
    expect(make).toThrow(LoRAError);
    expect(make).toThrow(message);
  });
});
