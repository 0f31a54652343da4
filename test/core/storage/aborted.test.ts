import type * as tf from '@tensorflow/tfjs';
import {
  type Adapter,
  applyLoRA,
  combineAdapters,
  exportPEFT,
  getAdapter,
  loadAdapter,
  loadKerasModel,
  type CallProgress,
  saveAdapter,
  toSafetensors,
} from 'tfjs-lora';
import {withoutLeaks} from '../../helpers';
import {MemoryHandler, mlp, stirFactors} from '../../models';
import {KEY_MAP, peftFiles, smallNetwork} from '../../peftNetworks';

let model: tf.LayersModel;
let network: tf.LayersModel;
let adapter: Adapter;
beforeAll(() => {
  model = applyLoRA(mlp().model, {rank: 2});
  stirFactors(model);
  adapter = getAdapter(model);
  network = smallNetwork().model;
});

interface Options {
  signal: AbortSignal;
  onProgress: (progress: CallProgress) => void;
}

const REASON = new Error('the visitor left');

/** Calls that take a signal, each of which gives something to dispose of, or nothing. */
const CALLS: [name: string, call: (options: Options) => Promise<unknown>][] = [
  ['loadAdapter', async options => loadAdapter(new Blob([await toSafetensors(model)]), options)],
  ['loadAdapter of PEFT', options => loadAdapter(peftFiles('lora'), {model: network, keyMap: KEY_MAP, ...options})],
  ['exportPEFT', options => exportPEFT(model, options)],
  ['combineAdapters with a rank', options => combineAdapters(adapter, {rank: 1, ...options})],
  ['combineAdapters with a budget', options => combineAdapters(adapter, {budget: 25, ...options})],
  [
    'loadKerasModel',
    async options => {
      const handler = new MemoryHandler();
      await network.save(handler);
      return loadKerasModel(handler, options);
    },
  ],
];

/** Answers requests as a server would that has a saved model, or an adapter in the format of tfjs. */
function serve({artifacts}: MemoryHandler): void {
  const {modelTopology, weightSpecs, weightData, ...rest} = artifacts;
  const manifest = {...rest, modelTopology, weightsManifest: [{paths: ['weights.bin'], weights: weightSpecs}]};
  jest.spyOn(globalThis, 'fetch').mockImplementation(input => {
    const isWeights = (input as string).endsWith('weights.bin');
    const body = isWeights ? (weightData as ArrayBuffer) : JSON.stringify(manifest);
    const headers = {'content-type': isWeights ? 'application/octet-stream' : 'application/json'};
    return Promise.resolve(new Response(body, {headers}));
  });
}

/** Handlers of tfjs, which fetch, have errors of their own for what goes wrong in between. */
async function loadFetched(options: Options): Promise<Adapter> {
  const handler = new MemoryHandler();
  await saveAdapter(model, handler);
  serve(handler);
  return loadAdapter('https://example.com/adapter.json', options);
}

const free = (result: unknown) => (result as {dispose?: () => void} | undefined)?.dispose?.();

/** Lets so many turns of the event loop pass. */
async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    await new Promise(resolve => setImmediate(resolve));
  }
}

describe.each([...CALLS, ['loadAdapter of a URL', loadFetched] as const])('%s', (_, call) => {
  test('that is aborted at any moment leaves nothing behind', async () => {
    let aborted = 0;
    for (let moment = 0; moment < 12; moment++) {
      await withoutLeaks(async () => {
        const controller = new AbortController();
        const calling = call({signal: controller.signal, onProgress: () => undefined});
        const outcome = calling.then(free, (error: unknown) => {
          aborted++;
          expect(error).toMatchObject({name: 'LoRAError', code: 'ERR_ABORTED', cause: REASON});
        });
        await (moment === 0 ? undefined : turns(moment - 1));
        controller.abort(REASON);
        await outcome;
        await turns(2);
      });
    }
    expect(aborted).toBeGreaterThan(0);
  });

  test('whose onProgress throws ends with that error, and leaves nothing behind', async () => {
    const reports: CallProgress[] = [];
    free(await call({signal: new AbortController().signal, onProgress: progress => reports.push(progress)}));
    for (const at of reports.keys()) {
      await withoutLeaks(async () => {
        let left = at;
        const onProgress = () => {
          if (left-- === 0) {
            throw REASON;
          }
        };
        await expect(call({signal: new AbortController().signal, onProgress})).rejects.toBe(REASON);
      });
    }
  });
});

test.each([
  ['loadAdapter', (options: Options) => loadAdapter('https://example.com/adapter.json', options)],
  ['loadKerasModel', (options: Options) => loadKerasModel('https://example.com/model.json', options)],
])('%s of a URL that does not answer ends its request when it is aborted', async (_, call) => {
  const signals: AbortSignal[] = [];
  jest.spyOn(globalThis, 'fetch').mockImplementation((_input, init) => {
    const {signal} = init as {signal: AbortSignal};
    signals.push(signal);
    return new Promise((_resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason as Error));
    });
  });
  const controller = new AbortController();
  const calling = call({signal: controller.signal, onProgress: () => undefined});
  setTimeout(() => controller.abort(REASON));
  await expect(calling).rejects.toMatchObject({code: 'ERR_ABORTED', cause: REASON});
  expect(signals.map(({aborted}) => aborted)).toEqual([true]);
});

test('loadKerasModel of a URL ends with what onProgress throws', async () => {
  const handler = new MemoryHandler();
  await network.save(handler);
  serve(handler);
  const onProgress = () => {
    throw REASON;
  };
  await withoutLeaks(() => expect(loadKerasModel('https://example.com/model.json', {onProgress})).rejects.toBe(REASON));
});
