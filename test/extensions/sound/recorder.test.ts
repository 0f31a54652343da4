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
