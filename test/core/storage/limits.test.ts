import {createServer, type RequestListener, type Server} from 'node:http';
import type {AddressInfo} from 'node:net';
import {gzipSync} from 'node:zlib';
import * as tf from '@tensorflow/tfjs';
import {fileHandler, loadAdapter, LoRAError, saveAdapter, toSafetensors} from 'tfjs-lora';
import {written} from '../adapter/adapters';
import {MemoryHandler} from '../../models';

const ADAPTER = () => written({dense: {a: [[1], [2]], b: [[3, 4]]}});
/** 300 MB of zeros, as a browser or `fetch` unpacks them. */
const BOMB = gzipSync(Buffer.alloc(300_000_000));

const TIMED_OUT = {code: 'ERR_ABORTED', cause: {name: 'TimeoutError'}};

let server: Server;
let url: string;
let answer: RequestListener;
let requests: string[];

beforeAll(async () => {
  server = createServer((request, response) => {
    requests.push(request.url ?? '');
    answer(request, response);
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
beforeEach(() => {
  requests = [];
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});

/** Serves a JSON, and the bytes of its weights. */
async function serveModel(paths: string[]): Promise<void> {
  const handler = new MemoryHandler();
  await saveAdapter(ADAPTER(), handler);
  const {modelTopology, weightSpecs, weightData} = handler.artifacts;
  answer = (request, response) => {
    const isJSON = request.url === '/a.json';
    const manifest = [{paths, weights: weightSpecs}];
    response.end(
      isJSON ? JSON.stringify({modelTopology, weightsManifest: manifest}) : Buffer.from(weightData as ArrayBuffer),
    );
  };
}

describe('a fetch', () => {
  test('stops where what it unpacks grows beyond the limit', async () => {
    expect(BOMB.length).toBeLessThan(400_000);
    let sent = 0;
    answer = (_, response) => {
      response.setHeader('content-encoding', 'gzip');
      response.end(BOMB, () => (sent += BOMB.length));
    };
    for (const path of ['/a.safetensors', '/a.json']) {
      const before = process.memoryUsage().arrayBuffers;
      const loading = loadAdapter(url + path, {maxBytes: 2 ** 20});
      await expect(loading).rejects.toThrow(LoRAError);
      await expect(loading).rejects.toThrow('has more than the 1,048,576 bytes that are allowed');
      expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(50e6);
    }
    await expect(loadAdapter(fetch(`${url}/a.safetensors`), {maxBytes: 100})).rejects.toThrow(
      'more than the 100 bytes',
    );
    const files = {config: new Blob(['{}']), weights: fetch(`${url}/b`)};
    await expect(loadAdapter(files, {model: tf.sequential(), maxBytes: 100})).rejects.toThrow(
      'more than the 100 bytes',
    );
    expect(sent).toBeGreaterThan(0);
  });

  test('has a limit of 256 MiB if none is given', async () => {
    answer = (_, response) => {
      response.setHeader('content-length', 2 ** 28 + 1);
      response.flushHeaders();
    };
    await expect(loadAdapter(`${url}/a.safetensors`)).rejects.toThrow('more than the 268,435,456 bytes');
    await expect(loadAdapter(`${url}/a.json`)).rejects.toThrow('more than the 268,435,456 bytes');
  });

  test('stops where what it unpacks is 100 times what is sent', async () => {
    answer = (_, response) => {
      response.setHeader('content-encoding', 'gzip').setHeader('content-length', BOMB.length);
      response.end(BOMB);
    };
    const most = (100 * BOMB.length).toLocaleString('en');
    await expect(loadAdapter(fetch(`${url}/a.safetensors`))).rejects.toThrow(`more than the ${most} bytes`);
    await expect(loadAdapter(`${url}/a.safetensors`)).rejects.toThrow(`more than the ${most} bytes`);
  });

  test('does not begin to read what says that it is larger', async () => {
    answer = (_, response) => {
      response.setHeader('content-length', 1000);
      response.flushHeaders(); // and never a body
    };
    await expect(loadAdapter(`${url}/a.safetensors`, {maxBytes: 999})).rejects.toThrow('more than the 999 bytes');
  });

  test('counts all files that a JSON names together', async () => {
    await serveModel(['w.bin']);
    const adapter = await loadAdapter(`${url}/a.json`, {maxBytes: 1000});
    expect(adapter.tensors['dense/lora_A']!.arraySync()).toEqual([[1], [2]]);
    adapter.dispose();
    await serveModel(Array<string>(100).fill('w.bin'));
    await expect(loadAdapter(`${url}/a.json`, {maxBytes: 1500})).rejects.toThrow('more than the 1,500 bytes');
  });

  test.each(['/a.safetensors', '/a.json'])('of %s ends when its signal is aborted, with its reason', async path => {
    answer = (_, response) => {
      response.write('{'); // and never an end
    };
    const isAsked = () => requests.includes(path);
    const controller = new AbortController();
    const reason = new Error('the visitor left');
    const loading = loadAdapter(url + path, {signal: controller.signal});
    while (!isAsked()) {
      await new Promise(resolve => setTimeout(resolve, 5));
    }
    controller.abort(reason);
    await expect(loading).rejects.toMatchObject({name: 'LoRAError', code: 'ERR_ABORTED', cause: reason});
    requests = [];
    await expect(loadAdapter(url + path, {signal: controller.signal})).rejects.toMatchObject({
      code: 'ERR_ABORTED',
      cause: reason,
    });
    expect(isAsked()).toBe(false);
  });

  test('reads on no longer when the signal of a source is aborted', async () => {
    answer = (_, response) => {
      response.write('{');
    };
    const signal = AbortSignal.timeout(50);
    await expect(loadAdapter(fetch(url), {signal})).rejects.toMatchObject(TIMED_OUT);
    await expect(
      loadAdapter(new Promise<Blob>(() => undefined), {signal: AbortSignal.timeout(50)}),
    ).rejects.toMatchObject(TIMED_OUT);
  });
});

test('what is on this machine has the limit that is given', async () => {
  const bytes = await toSafetensors(ADAPTER());
  const handler = new MemoryHandler();
  await saveAdapter(ADAPTER(), handler);
  for (const load of [
    (maxBytes: number) => loadAdapter(new Blob([bytes]), {maxBytes}),
    (maxBytes: number) => loadAdapter(bytes, {maxBytes}),
    (maxBytes: number) => loadAdapter(handler, {maxBytes}),
  ]) {
    await expect(load(10)).rejects.toThrow('more than the 10 bytes that are allowed');
    (await load(1000)).dispose();
  }
});

test('a handler that never ends is left when the signal is aborted', async () => {
  const loading = loadAdapter({load: () => new Promise(() => undefined)}, {signal: AbortSignal.timeout(20)});
  await expect(loading).rejects.toMatchObject(TIMED_OUT);
});

test.each<[object, string]>([
  [{maxBytes: 0}, 'maxBytes must be a number of bytes, got 0'],
  [{maxBytes: '1'}, 'maxBytes must be a number of bytes, got "1"'],
  [{maxBytes: NaN}, 'maxBytes must be a number of bytes, got NaN'],
  [{signal: {}}, 'signal must be an AbortSignal'],
  [{limit: 1}, 'There is no option "limit". The options are: '],
])('%p is refused, before anything is fetched', async (options, message) => {
  const file = fileHandler('none.safetensors');
  for (const load of [
    () => loadAdapter(`${url}/a.safetensors`, options),
    () => loadAdapter(file, options),
    () => loadAdapter(new Blob([]), options),
    () => loadAdapter([], {model: tf.sequential(), ...options}),
  ]) {
    await expect(load()).rejects.toThrow(message);
  }
  expect(requests).toEqual([]);
});

test('an adapter whose list of tensors says that they are quantized is refused', async () => {
  const handler = new MemoryHandler();
  await saveAdapter(ADAPTER(), handler);
  const {artifacts} = handler;
  const quantization = {dtype: 'uint8' as const, scale: 0.5, min: -1};
  const weightSpecs = artifacts.weightSpecs!.map(spec => ({...spec, quantization}));
  for (const weightData of [artifacts.weightData, new ArrayBuffer(4)]) {
    const loading = loadAdapter({load: () => Promise.resolve({...artifacts, weightSpecs, weightData})});
    await expect(loading).rejects.toThrow(LoRAError);
    await expect(loading).rejects.toThrow(
      'dense/lora_A: quantized, and adapters are not. For half the bytes, save as safetensors',
    );
  }
});

describe('a name that ends in .safetensors', () => {
  class Place extends MemoryHandler {
    constructor(readonly path: string) {
      super();
    }
  }
  const formatAt = async (path: string, options = {}) => {
    const place = new Place(path);
    await saveAdapter(ADAPTER(), place, options);
    (await loadAdapter(place)).dispose();
    return (place.artifacts.modelTopology as {format?: string}).format;
  };

  test('has that format at every handler that says where it saves', async () => {
    expect(await formatAt('out/a.safetensors')).toBe('safetensors');
    expect(await formatAt('out/a.SAFETENSORS', {dtype: 'float16'})).toBe('safetensors');
    expect(await formatAt('https://example.com/a.safetensors?v=2#x')).toBe('safetensors');
    expect(await formatAt('out/a.json')).toBeUndefined();
    expect(await formatAt('out/a.safetensors.json')).toBeUndefined();
    expect(await formatAt('out/a', {format: 'safetensors'})).toBe('safetensors');
  });

  test('is refused with another format', async () => {
    await expect(formatAt('a.safetensors', {format: 'tfjs'})).rejects.toThrow(
      'A name that ends in ".safetensors" has that format.',
    );
  });
});
