import {LoRAError} from 'tfjs-lora';
import {readWav, Recorder, slidingWindows} from 'tfjs-lora/sound';
import {wav} from './clips';

/** The samples and starts of the windows of 0, 1, 2, …, in pieces of some lengths. */
function windowsOf(length: number, hop: number, pieces: readonly number[]): [number, number[]][] {
  const push = slidingWindows(length, hop);
  let next = 0;
  return pieces
    .flatMap(count => push(Float32Array.from({length: count}, () => next++)))
    .map(({samples, firstSample}) => [firstSample, [...samples]]);
}

test('windows overlap, whatever the pieces of the stream', () => {
  const expected = [
    [0, [0, 1, 2, 3]],
    [3, [3, 4, 5, 6]],
    [6, [6, 7, 8, 9]],
  ];
  expect(windowsOf(4, 3, [10])).toEqual(expected);
  expect(windowsOf(4, 3, [1, 1, 5, 0, 3])).toEqual(expected);
  expect(windowsOf(2, 5, [3, 1, 9])).toEqual([
    [0, [0, 1]],
    [5, [5, 6]],
    [10, [10, 11]],
  ]);
});

test('a recorder says where it can and cannot record', async () => {
  const recorder = new Recorder();
  await expect(recorder.start()).rejects.toMatchObject({code: 'ERR_UNSUPPORTED'});
  await expect(recorder.record(1)).rejects.toThrow('The recorder is not started. Call `await recorder.start()` first.');
  await expect(recorder.windows({seconds: 1}).next()).rejects.toMatchObject({code: 'ERR_NOT_READY'});
  await expect(recorder.windows({seconds: 0}).next()).rejects.toThrow('seconds must be a number of seconds above 0');
  await recorder.stop();
  expect(recorder.isRunning).toBe(false);
  expect(() => new Recorder({onLevel: 1 as never})).toThrow('onLevel must be a function of the level.');
  expect(() => slidingWindows(0, 1)).toThrow('windowSize must be a whole number, 1 or more, got 0.');
});

describe('with a microphone', () => {
  /** The port of the worklet, by which a test sends pieces of sound. */
  const port: {onmessage?: (event: {data: Float32Array}) => void} = {};
  const track = {stop: jest.fn()};
  const FAKES = {
    AudioContext: class {
      readonly sampleRate = 4;
      readonly audioWorklet = {addModule: () => Promise.resolve()};
      resume = () => Promise.resolve();
      close = () => Promise.resolve();
      createMediaStreamSource = () => ({connect: () => undefined});
    },
    AudioWorkletNode: class {
      readonly port = port;
    },
    navigator: {mediaDevices: {getUserMedia: () => Promise.resolve({getTracks: () => [track]})}},
  };
  const globals = Object.keys(FAKES).map(name => [name, Object.getOwnPropertyDescriptor(globalThis, name)] as const);
  let recorder: Recorder;

  beforeEach(async () => {
    for (const [name, value] of Object.entries(FAKES)) {
      Object.defineProperty(globalThis, name, {value, configurable: true});
    }
    track.stop.mockClear();
    recorder = new Recorder();
    await recorder.start();
  });
  afterEach(async () => {
    await recorder.stop();
    for (const [name, descriptor] of globals) {
      Reflect.deleteProperty(globalThis, name);
      if (descriptor !== undefined) {
        Object.defineProperty(globalThis, name, descriptor);
      }
    }
  });

  test('a recording ends when its seconds are there, and the rest of a piece is left out', async () => {
    const recording = recorder.record(1);
    port.onmessage?.({data: Float32Array.of(1, 2, 3)});
    port.onmessage?.({data: Float32Array.of(4, 5, 6)});
    expect(await recording).toEqual({samples: Float32Array.of(1, 2, 3, 4), sampleRate: 4});
  });

  test('a signal ends a recording, and the recorder goes on', async () => {
    const [early, late] = [new AbortController(), new AbortController()];
    early.abort();
    await expect(recorder.record(1, {signal: early.signal})).rejects.toMatchObject({code: 'ERR_ABORTED'});
    const aborted = recorder.record(1, {signal: late.signal});
    const other = recorder.record(1);
    port.onmessage?.({data: Float32Array.of(1, 2)});
    late.abort(new Error('enough'));
    await expect(aborted).rejects.toThrow('The call was aborted: enough');
    port.onmessage?.({data: Float32Array.of(3, 4)});
    expect((await other).samples).toEqual(Float32Array.of(1, 2, 3, 4));
    expect(recorder.isRunning).toBe(true);
    expect(track.stop).not.toHaveBeenCalled();
  });
});

const bytesOf = (values: ArrayLike<number> & ArrayBufferView) => new Uint8Array(values.buffer);

test.each([
  ['8 bits', {bits: 8, data: Uint8Array.of(0, 128, 192)}, [-1, 0, 0.5]],
  ['16 bits', {bits: 16, data: bytesOf(Int16Array.of(-32768, 1, 16384))}, [-1, 2 ** -15, 0.5]],
  ['12 bits', {bits: 12, data: bytesOf(Int16Array.of(-32768, 16, 16384))}, [-1, 2 ** -11, 0.5]],
  ['24 bits', {bits: 24, data: Uint8Array.of(0, 0, 0x80, 1, 0, 0, 0, 0, 0x40)}, [-1, 2 ** -23, 0.5]],
  [
    '24 bits in 32',
    {bits: 24, width: 4, data: bytesOf(Int32Array.of(-(2 ** 31), 2 ** 8, 2 ** 30))},
    [-1, 2 ** -23, 0.5],
  ],
  ['32 bits', {bits: 32, data: bytesOf(Int32Array.of(-(2 ** 31), 2 ** 20, 2 ** 30))}, [-1, 2 ** -11, 0.5]],
  ['floats', {bits: 32, format: 3, data: bytesOf(Float32Array.of(-1, 0.125, 0.5))}, [-1, 0.125, 0.5]],
  ['doubles', {bits: 64, format: 3, data: bytesOf(Float64Array.of(-1, 0.125, 0.5))}, [-1, 0.125, 0.5]],
])('reads samples of %s', (_, options, expected) => {
  for (const extensible of [false, true]) {
    const {samples, channels, sampleRate} = readWav(wav({...options, extensible, sampleRate: 22050}));
    expect([...samples]).toEqual(expected);
    expect(channels.map(channel => [...channel])).toEqual([expected]);
    expect(sampleRate).toBe(22050);
  }
});

test('averages channels, and leaves out an incomplete last sample', () => {
  const data = bytesOf(Int16Array.of(16384, -16384, 32767, 1, 99));
  const {samples, channels} = readWav(wav({channels: 2, data}));
  expect(channels.map(channel => [...channel])).toEqual([
    [0.5, 32767 / 32768],
    [-0.5, 1 / 32768],
  ]);
  expect([...samples]).toEqual([0, 0.5]);
});

test('reads a stream to its end whose header does not know its length', () => {
  const data = bytesOf(Int16Array.of(16384, -16384));
  expect([...readWav(wav({data, size: 0xffffffff})).samples]).toEqual([0.5, -0.5]);
});

test.each([0, 36, 0xffffffff])('reads samples of a size of 0 to the end of a file that claims %d bytes', claimed => {
  const bytes = wav({data: bytesOf(Int16Array.of(16384, -16384)), size: 0});
  new DataView(bytes.buffer).setUint32(4, claimed, true);
  expect([...readWav(bytes).samples]).toEqual([0.5, -0.5]);
});

test('a whole file without samples is an empty sound, whatever follows', () => {
  const bytes = wav({size: 0, data: new TextEncoder().encode('LIST\x04\0\0\0INFO')});
  expect([...readWav(bytes).samples]).toEqual([]);
});

/** The file with sizes of 64 bits, as in EBU Tech 3306. */
function longFile(bytes: Uint8Array, start: string, size: bigint): Uint8Array {
  const sizes = new DataView(new ArrayBuffer(8 + 28));
  sizes.setUint32(4, 28, true);
  sizes.setBigUint64(8, BigInt(bytes.length - 8), true);
  sizes.setBigUint64(16, size, true);
  const file = new Uint8Array([...bytes.subarray(0, 12), ...new Uint8Array(sizes.buffer), ...bytes.subarray(12)]);
  file.set(new TextEncoder().encode(start));
  file.set(new TextEncoder().encode('ds64'), 12);
  file.fill(0xff, 4, 8);
  return file;
}

test.each(['RF64', 'BW64'])('reads %s, whose sizes have 64 bits, and chunks after the samples', start => {
  const data = bytesOf(Int16Array.of(16384, -16384));
  const bytes = wav({
    data: new Uint8Array([...data, ...new TextEncoder().encode('LIST\x04\0\0\0INFO')]),
    size: 0xffffffff,
  });
  expect([...readWav(longFile(bytes, start, 4n)).samples]).toEqual([0.5, -0.5]);
  expect(() => readWav(longFile(bytes, start, 2n ** 40n))).toThrow('ends in its chunk "data" of 1099511627776 bytes');
});

test('reads a part of a larger buffer', () => {
  const bytes = wav({data: bytesOf(Int16Array.of(16384))});
  const larger = new Uint8Array(bytes.length + 9);
  larger.set(bytes, 5);
  expect([...readWav(larger.subarray(5, 5 + bytes.length)).samples]).toEqual([0.5]);
});

test.each([
  ['no file', Uint8Array.of(1, 2, 3), 'ERR_DAMAGED', 'does not start with RIFF, RF64 or BW64, and WAVE'],
  ['no samples', wav({}).subarray(0, 36), 'ERR_DAMAGED', 'The WAV file has no samples.'],
  [
    'an end that is missing',
    wav({data: new Uint8Array(8), size: 9}),
    'ERR_DAMAGED',
    'ends in its chunk "data" of 9 bytes',
  ],
  ['a compressed format', wav({format: 85}), 'ERR_UNSUPPORTED', 'samples of format 85'],
  ['samples of 4 bits', wav({bits: 4}), 'ERR_UNSUPPORTED', '1 channels with samples of 4 bits in 1 bytes'],
  ['no channels', wav({channels: 0}), 'ERR_UNSUPPORTED', '0 channels'],
  ['a rate of 5 Hz', wav({sampleRate: 5}), 'ERR_OPTION', 'The sample rate of the WAV file must be a whole number'],
])('refuses %s', (_, bytes, code, message) => {
  const reading = () => readWav(bytes);
  expect(reading).toThrow(LoRAError);
  expect(reading).toThrow(message);
  expect(reading).toThrow(expect.objectContaining({code}) as Error);
});

test('refuses what are no bytes', () => {
  expect(() => readWav('RIFF' as never)).toThrow('readWav reads the bytes of a file');
});
