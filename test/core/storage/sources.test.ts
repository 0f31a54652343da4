import * as tf from '@tensorflow/tfjs';
import {type Adapter, applyLoRA, getAdapter, loadAdapter, LoRAError, toSafetensors} from '../../../src';
import {numbers} from '../../helpers';
import {MemoryHandler, mlp, stirFactors} from '../../models';
import {peftFiles, smallNetwork} from '../../peftNetworks';
import {beginningOf} from '../../../src/core/storage/sources';
import {readPEFT} from '../../../src/core/peft/readPeft';

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

test.each([
  [404, 'ERR_NOT_FOUND'],
  [410, 'ERR_NOT_FOUND'],
  [403, 'ERR_IO'],
  [500, 'ERR_IO'],
])('a response of status %i is an error of code %s, and is left unread', async (status, code) => {
  const cancel = jest.fn();
  const response = new Response(new ReadableStream({cancel}), {status});
  await expect(loadAdapter(response)).rejects.toMatchObject({code});
  expect(cancel).toHaveBeenCalledTimes(1);
});

test('a response that says that it is too long is left unread', async () => {
  const cancel = jest.fn();
  const response = new Response(new ReadableStream({cancel}), {headers: {'content-length': '11'}});
  await expect(loadAdapter(response, {maxBytes: 10})).rejects.toThrow('more than the 10 bytes');
  expect(cancel).toHaveBeenCalledTimes(1);
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

test.each([
  [5, 8],
  [9, 12],
  [100, 20],
])('the first %i bytes of a response are read in %i, and the stream is cancelled', async (most, expected) => {
  let sent = 0;
  const cancel = jest.fn();
  const body = new ReadableStream<Uint8Array>(
    {
      pull(controller) {
        sent += 4;
        controller.enqueue(new Uint8Array(4).fill(sent));
        if (sent === 20) {
          controller.close();
        }
      },
      cancel,
    },
    {highWaterMark: 0},
  );
  const bytes = await beginningOf(new Response(body), most, {});
  expect([bytes.length, bytes.at(-1)]).toEqual([expected, expected]);
  expect(cancel).toHaveBeenCalledTimes(expected < 20 ? 1 : 0);
});

test('what throws while a response is read ends the response', async () => {
  const {bytes} = await example();
  const cancel = jest.fn();
  const stream = new ReadableStream<Uint8Array>({start: sender => sender.enqueue(bytes), cancel});
  const reason = new Error('not now');
  const onProgress = () => {
    throw reason;
  };
  await expect(loadAdapter(new Response(stream), {onProgress})).rejects.toBe(reason);
  expect(cancel).toHaveBeenCalledWith(reason);
});
