import {FileCache} from '../../../src/core/storage/hub/cache';
import {openHubFile} from '../../../src/core/storage/hub/download';
import type {HubFile} from '../../../src/core/storage/hub/fileBody';
import {DEFAULTS, type HubStore} from '../../../src/core/storage/hub/settings';

const MIB = 2 ** 20;

/** A store in memory. */
class MemoryStore implements HubStore {
  readonly files = new Map<string, Uint8Array<ArrayBuffer>>();

  read(key: string) {
    return Promise.resolve(this.files.get(key));
  }

  write(key: string, bytes: Uint8Array<ArrayBuffer>) {
    this.files.set(key, bytes.slice());
    return Promise.resolve();
  }

  remove(key: string) {
    this.files.delete(key);
    return Promise.resolve();
  }

  entries() {
    return Promise.resolve([...this.files].map(([key, {length}]) => ({key, bytes: length})));
  }
}

/** Ten mebibytes and a few bytes, each of which tells its place. */
const CONTENT = Uint8Array.from({length: 10 * MIB + 5}, (_, i) => (i * 7 + (i >> 12)) % 251);

const fileAt = (commit: string): HubFile => ({
  place: {endpoint: DEFAULTS.endpoint, repo: 'a/b', commit, path: 'c.bin', address: 'hf://a/b/c.bin'},
  settings: DEFAULTS,
  refusal: () => new Error('refused'),
});

interface Behaviour {
  /** The host does not say how long the file is. */
  hidesSize?: boolean;
  /** The connection ends after so many bytes of each response. */
  dropAfter?: number;
  /** How often it does. Default: always. */
  times?: number;
  /** Is called when the rest of a response is not wanted. */
  cancel?: () => void;
}

/** Lets `fetch` serve the file. Returns the first byte of each request. */
function served({hidesSize = false, dropAfter = Infinity, times = Infinity, cancel}: Behaviour = {}): number[] {
  const starts: number[] = [];
  jest.spyOn(globalThis, 'fetch').mockImplementation((_url, init) => {
    const {range = 'bytes=0-'} = (init?.headers ?? {}) as Record<string, string>;
    const start = Number(/\d+/.exec(range)![0]);
    const end = starts.length < times ? Math.min(CONTENT.length, start + dropAfter) : CONTENT.length;
    starts.push(start);
    let position = start;
    const body = new ReadableStream<Uint8Array>({
      ...(cancel && {cancel}),
      pull: controller => {
        if (position === end) {
          if (end < CONTENT.length) {
            controller.error(new Error('reset'));
          } else {
            controller.close();
          }
          return;
        }
        const chunk = CONTENT.slice(position, Math.min(end, position + MIB));
        position += chunk.length;
        controller.enqueue(chunk);
      },
    });
    const headers = {
      etag: '"v1"',
      ...(!hidesSize && start === 0 && {'content-length': String(CONTENT.length)}),
      ...(start > 0 && {
        'content-range': `bytes ${start}-${CONTENT.length - 1}/${hidesSize ? '*' : CONTENT.length}`,
      }),
    };
    return Promise.resolve(new Response(body, {status: start > 0 ? 206 : 200, headers}));
  });
  return starts;
}

/** Lets pauses pass at once. Returns their milliseconds. */
function skipPauses(): number[] {
  const pauses: number[] = [];
  jest.spyOn(globalThis, 'setTimeout').mockImplementation(((callback: () => void, milliseconds: number) => {
    pauses.push(milliseconds);
    queueMicrotask(callback);
  }) as typeof setTimeout);
  return pauses;
}

const open = (cache: FileCache, commit = 'first') => openHubFile(fileAt(commit), cache, undefined);
const readAll = async (response: Response) => new Uint8Array(await response.arrayBuffer());
const isContent = (bytes: Uint8Array) => Buffer.compare(bytes, CONTENT) === 0;

test.each([{hidesSize: false}, {hidesSize: true}])('a file that was read is in the cache: %o', async behaviour => {
  const cache = new FileCache(new MemoryStore(), 2 ** 30);
  const starts = served(behaviour);
  expect(isContent(await readAll(await open(cache)))).toBe(true);
  expect(await cache.list()).toMatchObject([{address: 'hf://a/b/c.bin', bytes: CONTENT.length}]);
  expect(isContent(await readAll(await open(cache)))).toBe(true);
  expect(starts).toEqual([0]);
});

test.each([
  [false, String(CONTENT.length)],
  [true, null],
])('a response has the length of the file if the host says it: %s, %s', async (hidesSize, length) => {
  served({hidesSize});
  const response = await open(new FileCache(new MemoryStore(), 2 ** 30));
  expect(response.headers.get('content-length')).toBe(length);
  await response.body!.cancel();
});

test('a reader that wants no more ends the request and the response', async () => {
  const cancel = jest.fn();
  served({cancel});
  const reader = (await open(new FileCache(new MemoryStore(), 2 ** 30))).body!.getReader();
  await reader.read();
  await reader.cancel(new Error('enough'));
  expect(cancel).toHaveBeenCalledTimes(1);
  const {signal} = jest.mocked(fetch).mock.calls[0]![1]!;
  expect(signal).toMatchObject({aborted: true, reason: new Error('enough')});
});

test('each piece of a file is written once', async () => {
  const store = new MemoryStore();
  const write = jest.spyOn(store, 'write');
  served();
  await readAll(await open(new FileCache(store, 2 ** 30)));
  const pieces = write.mock.calls.map(([key]) => key.replace(/^[^.]*/, '')).filter(key => /\.\d+$/.test(key));
  expect(pieces).toEqual(['.0', '.1', '.2']);
});

test('a file that another commit has too is not read again', async () => {
  const cache = new FileCache(new MemoryStore(), 2 ** 30);
  const starts = served();
  await readAll(await open(cache));
  expect(isContent(await readAll(await open(cache, 'second')))).toBe(true);
  // Only the headers of the second commit are read; the third time, its version is known.
  await readAll(await open(cache, 'second'));
  expect(starts).toEqual([0, 0]);
});

test.each([{hidesSize: false}, {hidesSize: true}])(
  'a file continues after its last whole piece: %o',
  async behaviour => {
    const cache = new FileCache(new MemoryStore(), 2 ** 30);
    const starts = served(behaviour);
    const reader = (await open(cache)).body!.getReader();
    for (let position = 0; position < 6 * MIB;) {
      position += (await reader.read()).value!.length;
    }
    await reader.cancel();
    expect(await cache.list()).toEqual([]);
    expect(isContent(await readAll(await open(cache)))).toBe(true);
    expect(starts).toEqual([0, 0, 4 * MIB]);
    expect(await cache.list()).toMatchObject([{bytes: CONTENT.length}]);
  },
);

test('a connection that breaks off is continued four times in a row, after longer and longer pauses', async () => {
  const pauses = skipPauses();
  const starts = served({dropAfter: 100});
  const loading = open(new FileCache(new MemoryStore(), 2 ** 30)).then(readAll);
  await expect(loading).rejects.toThrow('hf://a/b/c.bin broke off after byte 500 of 10,485,765: reset');
  expect(starts).toEqual([0, 100, 200, 300, 400]);
  expect(pauses).toEqual([100, 200, 400, 800]);
});

test('failures are counted anew after a whole piece', async () => {
  const pauses = skipPauses();
  const starts = served({dropAfter: 4 * MIB, times: 2});
  expect(isContent(await readAll(await open(new FileCache(new MemoryStore(), 2 ** 30))))).toBe(true);
  expect(starts).toEqual([0, 4 * MIB, 8 * MIB]);
  expect(pauses).toEqual([100, 100]);
});

test('a file larger than the cache may be is read, and not kept', async () => {
  const store = new MemoryStore();
  served();
  expect(isContent(await readAll(await open(new FileCache(store, CONTENT.length - 1))))).toBe(true);
  expect(store.files.size).toBe(0);
});

test('room is made by removing the files that were not used for the longest time, and no more than is needed', async () => {
  const store = new MemoryStore();
  const sizeOf = async () => (await store.entries()).reduce((sum, {bytes}) => sum + bytes, 0);
  const fill = async (maxBytes: number) => {
    store.files.clear();
    const cache = new FileCache(store, maxBytes);
    for (const [id, used] of [
      ['b', 2],
      ['a', 1],
      ['c', 3],
    ] as const) {
      await cache.keepNote(`${id}.json`, {used});
      await cache.keepPiece(id, 0, new Uint8Array(100));
    }
    await cache.keepNote('e.at', {});
    return cache;
  };
  await fill(0);
  const whole = await sizeOf();
  const left = async (maxBytes: number) => {
    await (await fill(maxBytes)).makeRoom('d', 50);
    return [...store.files.keys()].filter(key => key.endsWith('.0')).join(' ');
  };
  expect(await left(whole + 50)).toBe('b.0 a.0 c.0');
  expect(await left(whole + 49)).toBe('b.0 c.0');
  expect(await left(whole - 61)).toBe('c.0');
  expect([...store.files.keys()]).toContain('e.at');
  // A file makes no room for itself by its own removal.
  await (await fill(whole)).makeRoom('a', 0);
  expect(store.files.size).toBe(7);
});

test('a file notes when it was last read, from the cache too', async () => {
  const cache = new FileCache(new MemoryStore(), 2 ** 30);
  served();
  const clock = jest.spyOn(Date, 'now');
  for (const time of [1e9, 1e9 + 1]) {
    clock.mockReturnValue(time);
    await readAll(await open(cache));
    expect((await cache.list()).map(({lastUsed}) => lastUsed.getTime())).toEqual([time]);
  }
});

test('a file counts as used from when it is opened, so that room is made by removing others', async () => {
  const cache = new FileCache(new MemoryStore(), 2 ** 30);
  served();
  const clock = jest.spyOn(Date, 'now').mockReturnValue(1e9);
  await readAll(await open(cache));
  for (const [time, noted] of [
    [1e9 + 60_000, 1e9],
    [1e9 + 60_001, 1e9 + 60_001],
  ] as const) {
    clock.mockReturnValue(time);
    await (await open(cache)).body!.cancel();
    expect((await cache.list()).map(({lastUsed}) => lastUsed.getTime())).toEqual([noted]);
  }
});
