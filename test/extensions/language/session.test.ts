import * as tf from '@tensorflow/tfjs';
import {applyLoRA, disposeModel, moveTo} from 'tfjs-lora';
import {encodeChats, exportGGUF, loadGGUF, measurePerplexity} from 'tfjs-lora/language';
import {quantizeBase} from 'tfjs-lora/quantized';
import {DecodingSession} from '../../../src/extensions/language/session';
import {withoutLeaks} from '../../helpers';
import {mlp} from '../../models';
import {fileOf} from './ggufFiles';

/**
 * Lets a backend read at once only what was read by a promise before, as webgpu does. The numbers of new tensors are at
 * hand.
 */
function readsByPromise(backend: tf.KernelBackend): jest.SpyInstance[] {
  const made = new WeakSet();
  const known = new WeakSet();
  const {makeOutput} = backend as unknown as {makeOutput: (...args: unknown[]) => tf.TensorInfo};
  const output = (...args: unknown[]) => {
    const info = makeOutput.apply(backend, args);
    made.add(info.dataId);
    return info;
  };
  const read = backend.read.bind(backend);
  const readSync = backend.readSync.bind(backend);
  return [
    jest.spyOn(backend as unknown as {makeOutput: typeof output}, 'makeOutput').mockImplementation(output),
    jest.spyOn(backend, 'read').mockImplementation(dataId => {
      known.add(dataId);
      return read(dataId);
    }),
    jest.spyOn(backend, 'readSync').mockImplementation(dataId => {
      if (made.has(dataId) && !known.has(dataId)) {
        throw new Error('Numbers were read at once.');
      }
      return readSync(dataId);
    }),
  ];
}

test('what was kept of earlier tokens comes along when the model moves between two of them', async () => {
  await tf.setBackend('cpu');
  await tf.setBackend('wasm');
  await withoutLeaks(async () => {
    const {model} = await loadGGUF(fileOf('llama'));
    const written = async (move: () => Promise<void>) => {
      const session = new DecodingSession(model, [[5, 6, 7]]);
      const scores: number[][] = [];
      for (const token of [8, 9, 10]) {
        scores.push(...(await session.logits()).map(row => [...row]));
        session.add([token]);
        await move();
      }
      session.clear();
      return scores.flat();
    };
    const expected = await written(() => Promise.resolve());
    const spies = readsByPromise(tf.backend());
    const actual = await written(() => moveTo(model, 'cpu'));
    spies.forEach(spy => spy.mockRestore());
    expect(actual).toBeAllClose(expected, {rtol: 1e-4, atol: 1e-4});
    disposeModel(model);
    await tf.setBackend('wasm');
  });
});

interface Options {
  signal: AbortSignal;
  onProgress: (progress: {done: number; total: number; what: string}) => void;
}
type Call = (options: Options) => Promise<unknown>;

const REASON = new Error('enough');

/** Aborts a call before it, at each of its reports, and after some time; and lets a report throw. */
async function abortedEverywhere(call: Call): Promise<void> {
  const reports: [done: number, total: number][] = [];
  const run = (moment: number, act: (controller: AbortController) => void) => {
    const controller = new AbortController();
    if (moment < 0) {
      act(controller);
    }
    let count = 0;
    return call({
      signal: controller.signal,
      onProgress: ({done, total}) => {
        reports.push([done, total]);
        if (count++ === moment) {
          act(controller);
        }
      },
    });
  };
  await withoutLeaks(async () => {
    const whole = await run(Infinity, () => undefined);
    if (whole instanceof tf.LayersModel) {
      disposeModel(whole);
    }
  });
  const all = reports.splice(0);
  expect(all.length).toBeGreaterThan(1);
  const [total] = new Set(all.map(([, each]) => each));
  expect(all.at(-1)).toEqual([total, total]);
  expect(all.map(([done]) => done)).toEqual(all.map(([done]) => done).sort((a, b) => a - b));
  const moments = [-1, ...all.keys()].filter((moment, i) => i < 20 || moment === all.length - 1);
  for (const moment of moments) {
    await withoutLeaks(async () => {
      const aborted = run(moment, controller => controller.abort(REASON));
      await expect(aborted).rejects.toMatchObject({code: 'ERR_ABORTED', cause: REASON});
      const thrown = run(Math.max(0, moment), () => {
        throw REASON;
      });
      await expect(thrown).rejects.toBe(REASON);
    });
  }
}

test.each(['llama', 'phi3'])('a load that is aborted leaves nothing: %s', async name => {
  const bytes = fileOf(name);
  for (const source of [() => bytes, () => new Response(new Blob([bytes]).stream())]) {
    await abortedEverywhere(async options => (await loadGGUF(source(), options)).model);
  }
});

test('a load is aborted while it waits for bytes', async () => {
  await withoutLeaks(async () => {
    const bytes = fileOf('qwen2');
    for (const size of [10, 2000, 20_000, bytes.length - 5]) {
      const controller = new AbortController();
      let isCancelled = false;
      const stream = new ReadableStream<Uint8Array>({
        start: sender => sender.enqueue(bytes.subarray(0, size)),
        cancel: () => void (isCancelled = true),
      });
      setTimeout(() => controller.abort(REASON), 30);
      const loading = loadGGUF(new Response(stream), {signal: controller.signal});
      await expect(loading).rejects.toMatchObject({code: 'ERR_ABORTED', cause: REASON});
      expect(isCancelled).toBe(true);
    }
  });
});

test('what is made of texts leaves nothing when it is aborted, and neither does an export', async () => {
  const {model, tokenizer} = await loadGGUF(fileOf('llama'));
  const texts = ['the quick', 'brown fox', 'jumps'];
  await abortedEverywhere(options => measurePerplexity(model, tokenizer, texts, options));
  const records = texts.map(text => ({text}));
  await abortedEverywhere(options => encodeChats(model, tokenizer, records, options));
  const adapted = applyLoRA(model, {rank: 1, targets: [/[qv]_proj$/]});
  await abortedEverywhere(options => exportGGUF(adapted, options));
});

test('quantizing leaves nothing when it is aborted, and the model as it was', async () => {
  const {model} = mlp();
  const x = tf.ones([2, 5]);
  const before = (model.predict(x) as tf.Tensor).dataSync();
  await abortedEverywhere(options => quantizeBase(model, {bits: 8, targets: ['hidden'], ...options}));
  expect((model.predict(x) as tf.Tensor).dataSync()).toEqual(before);
});

test('what is no signal and no function is refused', async () => {
  const wrong = {signal: {}, onProgress: 5} as unknown as Options;
  for (const name of ['signal', 'onProgress'] as const) {
    const options = {[name]: wrong[name]};
    await expect(loadGGUF(fileOf('llama'), options)).rejects.toThrow(`${name} must be`);
    await expect(quantizeBase(mlp().model, {bits: 8, ...options})).rejects.toThrow(`${name} must be`);
  }
});
