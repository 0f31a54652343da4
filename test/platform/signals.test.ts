import {getEventListeners} from 'node:events';
import {LoRAError} from '../../src/platform/errors';
import {
  abortError,
  checkCallOptions,
  type CallProgress,
  stepsOf,
  throwIfAborted,
  unlessAborted,
  withOwnErrors,
} from '../../src/platform/signals';

const REASON = new Error('the visitor left');

test('an aborted signal throws an error with the signal’s reason', () => {
  const controller = new AbortController();
  throwIfAborted(undefined);
  throwIfAborted(controller.signal);
  controller.abort(REASON);
  const work = () => throwIfAborted(controller.signal);
  expect(work).toThrow('The call was aborted: the visitor left');
  expect(work).toThrow(LoRAError);
  expect(abortError(controller.signal)).toMatchObject({code: 'ERR_ABORTED', cause: REASON});
});

test('a promise counts unless the signal is aborted first', async () => {
  const controller = new AbortController();
  expect(await unlessAborted(Promise.resolve(1), controller.signal)).toBe(1);
  expect(await unlessAborted(Promise.resolve(2), undefined)).toBe(2);
  await expect(unlessAborted(Promise.reject(REASON), controller.signal)).rejects.toBe(REASON);
  expect(getEventListeners(controller.signal, 'abort')).toEqual([]);
  const waiting = unlessAborted(new Promise(() => undefined), controller.signal);
  controller.abort(REASON);
  await expect(waiting).rejects.toMatchObject({code: 'ERR_ABORTED', cause: REASON});
  await expect(unlessAborted(new Promise(() => undefined), controller.signal)).rejects.toMatchObject({cause: REASON});
});

test('between steps a call reports, and lets a timer abort it', async () => {
  const controller = new AbortController();
  const reports: CallProgress[] = [];
  const step = stepsOf({signal: controller.signal, onProgress: progress => reports.push(progress)});
  setTimeout(() => controller.abort(REASON), 5);
  const work = async () => {
    for (let done = 0; ; done++) {
      await step({done, total: Infinity, what: 'waiting'});
    }
  };
  await expect(work()).rejects.toMatchObject({code: 'ERR_ABORTED', cause: REASON});
  expect(reports[0]).toEqual({done: 0, total: Infinity, what: 'waiting'});
  expect(reports.length).toBeGreaterThan(1);
});

test('a call that onProgress aborts ends after the report, and an aborted one before it', async () => {
  const controller = new AbortController();
  let reports = 0;
  const onProgress = () => {
    reports++;
    controller.abort(REASON);
  };
  const step = stepsOf({signal: controller.signal, onProgress});
  await expect(step({done: 0, total: 1, what: 'work'})).rejects.toMatchObject({code: 'ERR_ABORTED'});
  await expect(step({done: 0, total: 1, what: 'work'})).rejects.toMatchObject({code: 'ERR_ABORTED'});
  expect(reports).toBe(1);
});

test('a call that wraps errors ends with that of onProgress as it was thrown', async () => {
  const progress = {done: 0, total: 1, what: 'work'};
  const reports: CallProgress[] = [];
  const failing = () => {
    throw REASON;
  };
  const wrapped = (watched: {onProgress?: (progress: CallProgress) => void}) =>
    Promise.resolve()
      .then(() => watched.onProgress?.(progress))
      .catch((error: unknown) => Promise.reject(new Error('wrapped', {cause: error})));
  await expect(withOwnErrors({onProgress: failing}, wrapped)).rejects.toBe(REASON);
  await withOwnErrors({onProgress: report => reports.push(report)}, wrapped);
  expect(reports).toEqual([progress]);
  const other = new Error('other');
  await expect(withOwnErrors({}, () => Promise.reject(other))).rejects.toBe(other);
});

test('an onProgress that throws ends the call with its error', async () => {
  const step = stepsOf({
    onProgress: () => {
      throw REASON;
    },
  });
  await expect(step({done: 0, total: 1, what: 'work'})).rejects.toBe(REASON);
});

test('other values are refused', () => {
  checkCallOptions({});
  expect(() => checkCallOptions({signal: {} as AbortSignal})).toThrow('signal must be an AbortSignal');
  expect(() => checkCallOptions({onProgress: 'yes' as never})).toThrow('onProgress must be a function');
});
