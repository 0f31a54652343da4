import {checkCount} from '../../platform/errors';

/** A window of a stream. */
export interface SlidingWindow {
  /** A copy. */
  readonly samples: Float32Array;
  /** The index of its first sample in the stream. */
  readonly start: number;
}

/**
 * Cuts a stream of samples into windows that overlap.
 *
 * @param length samples of a window.
 * @param hop samples from the start of one window to that of the next.
 * @returns a function that takes the next samples of the stream, any number of them, and returns the windows that they
 *     complete.
 * @throws LoRAError `ERR_OPTION` if `length` or `hop` is not a positive whole number.
 * @example
 *     const push = slidingWindows(16_000, 4000); // one second, four times a second
 *     for (const {samples, start} of push(chunk)) {
 *       listen(samples, start / 16_000);
 *     }
 * @experimental
 */
export function slidingWindows(length: number, hop: number): (samples: Float32Array) => SlidingWindow[] {
  checkCount('length', length);
  checkCount('hop', hop);
  const held = new Float32Array(length);
  let [filled, start, skipped] = [0, 0, 0];
  return samples => {
    const windows: SlidingWindow[] = [];
    for (let at = 0; at < samples.length;) {
      if (skipped > 0) {
        const count = Math.min(skipped, samples.length - at);
        [at, skipped] = [at + count, skipped - count];
        continue;
      }
      const part = samples.subarray(at, at + length - filled);
      held.set(part, filled);
      [at, filled] = [at + part.length, filled + part.length];
      if (filled === length) {
        windows.push({samples: held.slice(), start});
        start += hop;
        held.copyWithin(0, Math.min(hop, length));
        filled = Math.max(0, length - hop);
        skipped = Math.max(0, hop - length);
      }
    }
    return windows;
  };
}
