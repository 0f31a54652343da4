import {join} from 'node:path';
import type {Browser, Page} from 'playwright-core';
import {guardGraphicsCard} from '../../../src/platform/tfjs/guardGraphicsCard';
import {WEBGPU_ARGUMENTS} from '../../chromium';
import {describeInBrowser, launchBrowser} from '../../examples/site';
import {servePage} from '../../servedPage';
import type {} from './page/page';

jest.setTimeout(120_000);

describeInBrowser('a graphics card that is lost', () => {
  let browser: Browser;
  let served: Awaited<ReturnType<typeof servePage>>;
  let page: Page;

  beforeAll(async () => {
    served = await servePage(join(__dirname, 'page'));
    browser = await launchBrowser(WEBGPU_ARGUMENTS);
  });

  afterAll(async () => {
    await browser.close();
    served.close();
  });

  beforeEach(async () => {
    page = await (await browser.newContext()).newPage();
    await page.goto(served.url);
    await page.waitForFunction(() => 'failureOf' in window);
  });

  afterEach(() => page.context().close());

  const CARDS = [
    ['webgl', false, /^LoRAError: The WebGL context was lost/],
    ['webgl', true, /^LoRAError: The WebGL context was lost/],
    ['webgpu', false, /^LoRAError: The WebGPU device was lost/],
  ] as const;

  test.each(CARDS)(
    '%s (restored: %p) refuses what was on it, there and on cpu, until it is set again',
    async (...card) => {
      const [backend, restore, message] = card;
      const result = await page.evaluate(
        async ([name, again]) => {
          const {tf, lora, failureOf} = window;
          await window.use(name);
          const {base, model, x, y} = window.setting('sgd');
          await model.fit(x, y, {verbose: 0});
          await lora.saveAdapter(model, 'indexeddb://tuned');
          const saved = await lora.toSafetensors(lora.getAdapter(model));
          await model.fit(x, y, {verbose: 0});
          await window.lose(again);
          const attempts = {
            save: () => lora.saveAdapter(model, 'indexeddb://tuned'),
            bytes: () => lora.toSafetensors(lora.getAdapter(model)),
            merge: () => lora.safeMergeLoRA(model),
            predict: () => (model.predict(x) as import('@tensorflow/tfjs').Tensor).data(),
            plain: () => (base.predict(x) as import('@tensorflow/tfjs').Tensor).data(),
            fit: () => model.fit(x, y, {verbose: 0}),
          };
          const failures: string[] = [];
          const tryAll = async () => {
            for (const attempt of Object.values(attempts)) {
              failures.push(await failureOf(attempt));
            }
          };
          await tryAll();
          await window.use('cpu');
          await tryAll();
          // What is stored is what was saved before, and counts again once it is set.
          const adapter = await lora.loadAdapter('indexeddb://tuned');
          lora.setAdapter(model, adapter);
          const set = await lora.toSafetensors(lora.getAdapter(model));
          const withoutBase = await failureOf(attempts.merge);
          model.setWeights(model.weights.map(({shape}) => tf.ones(shape as number[])));
          const ones = tf.ones([2, 5]);
          const prediction = await (model.predict(ones) as import('@tensorflow/tfjs').Tensor).data();
          return {failures, same: saved.join() === set.join(), withoutBase, prediction: Array.from(prediction)};
        },
        [backend, restore] as const,
      );
      expect(result.failures).toHaveLength(12);
      [...result.failures, result.withoutBase].forEach(text => expect(text).toMatch(message));
      expect(result.same).toBe(true);
      // Of ones alone: tanh(5 + 1 + 5 · 2), six times and once more, plus the updates of rank 2 with a scale of 1.
      expect(new Set(result.prediction).size).toBe(1);
      expect(result.prediction[0]).toBeCloseTo(6 + 1 + 6 * 2, 5);
    },
  );

  // The callbacks are the same code on all cards.
  const FITS = {
    'webgl for good': [
      ['model', 'checkpoint'],
      ['base', 'stopOnNaN'],
      ['base', 'progress'],
    ],
    'webgl for a while': [['model', 'none']],
    'webgpu for good': [['base', 'none']],
  } as const;

  describe.each(CARDS)('%s (restored: %p) in the middle of a fit', (backend, restore, message) => {
    test.each<readonly ['model' | 'base', 'none' | 'checkpoint' | 'stopOnNaN' | 'progress']>(
      FITS[`${backend} for ${restore ? 'a while' : 'good'}` as keyof typeof FITS],
    )('ends it for the %s, with the callback %s', async (...kind) => {
      const failure = await page.evaluate(
        async ([on, again, which, callback]) => {
          const {tf, lora} = window;
          await window.use(on);
          const all = window.setting('sgd');
          all.base.compile({optimizer: 'adam', loss: 'meanSquaredError'});
          const losing = new tf.CustomCallback({
            onBatchEnd: batch => (batch === 1 ? window.lose(again) : undefined),
          }) as unknown as import('@tensorflow/tfjs').Callback;
          const ours = {
            none: () => [],
            stopOnNaN: () => [lora.stopOnNaN()],
            progress: () => [lora.progress({onProgress: () => undefined, everySeconds: 0})],
            checkpoint: () => [lora.checkpoint('indexeddb://run'), lora.bestAdapter()],
          };
          const callbacks = [losing, ...ours[callback]()];
          return window.failureOf(
            () => all[which].fit(all.x, all.y, {epochs: 5, batchSize: 4, verbose: 0, callbacks}),
            20_000,
          );
        },
        [backend, restore, ...kind] as const,
      );
      expect(failure).toMatch(message);
    });
  });

  test.each(['webgl', 'webgpu'])('%s fails a save that is under way', async backend => {
    const failure = await page.evaluate(async name => {
      const {lora} = window;
      await window.use(name);
      const {model, x, y} = window.setting('sgd');
      await model.fit(x, y, {verbose: 0});
      const saving = window.failureOf(() => lora.saveAdapter(model, 'indexeddb://tuned'));
      await window.lose();
      return saving;
    }, backend);
    expect(failure).toMatch(/^LoRAError: The Web.* was lost/);
  });

  test('numbers in memory are saved, whatever was lost', async () => {
    const failure = await page.evaluate(async () => {
      const {lora, tf} = window;
      await window.use('webgl');
      const {model, x, y} = window.setting('sgd');
      await model.fit(x, y, {verbose: 0});
      const adapter = lora.getAdapter(model);
      await Promise.all(Object.values(adapter.tensors).map(tensor => tensor.data()));
      await window.lose();
      await tf.setBackend('cpu');
      return window.failureOf(() => lora.saveAdapter(adapter, 'indexeddb://tuned'));
    });
    expect(failure).toBe('It succeeded.');
  });

  test("on webgpu the library's Adam reads nothing synchronously", async () => {
    const failure = await page.evaluate(async () => {
      await window.use('webgpu');
      const {model, x, y} = window.setting();
      return window.failureOf(() => model.fit(x, y, {epochs: 5, batchSize: 4, verbose: 0}), 20_000);
    });
    expect(failure).toBe('It succeeded.');
  });

  test('webgpu returns correct values synchronously, or refuses to', async () => {
    const results = await page.evaluate(async () => {
      const {tf} = window;
      await window.use('webgpu');
      const sum = tf.add([1, 2], 1);
      const attempt = async (numbers: () => ArrayLike<number>) => {
        let found: number[] = [];
        const failure = await window.failureOf(() => (found = Array.from(numbers())));
        return failure === 'It succeeded.' ? found.join() : failure;
      };
      const read = await attempt(() => sum.dataSync());
      await tf.setBackend('cpu');
      return [read, await attempt(() => tf.add(sum, 0).dataSync())];
    });
    results.forEach(result =>
      expect(result).toMatch(/^(2,3|LoRAError: The (webgpu backend cannot|WebGPU device was).*)$/),
    );
  });
});

describe('a WebGPU device that does not say yet that it is lost', () => {
  /** As tfjs's backend, with numbers by name. A device that is gone gives zeros. */
  function webgpu(given: Record<string, number[]>) {
    const device = {isGone: false, say: () => undefined as unknown};
    const entry = (numbers: readonly number[]) => ({card: numbers, values: null as Float32Array | null});
    const tensorMap = new Map<unknown, ReturnType<typeof entry>>(
      Object.entries(given).map(([name, numbers]) => [name, entry(numbers)]),
    );
    const backend = {
      device: {lost: new Promise(resolve => (device.say = () => resolve('lost')))},
      tensorMap,
      read: (dataId: unknown) => Promise.resolve(backend.readSync(dataId)),
      readSync: (dataId: unknown) => {
        const numbers = tensorMap.get(dataId)!;
        numbers.values ??= Float32Array.from(numbers.card, value => (device.isGone ? 0 : value));
        return numbers.values;
      },
      makeTensorInfo: (_shape: number[], _dtype: string, values: Float32Array) => {
        const dataId = {};
        tensorMap.set(dataId, entry([...values]));
        return {dataId};
      },
      uploadToGPU: () => undefined,
      disposeData: (dataId: unknown) => tensorMap.delete(dataId),
      runWebGPUProgram: () => ({}),
    };
    guardGraphicsCard(backend);
    return {backend, device};
  }

  test('gives no zeros for numbers, now or later, and zeros only where these are the numbers', () => {
    const {backend, device} = webgpu({first: [1, 2], zeros: [0, 0], second: [3, 4]});
    expect(backend.readSync('first')).toEqual(Float32Array.of(1, 2));
    expect(backend.readSync('zeros')).toEqual(Float32Array.of(0, 0));
    device.isGone = true;
    expect(() => backend.readSync('second')).toThrow(/or its device was just lost/);
    expect(() => backend.readSync('second')).toThrow(/or its device was just lost/);
    expect(backend.readSync('first')).toEqual(Float32Array.of(1, 2)); // in memory
  });

  test('is reported as lost as soon as it says so, though it could not be read before', async () => {
    const {backend, device} = webgpu({numbers: [1, 2]});
    device.isGone = true;
    expect(() => backend.readSync('numbers')).toThrow(/cannot read synchronously here/);
    device.say();
    await backend.device.lost;
    expect(() => backend.readSync('numbers')).toThrow(/WebGPU device was lost/);
    await expect(backend.read('numbers')).rejects.toThrow(/WebGPU device was lost/);
  });
});
