import {spawnSync} from 'node:child_process';
import {existsSync} from 'node:fs';
import {join} from 'node:path';
import * as tf from '@tensorflow/tfjs';
import type {Browser, Page} from 'playwright-core';
import {
  accumulate,
  adam,
  adamW,
  applyLoRA,
  bestAdapter,
  checkpoint,
  clipByGlobalNorm,
  disposeModel,
  getAdapter,
  loraPlus,
  LoRAError,
  moveTo,
  resume,
  sgd,
  withAdapter,
} from 'tfjs-lora';
import {WEBGPU_ARGUMENTS} from '../../chromium';
import {describeInBrowser, launchBrowser} from '../../examples/site';
import {numbers, random, useBackend, withoutLeaks} from '../../helpers';
import {describeUnless} from '../../missing';
import {cnn, factorsOf, MemoryHandler} from '../../models';
import {servePage} from '../../servedPage';
import type {} from '../../platform/tfjs/page/page';

const OPTIMIZERS: readonly (readonly [string, () => tf.Optimizer])[] = [
  ['sgd of tfjs', () => tf.train.sgd(0.05)],
  ['momentum of tfjs', () => tf.train.momentum(0.02, 0.9)],
  ['adam of tfjs', () => tf.train.adam(0.01, 0.9, 0.999, 1e-7)],
  ['adamax of tfjs', () => tf.train.adamax(0.01, 0.9, 0.999, 1e-7, 0.1)],
  ['nested ones', () => loraPlus(accumulate(clipByGlobalNorm(adamW({learningRate: 0.01, epsilon: 1e-7}), 1), 2))],
];

/**
 * Trains a model with convolutions and normalizations, three steps before `between` and five after it. Gives its
 * factors.
 */
async function train(optimizer: tf.Optimizer, between: (model: tf.LayersModel, data: tf.Tensor[]) => unknown) {
  const {model: base, inputs} = cnn();
  const model = applyLoRA(base, {rank: 2, targets: ['conv', 'head'], seed: 1});
  model.compile({optimizer, loss: 'categoricalCrossentropy'});
  const x = random<tf.Rank.R4>([6, 6, 6, 2], 5);
  const y = tf.oneHot(tf.tensor1d([0, 1, 2, 0, 1, 2], 'int32'), 3);
  const fit = (epochs: number) => model.fit(x, y, {epochs, batchSize: 2, shuffle: false, verbose: 0});
  await fit(1);
  await between(model, [x, y]);
  await model.fit(x, y, {epochs: 1, batchSize: 2, shuffle: false, verbose: 0});
  const factors = factorsOf(model).flatMap(weight => numbers(weight.read()));
  [model, base].forEach(each => disposeModel(each));
  tf.dispose([inputs, x, y]);
  return factors;
}

test.each((['cpu', 'wasm'] as const).flatMap(from => OPTIMIZERS.map(([name, make]) => [from, name, make] as const)))(
  'a training that moves from %s goes on as if it had not: %s',
  async (from, _, make) => {
    await useBackend(from);
    const to = from === 'cpu' ? 'wasm' : 'cpu';
    const expected = await train(make(), () => undefined);
    const actual = await train(make(), async (model, data) => {
      await withoutLeaks(() => moveTo([model, ...data], to));
      expect(tf.getBackend()).toBe(to);
    });
    expect(actual).toBeAllClose(expected, {rtol: 1e-4, atol: 1e-6});
  },
);

const ROOT = join(__dirname, '../../..');
const hasTfjsNode = existsSync(join(ROOT, 'node_modules/@tensorflow/tfjs-node'));

describeUnless(hasTfjsNode ? undefined : 'There is no tfjs-node here.', 'with tfjs-node', () => {
  test('a training moves between all three backends of Node', () => {
    const {stdout} = spawnSync(process.execPath, ['--import', 'tsx', join(__dirname, 'moves.ts')], {
      cwd: ROOT,
      encoding: 'utf8',
      env: {...process.env, TF_CPP_MIN_LOG_LEVEL: '2'},
    });
    const lines = stdout.split('\n').filter(line => /^(?:MOVE|FAILED) /.test(line));
    const moves = lines.map(line =>
      line.startsWith('MOVE ') ? (JSON.parse(line.slice(5)) as {deviation: number}) : line,
    );
    expect(moves).toHaveLength(18);
    moves.forEach(move => expect(move).toMatchObject({deviation: expect.any(Number) as number}));
    expect(Math.max(...moves.map(move => (move as {deviation: number}).deviation))).toBeLessThan(1e-5);
  }, 120_000);
});

test('it brings adapters and what callbacks are to take', async () => {
  await useBackend('wasm');
  const handler = new MemoryHandler();
  await train(adam(), async (model, [x, y]) => {
    const options = {epochs: 2, shuffle: false, verbose: 0} as const;
    await model.fit(x!, y!, {...options, callbacks: [bestAdapter(), checkpoint(handler)]});
    const at = await resume(model, handler);
    const adapter = getAdapter(model);
    await moveTo([model, adapter, x!, y!], 'cpu');
    const onWasm = tf.engine().registry.wasm!.numDataIds();
    await model.fit(x!, y!, {...options, ...at, epochs: 3, callbacks: [bestAdapter()]});
    withAdapter(model, adapter, () => tf.tidy(() => void model.predict(x!)));
    // Nothing of it was left there to be fetched.
    expect(tf.engine().registry.wasm!.numDataIds()).toBe(onWasm);
    adapter.dispose();
  });
});

test('what cannot be moved is refused, and the backend stays', async () => {
  await useBackend('cpu');
  await train(sgd(), async (model, [x, y]) => {
    for (const [what, where, message] of [
      [5, 'wasm', 'moveTo takes layers models, adapters, optimizers and tensors, or a list of them, got a number.'],
      [[model, null], 'wasm', 'got null'],
      [model, 'wsam', 'There is no backend "wsam". Available: '],
      [{tensors: {a: 1}}, 'wasm', 'adapter'],
    ] as const) {
      await expect(moveTo(what as never, where)).rejects.toThrow(LoRAError);
      await expect(moveTo(what as never, where)).rejects.toThrow(message);
    }
    const fit = model.fit(x!, y!, {verbose: 0});
    await expect(moveTo(model, 'wasm')).rejects.toThrow('The model is training');
    await fit;
    await withAdapter(model, null, async () => {
      await expect(moveTo(model, 'wasm')).rejects.toThrow('A withAdapter on the model is open');
    });
    tf.registerBackend('broken', () => Promise.reject(new Error('No card.')));
    await expect(moveTo(model, 'broken')).rejects.toThrow('The backend "broken" does not start here.');
    tf.removeBackend('broken');
    expect(tf.getBackend()).toBe('cpu');
  });
});

describeInBrowser('in a browser', () => {
  let browser: Browser;
  let served: Awaited<ReturnType<typeof servePage>>;
  let page: Page;

  beforeAll(async () => {
    served = await servePage(join(__dirname, '../../platform/tfjs/page'));
    browser = await launchBrowser(WEBGPU_ARGUMENTS);
    page = await browser.newPage();
  }, 120_000);

  afterAll(async () => {
    await browser.close();
    served.close();
  });

  // Each backend on either side, save for cpu, which is tried above. Tensors move by way of memory, whatever the pair.
  const MOVES = [
    ['webgpu', 'webgl'],
    ['webgl', 'wasm'],
    ['wasm', 'webgpu'],
  ] as const;

  test.each(MOVES)(
    'a training goes on from %s to %s, and needs the former one no more',
    async (from, to) => {
      await page.goto(served.url);
      await page.waitForFunction(() => 'failureOf' in window);
      const losses = await page.evaluate(
        async ([before, after]) => {
          const {tf, lora} = window;
          const {use, setting} = window;
          const optimizers = [
            () => tf.train.sgd(0.05),
            () => tf.train.adam(0.02, 0.9, 0.999, 1e-7),
            () => lora.loraPlus(lora.accumulate(lora.adam({learningRate: 0.02, epsilon: 1e-7}), 2)),
          ];
          const train = async (between: (all: ReturnType<typeof setting>[]) => Promise<void>) => {
            const all = optimizers.map(optimizer => setting(optimizer()));
            const fit = async () => {
              const found: unknown[] = [];
              for (const {model, x, y} of all) {
                const {history} = await model.fit(x, y, {epochs: 2, batchSize: 4, shuffle: false, verbose: 0});
                found.push(...history.loss!);
              }
              return found as number[];
            };
            const first = await fit();
            await between(all);
            return [...first, ...(await fit())];
          };
          await use('cpu');
          const expected = await train(() => Promise.resolve());
          await use(before);
          const actual = await train(async all => {
            await lora.moveTo(
              all.flatMap(({model, x, y}) => [model, x, y]),
              after,
            );
            await use(before);
            if (before.startsWith('webg')) {
              await window.lose();
            }
            await use(after);
          });
          return {expected, actual};
        },
        [from, to] as const,
      );
      expect(losses.actual).toHaveLength(12);
      expect(losses.actual).toBeAllClose(losses.expected, {rtol: 1e-4, atol: 1e-6});
    },
    120_000,
  );

  test('a model that is lost is not moved, and the backend stays', async () => {
    await page.goto(served.url);
    await page.waitForFunction(() => 'failureOf' in window);
    const told = await page.evaluate(async () => {
      await window.use('webgl');
      const {model, x, y} = window.setting('sgd');
      await model.fit(x, y, {verbose: 0});
      await window.lose();
      const failure = await window.failureOf(() => window.lora.moveTo(model, 'cpu'));
      return [failure, window.tf.getBackend()];
    });
    expect(told).toEqual([expect.stringMatching(/^LoRAError: The WebGL context was lost/), 'webgl']);
  });
});
