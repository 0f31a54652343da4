import {Recorder, slidingWindows} from 'tfjs-lora/sound';

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
