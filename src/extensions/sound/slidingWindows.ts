import {checkCount} from '../../platform/errors';

/** A window of a stream. */
export interface SlidingWindow {
  /** A copy. */
  readonly samples: Float32Array;
  /** The index of its first sample in the stream. */
  readonly firstSample: number;
}

/**
 * Cuts a stream of samples into windows that overlap.
 *
 * @param windowSize samples of a window.
 * @param hopSize samples from the start of one window to that of the next.
 * @returns a function that takes the next samples of the stream, any number of them, and returns the windows that they
 *     complete.
 * @throws LoRAError `ERR_OPTION` if `windowSize` or `hopSize` is not a positive whole number.
 * @example
 *     const push = slidingWindows(16_000, 4000); // one second, four times a second
 *     for (const {samples, firstSample} of push(chunk)) {
 *       listen(samples, firstSample / 16_000);
 *     }
 * @experimental
 */
export function slidingWindows(windowSize: number, hopSize: number): (samples: Float32Array) => SlidingWindow[] {
  checkCount('windowSize', windowSize);
  checkCount('hopSize', hopSize);
  const held = new Float32Array(windowSize);
  let [filled, firstSample, skipped] = [0, 0, 0];
  return samples => {
    const windows: SlidingWindow[] = [];
    for (let at = 0; at < samples.length;) {
      if (skipped > 0) {
        const count = Math.min(skipped, samples.length - at);
        [at, skipped] = [at + count, skipped - count];
        continue;
      }
      const fitting = samples.subarray(at, at + windowSize - filled);
      held.set(fitting, filled);
      [at, filled] = [at + fitting.length, filled + fitting.length];
      if (filled === windowSize) {
        windows.push({samples: held.slice(), firstSample});
        firstSample += hopSize;
        held.copyWithin(0, Math.min(hopSize, windowSize));
        filled = Math.max(0, windowSize - hopSize);
        skipped = Math.max(0, hopSize - windowSize);
      }
    }
    return windows;
  };
}
