import {execFile} from 'node:child_process';
import {createHash} from 'node:crypto';
import {mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {promisify} from 'node:util';
import * as tf from '@tensorflow/tfjs';
import {
  applyLoRA,
  disposeModel,
  exportPEFT,
  fileHandler,
  type HubCache,
  loadAdapter,
  loadKerasModel,
  type LoRAError,
  saveAdapter,
  setHub,
  toSafetensors,
} from 'tfjs-lora';
import {loadGGUF} from 'tfjs-lora/language';
import {fromONNX} from 'tfjs-lora/onnx';
import {loadTransformer} from 'tfjs-lora/transformers';
import {PIECE_BYTES} from '../../../src/core/storage/hub/cache';
import {bytesOf, fetched, type SourceOptions} from '../../../src/core/storage/sources';
import {bundled} from '../../bundled';
import {useBackend} from '../../helpers';
import {type Fault, HubServer} from '../../hubServer';

const FIXTURES = join(process.cwd(), 'test/fixtures');
const MODEL = join(FIXTURES, 'transformers/bert');

const PROGRAM = bundled(join(__dirname, 'hubReader.ts'));

jest.setTimeout(120_000);

let server: HubServer;
let folder: string;
let cache: HubCache;

beforeAll(() => useBackend('cpu'));
beforeEach(async () => {
  server = await new HubServer().start();
  folder = mkdtempSync(join(tmpdir(), 'tfjs-lora-hub-'));
  cache = setHub({endpoint: server.url, cache: {folder}});
});
afterEach(() => {
  server.close();
  rmSync(folder, {recursive: true, force: true});
  expect(server.leaks).toEqual([]);
});
afterAll(() => setHub());

/** The bytes at an address, as loaders read them. */
const read = async (address: string, options: SourceOptions = {}) =>
  bytesOf(await fetched(address, options), {maxBytes: 1e9, ...options});
const textAt = async (address: string, options?: SourceOptions) =>
  new TextDecoder().decode(await read(address, options));
const failure = (promise: Promise<unknown>): Promise<LoRAError> =>
  promise.then(
    () => Promise.reject(new Error('It was loaded.')),
    (error: unknown) => error as LoRAError,
  );
const bytesTo = (length: number) => {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) {
    bytes[i] = (i * 7) % 251;
  }
  return bytes;
};
const filesOf = (path: string) =>
  Object.fromEntries(readdirSync(path).map(name => [name, new Uint8Array(readFileSync(join(path, name)))]));
/** What other processes read, with the same cache. */
const readInProcesses = (count: number, what: string, address: string) =>
  Promise.all(
    Array.from({length: count}, async () => {
      const args = [PROGRAM, server.url, folder, what, address];
      return (await promisify(execFile)(process.execPath, args)).stdout;
    }),
  );
const LARGE = bytesTo(2.5 * PIECE_BYTES);
/** Whether it is there; Jest would compare each byte for itself. */
const isLarge = async (address: string) => Buffer.from(await read(address)).equals(LARGE);

describe('loaders', () => {
  test('loadTransformer reads a model of one commit, and again without a request for its files', async () => {
    const commit = server.push('org/bert', filesOf(MODEL));
    const {model} = await loadTransformer('hf://org/bert', {tokenizer: false});
    const first = server.requests;
    expect(first.filter(request => request.includes('/revision/'))).toEqual(['GET /api/models/org/bert/revision/main']);
    expect(first.filter(request => request.includes('/resolve/') && !request.includes(commit))).toEqual([]);
    server.requests = [];
    const {model: again} = await loadTransformer('hf://org/bert', {tokenizer: false});
    expect(server.requests).toEqual(['GET /api/models/org/bert/revision/main']);
    const {model: local} = await loadTransformer(MODEL, {tokenizer: false});
    const values = (one: tf.LayersModel) => one.getWeights().map(weight => [...weight.dataSync()]);
    expect(values(model)).toEqual(values(local));
    expect(values(again)).toEqual(values(local));
    [model, again, local].forEach(disposeModel);
  });

  test('adapters and models of tfjs, PEFT and Keras are read', async () => {
    const base = tf.sequential({layers: [tf.layers.dense({name: 'd', units: 2, inputShape: [3]})]});
    const model = applyLoRA(base, {rank: 2});
    const {config, weights} = await exportPEFT(model);
    const place = mkdtempSync(join(tmpdir(), 'tfjs-lora-hub-'));
    await saveAdapter(model, join(place, 'adapter.json'));
    await base.save(fileHandler(join(place, 'model')));
    const safetensors = await toSafetensors(model);
    server.push('org/adapter-1.5b', {
      'adapter_config.json': JSON.stringify(config),
      'adapter_model.safetensors': weights,
    });
    server.push('org/models', {
      'some/adapter.safetensors': safetensors,
      ...Object.fromEntries(Object.entries(filesOf(join(place, 'model'))).map(([name, bytes]) => [`m/${name}`, bytes])),
      'adapter.json': readFileSync(join(place, 'adapter.json'), 'utf8'),
      'adapter.weights.bin': new Uint8Array(readFileSync(join(place, 'adapter.weights.bin'))),
    });
    rmSync(place, {recursive: true});
    const adapters = [
      await loadAdapter('hf://org/adapter-1.5b', {model, keyMap: {d: 'd'}}),
      await loadAdapter('hf://org/models/some/adapter.safetensors'),
      await loadAdapter(new URL('hf://org/models@main/adapter.json')),
    ];
    const factors = adapters.map(({tensors}) => Object.values(tensors).map(tensor => [...tensor.dataSync()]));
    expect(factors[1]).toEqual(factors[2]);
    expect(factors[0]).toEqual(factors[2]);
    adapters.forEach(adapter => adapter.dispose());
    const [keras = ''] = await readInProcesses(1, 'keras', 'hf://org/models/m/model.json');
    expect(JSON.parse(keras)).toEqual(base.getWeights().map(weight => [...weight.dataSync()]));
    [model, base].forEach(disposeModel);
  });

  test('a folder that is no PEFT adapter, and what is not there, name the files', async () => {
    server.push('org/models', {'some/adapter.safetensors': 'x', 'model.onnx': 'x', 'tiny.gguf': 'x'});
    server.push('org/quantized', {'tiny.gguf': 'x'});
    const cases = [
      [() => loadAdapter('hf://org/models'), 'names no file. It has hf://org/models/some/adapter.safetensors, hf://'],
      [
        () => fromONNX('hf://org/models/modl.onnx'),
        'no file "modl.onnx". The closest names: hf://org/models/model.onnx',
      ],
      [() => loadGGUF('hf://org/models/tinny.gguf'), 'The closest names: hf://org/models/tiny.gguf'],
      [() => loadTransformer('hf://org/quantized'), 'hf://org/quantized has no model.safetensors'],
    ] as const;
    for (const [load, message] of cases) {
      expect(await failure(load())).toMatchObject({
        code: 'ERR_NOT_FOUND',
        message: expect.stringContaining(message) as string,
      });
    }
  });

  test('of many files, the error names the first ten', async () => {
    const names = Array.from({length: 12}, (_, i) => `${String(i).padStart(2, '0')}.bin`);
    server.push('org/many', Object.fromEntries(names.map(name => [name, 'x'])));
    const {message} = await failure(loadAdapter('hf://org/many'));
    expect(names.filter(name => message.includes(`hf://org/many/${name}`))).toEqual(names.slice(0, 10));
    expect(message).toContain('2 more');
  });

  test('a plain org/name that is no path is answered with its hf:// address', async () => {
    const name = 'sentence-transformers/all-MiniLM-L6-v2';
    const loaders: ((place: string) => Promise<unknown>)[] = [
      ...[loadTransformer, fromONNX, loadGGUF, loadKerasModel, loadAdapter],
    ];
    for (const load of loaders) {
      expect(await failure(load(name))).toMatchObject({
        code: 'ERR_NOT_FOUND',
        message: expect.stringContaining(`write "hf://${name}"`) as string,
      });
    }
    expect((await failure(loadTransformer('./models/bert'))).message).not.toContain('hf://');
  });
});

describe('the token', () => {
  test('is sent to the hub, and not to the host of the file', async () => {
    server.push('org/gated', {'a.bin': bytesTo(10), 'b.json': '{}'});
    server.gated.set('org/gated', 'hf_secret');
    setHub({endpoint: server.url, token: 'hf_secret', cache: {folder}});
    expect(await read('hf://org/gated/a.bin')).toEqual(bytesTo(10));
    expect(await textAt('hf://org/gated/b.json')).toBe('{}');
    expect(server.asked('other GET')).toHaveLength(1);
  });

  test('is not sent to the hub either after another host has redirected there', async () => {
    server.push('org/gated', {'a.bin': 'x', 'b.txt': 'secret'});
    server.gated.set('org/gated', 'hf_secret');
    server.faults.set('a.bin', {
      location: `${server.url.replace('127.0.0.1', 'localhost')}/org/gated/resolve/main/b.txt`,
    });
    setHub({endpoint: server.url, token: 'hf_secret', cache: {folder}});
    expect(await failure(read('hf://org/gated/a.bin'))).toMatchObject({code: 'ERR_IO'});
  });

  test('what is gated, private or unknown says what to do', async () => {
    server.push('org/gated', {'a.bin': 'x'});
    server.gated.set('org/gated', 'hf_secret');
    const gated = await failure(read('hf://org/gated/a.bin'));
    expect(gated).toMatchObject({code: 'ERR_IO'});
    expect(gated.message).toContain(
      `hf://org/gated is gated or private (401, GatedRepo). Accept its terms at ${server.url}`,
    );
    expect(gated.message).toContain("setHub({token: 'hf_…'})");
    const unknown = await failure(read('hf://org/none/a.bin'));
    expect(unknown).toMatchObject({code: 'ERR_NOT_FOUND'});
    expect(unknown.message).toContain('There is no hf://org/none, or it is private (401, RepoNotFound).');
    setHub({endpoint: server.url, token: 'hf_wrong', cache: {folder}});
    const refused = await failure(read('hf://org/gated/a.bin'));
    expect(refused.message).toContain('a token that may read it: this one may not');
    expect(refused.message).not.toContain('hf_wrong');
    expect((await failure(read('hf://org/none/a.bin'))).message).toBe(
      'There is no hf://org/none (404, RepoNotFound). Check the name; a private one needs a token.',
    );
    expect((await failure(read('hf://org/gated@v2/a.bin'))).message).toContain('has no revision "v2"');
  });
});

test.each([
  'hf://org',
  'hf://org/name@/a',
  'hf://org/name/../a',
  'hf://org/name/a%2f..%2fb',
  'hf://org/name/a\\b',
  'hf://org/name//a',
  'hf://org/name/./a',
  'hf://../name/a',
  'hf://org/name@../a',
  'hf://org/name/a?b',
  'hf://org/name/a#b',
  'hf://org/name/a\u0000b',
])('%j is refused', async address => {
  expect(await failure(read(address))).toMatchObject({code: 'ERR_OPTION'});
  expect(server.requests).toEqual([]);
});

test.each<[object, string]>([
  [{endpoint: 'ftp://x'}, 'endpoint must be an http(s) URL'],
  [{token: 'a b'}, 'token must be a string without spaces'],
  [{cache: {maxBytes: 0}}, 'cache.maxBytes must be a number of bytes'],
  [{cache: {path: 'x'}}, 'There is no option "path"'],
  [{cache: {folder: ''}}, 'cache.folder must be a path'],
])('setHub refuses %j', (options, message) => {
  expect(() => setHub(options)).toThrow(message);
});

describe('revisions', () => {
  test('a branch that moves between two files of a load does not mix them', async () => {
    server.push('org/name', {'a.txt': 'a1', 'b.txt': 'b1'});
    const revisions: SourceOptions['revisions'] = new Map();
    expect(await textAt('hf://org/name/a.txt', {revisions})).toBe('a1');
    const second = server.push('org/name', {'a.txt': 'a2', 'b.txt': 'b2'});
    expect(await textAt('hf://org/name/b.txt', {revisions})).toBe('b1');
    expect(await textAt('hf://org/name/b.txt')).toBe('b2');
    expect(await textAt(`hf://org/name@${second}/a.txt`)).toBe('a2');
  });

  test('a file that is the same in the next commit is not downloaded again', async () => {
    server.push('org/name', {'a.bin': LARGE});
    await read('hf://org/name/a.bin');
    server.push('org/name', {'a.bin': LARGE, 'b.txt': ''});
    expect(await isLarge('hf://org/name/a.bin')).toBe(true);
    expect(await cache.list()).toHaveLength(1);
    expect(await read('hf://org/name/b.txt')).toEqual(new Uint8Array(0));
  });

  test('a mirror without a list says the commit in a header, or it has to be named', async () => {
    const commit = server.push('org/name', {'a.txt': 'a', 'adapter_config.json': '{}'});
    server.listStatus = 404;
    expect(await textAt('hf://org/name/a.txt')).toBe('a');
    expect((await failure(read('hf://org/name/c.txt'))).message).toContain('hf://org/name has no file "c.txt".');
    server.showsCommit = false;
    await cache.clear();
    expect((await failure(read('hf://org/name/a.txt'))).message).toContain('Name a commit: hf://org/name@<commit>');
    expect(await textAt(`hf://org/name@${commit}/a.txt`)).toBe('a');
  });
});

test.each([0, 1])('a list of 16 MiB is read, and one that is longer is as good as none (%d more)', async more => {
  server.push('org/name', {'a.txt': 'a'});
  server.listLength = 2 ** 24 + more;
  await failure(read('hf://org/name/b.txt'));
  // Without a list, the server is asked for the file.
  expect(server.requests.some(request => request.startsWith('HEAD'))).toBe(more === 1);
});

test('a list is read whose characters arrive byte by byte', async () => {
  server.push('org/name', {'€.txt': 'a'});
  const {fetch} = globalThis;
  jest.spyOn(globalThis, 'fetch').mockImplementation(async (...request) => {
    const response = await fetch(...request);
    const bytes = [...new Uint8Array(await response.arrayBuffer())];
    const body = new ReadableStream<Uint8Array>({
      pull: controller => (bytes.length > 0 ? controller.enqueue(Uint8Array.of(bytes.shift()!)) : controller.close()),
    });
    return new Response(body, response);
  });
  expect((await failure(read('hf://org/name/b.txt'))).message).toContain('The closest names: hf://org/name/€.txt.');
});

test('what a server says instead of a list is left unread', async () => {
  server.push('org/name', {'a.txt': 'a'});
  server.listStatus = 404;
  const {fetch} = globalThis;
  const responses: Response[] = [];
  jest.spyOn(globalThis, 'fetch').mockImplementation(async (...request) => {
    const response = await fetch(...request);
    responses.push(response);
    return response;
  });
  expect(await textAt('hf://org/name/a.txt')).toBe('a');
  expect(responses[0]).toMatchObject({status: 404, bodyUsed: true}); // of a body that was canceled too
});

test.each([401, 403])('a mirror that refuses the list by %d is not asked for the file', async status => {
  server.push('org/name', {'a.txt': 'a'});
  server.listStatus = status;
  expect(await failure(read('hf://org/name/a.txt'))).toMatchObject({code: 'ERR_IO'});
  expect(server.requests).toEqual([expect.stringContaining('GET /api/models/org/name/revision/main')]);
});

describe('downloads', () => {
  /** The bytes of a file whose connection ends once, when so many of them have been read. */
  const readDropped = (dropAfter: number, fault: Fault = {}) => {
    let drop = (): void => undefined;
    const whenRead = new Promise<void>(resolve => (drop = resolve));
    if (dropAfter === 0) {
      drop();
    }
    server.faults.set('a.bin', {dropAfter, times: 1, whenRead, ...fault});
    return fetched('hf://org/name/a.bin', {}).then(file => bytesOf(file, {onProgress: drop}));
  };

  test.each([0, 1, 5, 9])('continue where the connection ended after %i bytes', async dropAfter => {
    server.push('org/name', {'a.bin': bytesTo(10)});
    expect(await readDropped(dropAfter)).toEqual(bytesTo(10));
    const ranges = server.asked('other GET').map(request => request.split('signature=1')[1]);
    expect(ranges).toEqual(['', dropAfter === 0 ? '' : ` bytes=${dropAfter}-`]);
  });

  test.each([0, 1, 5, 9])('fail by name and keep nothing if it always ends after %i bytes', async dropAfter => {
    server.push('org/name', {'a.bin': bytesTo(10)});
    server.faults.set('a.bin', {dropAfter, noRanges: true});
    const error = await failure(read('hf://org/name/a.bin'));
    expect(error).toMatchObject({code: 'ERR_IO'});
    expect(error.message).toMatch(/hf:\/\/org\/name@\w{40}\/a\.bin broke off after byte \d+ of 10: /);
    expect(await cache.list()).toEqual([]);
    expect(readdirSync(folder).filter(name => !name.endsWith('.ref'))).toEqual([]);
  });

  test.each<[string, Fault]>([
    ['ignores ranges', {noRanges: true}],
    ['has weak etags', {weak: true}],
  ])('continue at a host that %s', async (_, fault) => {
    server.push('org/name', {'a.bin': bytesTo(1000)});
    expect(await readDropped(400, fault)).toEqual(bytesTo(1000));
  });

  test('fail if another range is sent than was requested', async () => {
    server.push('org/name', {'a.bin': bytesTo(10)});
    expect(await failure(readDropped(5, {sentFrom: 3}))).toMatchObject({
      code: 'ERR_IO',
      message: expect.stringContaining('was requested from byte 5 on, and is sent from byte 3 on') as string,
    });
  });

  test('that were interrupted continue after their last whole piece in the next load', async () => {
    server.push('org/name', {'a.bin': LARGE});
    server.faults.set('a.bin', {dropAfter: 1.5 * PIECE_BYTES, noRanges: true});
    await failure(read('hf://org/name/a.bin'));
    expect(await cache.list()).toEqual([]);
    server.faults.clear();
    server.requests = [];
    expect(await isLarge('hf://org/name/a.bin')).toBe(true);
    expect(server.asked(`bytes=${PIECE_BYTES}-`).filter(request => request.startsWith('other'))).toHaveLength(1);
  });

  test.each<[string, Fault, string]>([
    ['too large', {linkedSize: 20}, 'contradicts itself about the size'],
    ['too small', {linkedSize: 5}, 'contradicts itself about the size'],
    ['no number', {linkedSize: 'many'}, 'contradicts itself about the size'],
    ['no place', {location: 'file:///etc/passwd'}, 'which is not followed'],
  ])('whose headers say %s fail and keep nothing', async (_, fault, message) => {
    server.push('org/name', {'a.bin': bytesTo(10)});
    server.faults.set('a.bin', fault);
    expect(await failure(read('hf://org/name/a.bin'))).toMatchObject({
      code: 'ERR_IO',
      message: expect.stringContaining(message) as string,
    });
    expect(await cache.list()).toEqual([]);
    expect(readdirSync(folder).filter(name => !name.endsWith('.ref'))).toEqual([]);
  });

  test('of more than maxBytes are refused before they are read', async () => {
    server.push('org/name', {'a.bin': LARGE});
    const error = await failure(fetched('hf://org/name/a.bin', {}).then(file => bytesOf(file, {maxBytes: 1000})));
    expect(error).toMatchObject({code: 'ERR_TOO_LARGE', message: expect.stringContaining('hf://org/name@') as string});
    expect(await cache.list()).toEqual([]);
  });

  test('end when they are aborted', async () => {
    server.push('org/name', {'a.bin': LARGE});
    const controller = new AbortController();
    const onProgress = ({done}: {done: number}) => done > 1000 && controller.abort('enough');
    const {signal} = controller;
    const promise = fetched('hf://org/name/a.bin', {signal}).then(file => bytesOf(file, {signal, onProgress}));
    expect(await failure(promise)).toMatchObject({code: 'ERR_ABORTED'});
    expect(await isLarge('hf://org/name/a.bin')).toBe(true);
  });

  test('end when they are aborted while the hub is asked for the commit, also of a cached file', async () => {
    server.push('org/name', {'a.txt': 'a'});
    await read('hf://org/name/a.txt');
    const controller = new AbortController();
    jest.spyOn(globalThis, 'fetch').mockImplementation(() => {
      controller.abort();
      return Promise.reject(new TypeError('fetch failed'));
    });
    const {signal} = controller;
    expect(await failure(fetched('hf://org/name/a.txt', {signal}))).toMatchObject({code: 'ERR_ABORTED'});
  });
});

describe('the cache', () => {
  test('loads without a network what it has', async () => {
    server.push('org/name', {'a.txt': 'a', 'b.txt': 'b'});
    await read('hf://org/name/a.txt');
    server.isOffline = true;
    expect(await textAt('hf://org/name/a.txt')).toBe('a');
    const missing = await failure(read('hf://org/name/b.txt'));
    expect(missing).toMatchObject({code: 'ERR_IO'});
    expect(missing.message).toContain('hf://org/name/b.txt cannot be fetched, and is not in the cache');
    expect((await failure(read('hf://org/other/b.txt'))).message).toContain('not in the cache');
  });

  test('lists files with their commit, and is emptied', async () => {
    const commit = server.push('org/name', {'a.bin': LARGE, 'b.txt': 'b'});
    await read('hf://org/name/a.bin');
    await read('hf://org/name/b.txt');
    writeFileSync(join(folder, 'mine.txt'), 'mine');
    const files = await cache.list();
    expect(files.map(({address, bytes}) => [address, bytes]).sort()).toEqual([
      [`hf://org/name@${commit}/a.bin`, LARGE.length],
      [`hf://org/name@${commit}/b.txt`, 1],
    ]);
    expect(files.every(({lastUsed}) => Date.now() - lastUsed.getTime() < 60_000)).toBe(true);
    await cache.clear();
    expect(await cache.list()).toEqual([]);
    expect(readdirSync(folder)).toEqual(['mine.txt']);
  });

  test('removes the files that were used first, and keeps none that is larger than it may be', async () => {
    const names = ['a.bin', 'b.bin', 'c.bin'];
    server.push('org/name', {
      ...Object.fromEntries(names.map(name => [name, bytesTo(10_000)])),
      'd.bin': bytesTo(40_000),
    });
    cache = setHub({endpoint: server.url, cache: {folder, maxBytes: 25_000}});
    const clock = jest.spyOn(Date, 'now');
    for (const [i, name] of names.entries()) {
      clock.mockReturnValue(1e12 + i * 1e6);
      server.repos.get('org/name')![0]!.files[name] = Uint8Array.of(i, ...bytesTo(9999));
      await read(`hf://org/name/${name}`);
    }
    const listed = async () => (await cache.list()).map(({address}) => address.slice(-5)).sort();
    expect(await listed()).toEqual(['b.bin', 'c.bin']);
    expect((await read('hf://org/name/d.bin')).length).toBe(40_000);
    expect(await listed()).toEqual(['b.bin', 'c.bin']);
  });

  test('downloads again what is damaged or was removed', async () => {
    server.push('org/name', {'a.bin': LARGE});
    await read('hf://org/name/a.bin');
    const pieces = readdirSync(folder).filter(name => /\.[12]$/.test(name));
    expect(pieces).toHaveLength(2);
    writeFileSync(join(folder, pieces[0]!), 'half');
    expect(await isLarge('hf://org/name/a.bin')).toBe(true);
    rmSync(join(folder, pieces[1]!));
    expect(await isLarge('hf://org/name/a.bin')).toBe(true);
    readdirSync(folder).forEach(name => writeFileSync(join(folder, name), '{'));
    expect(await isLarge('hf://org/name/a.bin')).toBe(true);
  });

  test('that cannot be written is an error with its name, and a way without it', async () => {
    server.push('org/name', {'a.txt': 'a'});
    writeFileSync(join(folder, 'file'), '');
    setHub({endpoint: server.url, cache: {folder: join(folder, 'file/cache')}});
    const error = await failure(read('hf://org/name/a.txt'));
    expect(error).toMatchObject({code: 'ERR_IO'});
    expect(error.message).toContain('The cache of hub files cannot be written');
    setHub({endpoint: server.url, cache: false});
    expect(await textAt('hf://org/name/a.txt')).toBe('a');
  });

  test('is shared by processes that download the same file at once', async () => {
    server.push('org/name', {'a.bin': LARGE});
    const digests = await readInProcesses(3, 'bytes', 'hf://org/name/a.bin');
    expect(new Set(digests)).toEqual(new Set([createHash('sha256').update(LARGE).digest('hex')]));
    server.isOffline = true;
    expect(await isLarge('hf://org/name/a.bin')).toBe(true);
    expect(readdirSync(folder).filter(name => name.includes('draft'))).toEqual([]);
  });
});

test('tf.loadGraphModel reads hf:// addresses where tfjs-lora/graph is imported', async () => {
  const files = filesOf(join(FIXTURES, 'graph/swish'));
  server.push('org/graph', files);
  const [weights = ''] = await readInProcesses(1, 'graph', 'hf://org/graph/model.json');
  const bytes = (JSON.parse(weights) as number[][]).reduce((sum, values) => sum + 4 * values.length, 0);
  expect(bytes).toBe(files['group1-shard1of1.bin']!.length);
  expect(server.asked('/revision/')).toHaveLength(1);
});
