import {mkdtempSync, rmSync} from 'node:fs';
import {createServer, type Server} from 'node:http';
import type {AddressInfo} from 'node:net';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {pathToFileURL} from 'node:url';
import * as tf from '@tensorflow/tfjs';
import type * as tf from '@tensorflow/tfjs';
import {
  type Adapter,
  applyLoRA,
  type CallProgress,
  combineAdapters,
  exportPEFT,
  getAdapter,
  loadAdapter,
  loadKerasModel,
  LoRAError,
  saveAdapter,
  toSafetensors,
} from 'tfjs-lora';
import {type Adapter, applyLoRA, getAdapter, loadAdapter, LoRAError, toSafetensors} from '../../../src';
import {readPEFT} from '../../../src/core/peft/readPeft';
import {loadGGUF} from '../../../src/language';
import {loadTransformer} from '../../../src/transformers';
import {numbers, withoutLeaks} from '../../helpers';
import {MemoryHandler, mlp, stirFactors} from '../../models';
import {KEY_MAP, peftFiles, smallNetwork} from '../../peftNetworks';

function values(adapter: Adapter): unknown {
  return Object.fromEntries(Object.entries(adapter.tensors).map(([name, tensor]) => [name, numbers(tensor)]));
}

async function example(): Promise<{adapter: Adapter; bytes: Uint8Array<ArrayBuffer>}> {
  const adapted = applyLoRA(mlp().model, {rank: 2});
  stirFactors(adapted);
  const adapter = getAdapter(adapted);
  return {adapter, bytes: await toSafetensors(adapter)};
}

test('an adapter is read from a File, a Blob, a Response, a promise of one, and bytes', async () => {
  const {adapter, bytes} = await example();
  const sources = [
    new File([bytes], 'a.safetensors'),
    new Blob([bytes]),
    new Response(bytes),
    Promise.resolve(new Response(bytes)),
    bytes,
    bytes.buffer,
  ];
  for (const source of sources) {
    expect(values(await loadAdapter(source))).toEqual(values(adapter));
  }
});

test('a response that is no success is refused with what the server said', async () => {
  const missing = () => new Response('<html>', {status: 404, statusText: 'Not Found'});
  await expect(loadAdapter(missing())).rejects.toThrow(LoRAError);
  await expect(loadAdapter(missing())).rejects.toThrow('The response: 404 Not Found.');
  await expect(readPEFT({config: missing(), weights: new Blob([])}, {})).rejects.toThrow('404 Not Found');
});

test.each<[unknown, string]>([
  [undefined, 'got undefined'],
  [null, 'got null'],
  [5, 'got a number'],
])('%p is refused as a source', async (source, message) => {
  const given = source as Blob; // a list of files that is empty has an undefined first one
  for (const read of [() => loadAdapter(given), () => readPEFT(source as File[], {})]) {
    await expect(read()).rejects.toThrow(LoRAError);
    await expect(read()).rejects.toThrow(message);
  }
});

test.each([undefined, null, 'a', {}])('%p is refused for the weights of PEFT', async weights => {
  const read = () => readPEFT({config: new Blob(['{}']), weights: weights as Blob}, {});
  await expect(read()).rejects.toThrow(LoRAError);
  await expect(read()).rejects.toThrow(weights == null ? 'Expected the two files of a PEFT adapter' : 'Pass a URL');
});

test('a file that is no adapter is refused', async () => {
  await expect(loadAdapter(new Blob(['<html>not here</html>']))).rejects.toThrow(LoRAError);
});

test('loadAdapter fetches a safetensors file by its URL', async () => {
  const {adapter, bytes} = await example();
  const fetched = jest.spyOn(globalThis, 'fetch').mockImplementation(() => Promise.resolve(new Response(bytes)));
  expect(values(await loadAdapter('https://example.com/a.safetensors?v=2'))).toEqual(values(adapter));
  expect(fetched.mock.calls).toEqual([['https://example.com/a.safetensors?v=2', undefined]]);
});

test('what cannot be fetched by its URL is told with the URL', async () => {
  jest.spyOn(globalThis, 'fetch').mockImplementation(() => Promise.reject(new TypeError('no network')));
  for (const [url, message] of [
    ['https://example.com/a.safetensors', 'https://example.com/a.safetensors cannot be fetched: no network'],
    ['https://example.com/a.json', 'Cannot load "https://example.com/a.json": no network'],
  ] as const) {
    await expect(loadAdapter(url)).rejects.toThrow(LoRAError);
    await expect(loadAdapter(url)).rejects.toThrow(message);
  }
});

test('in a browser loadAdapter fetches a safetensors file by a path relative to the page', async () => {
  const {adapter, bytes} = await example();
  const fetched = jest.spyOn(globalThis, 'fetch').mockImplementation(() => Promise.resolve(new Response(bytes)));
  await expect(loadAdapter('adapters/a.safetensors')).rejects.toThrow(
    'Nothing here can load "adapters/a.safetensors".',
  );
  expect(fetched).not.toHaveBeenCalled();
  const isBrowser = tf.env().getBool('IS_BROWSER');
  tf.env().set('IS_BROWSER', true);
  try {
    expect(values(await loadAdapter('adapters/a.safetensors'))).toEqual(values(adapter));
  } finally {
    tf.env().set('IS_BROWSER', isBrowser);
  }
  expect(fetched.mock.calls).toEqual([['adapters/a.safetensors', undefined]]);
});

test("PEFT's files are read one by one, or found among others by name", async () => {
  const {config, weights} = peftFiles('lora');
  const part = new Uint8Array(weights);
  const files = [
    new File(['# a model card'], 'README.md'),
    new File([part], 'adapter_model.safetensors'),
    new File([config], 'adapter_config.json'),
  ];
  const {model} = smallNetwork();
  const expected = values(await loadAdapter({config, weights}, {model}));
  const single = {config: Promise.resolve(new Response(config)), weights: new Blob([part])};
  for (const sources of [single, files]) {
    expect(values(await loadAdapter(sources, {model}))).toEqual(expected);
  }
});

test('the URL of a folder of PEFT may end in a version, and with a key map or a model without a slash', async () => {
  const {config, weights} = peftFiles('lora');
  const fetched = jest
    .spyOn(globalThis, 'fetch')
    .mockImplementation(address =>
      Promise.resolve(new Response((address as string).endsWith('.json') ? config : (weights as BodyInit))),
    );
  const {model} = smallNetwork();
  const expected = values(await loadAdapter({config, weights}, {model}));
  for (const folder of ['https://a.example/adapter-v1.0', 'https://a.example/adapter', 'https://a.example/a.b/']) {
    fetched.mockClear();
    expect(values(await loadAdapter(folder, {model, keyMap: {}}))).toEqual(expected);
    expect(values(await loadAdapter(new URL(folder), {model}))).toEqual(expected);
    await expect(loadAdapter(folder, {keyMap: {}})).rejects.toThrow('Pass the model that it belongs to');
    expect(fetched.mock.calls.map(([address]) => address)).toEqual(
      [1, 2].flatMap(() =>
        ['adapter_config.json', 'adapter_model.safetensors'].map(name => `${folder.replace(/\/$/, '')}/${name}`),
      ),
    );
  }
});

test.each<[what: string, source: unknown, kind: string]>([
  ['bytes', new Uint8Array(8), 'an object of class Uint8Array'],
  ['a Blob', new Blob([]), 'an object of class Blob'],
  ['a handler', new MemoryHandler(), 'an object of class MemoryHandler'],
  ['files without a config', [new File([''], 'adapter_model.safetensors')], 'an array'],
  ['the address of a file', 'https://a.example/emoji.safetensors', 'a string'],
  ['nothing', null, 'null'],
])('a key map is refused with %s, before anything is read', async (_, source, kind) => {
  const {model} = smallNetwork();
  const loading = loadAdapter(source as Blob, {model, keyMap: {}});
  await expect(loading).rejects.toThrow(LoRAError);
  await expect(loading).rejects.toThrow(
    `keyMap says which layers the modules of a PEFT adapter are, and the source is none, got ${kind}.`,
  );
});

test("one of PEFT's files that is missing is named", async () => {
  const files = [new File(['{}'], 'adapter_config.json')];
  await expect(readPEFT(files, {})).rejects.toThrow(
    'There is no adapter_model.safetensors among the files: adapter_config.json.',
  );
  await expect(readPEFT([], {})).rejects.toThrow('There is no adapter_config.json among the files: there are none.');
});

let server: Server;
let url: string;

beforeAll(async () => {
  // Every answer breaks off after 20 of 1,000 bytes.
  server = createServer((_, response) => {
    response.writeHead(200, {'content-length': 1000});
    response.write(Buffer.from([...Buffer.from('GGUF'), 3, ...Array<number>(15).fill(0)]), () => response.destroy());
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => server.close());

test.each<[string, () => Promise<unknown>]>([
  ['a.safetensors', () => loadAdapter(`${url}/a.safetensors`)],
  ['a.json', () => loadAdapter(`${url}/a.json`)],
  ['a', () => loadAdapter(fetch(`${url}/a`))],
  ['config', () => readPEFT({config: fetch(`${url}/config`), weights: new Blob([])}, {})],
  ['model.gguf', () => loadGGUF(`${url}/model.gguf`)],
  ['config.json', () => loadTransformer(`${url}/bert`)],
  ['model.json', () => loadKerasModel(`${url}/model.json`)],
])('a download of %s that breaks off is told with its address', async (path, load) => {
  const loading = load();
  await expect(loading).rejects.toThrow(LoRAError);
  await expect(loading).rejects.toThrow(/terminated|Failed to parse model JSON/);
  await expect(loading).rejects.toThrow(`${url}/`);
  await expect(loading).rejects.toThrow(path);
});

test('a file that cannot be read to its end is told so', async () => {
  const broken = new Blob(['x'.repeat(100)]);
  const stream = new ReadableStream<Uint8Array>({pull: controller => controller.error(new Error('gone'))});
  jest.spyOn(broken, 'stream').mockReturnValue(stream as ReturnType<Blob['stream']>);
  const reading = loadAdapter(broken);
  await expect(reading).rejects.toThrow(LoRAError);
  await expect(reading).rejects.toThrow('The file cannot be read beyond byte 0: ');
});

test('a folder in place of a file, and a URL that is none, are told by name', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'tfjs-lora-sources-'));
  for (const place of [folder, pathToFileURL(folder)]) {
    const loading = loadGGUF(place);
    await expect(loading).rejects.toThrow(LoRAError);
    await expect(loading).rejects.toThrow(`Cannot read ${folder}: it is not a file. Check the path.`);
  }
  await expect(loadTransformer({config: folder, weights: new Blob([])})).rejects.toThrow('it is not a file');
  await expect(loadGGUF('file:///100%/x')).rejects.toThrow('is not a valid file URL. Pass the plain path instead.');
  rmSync(folder, {recursive: true});
});

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
