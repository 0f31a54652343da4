import {tooLargeError} from '../../platform/errors';
import {checkRate, checkSound, type Sound} from './sound';

/** The shape of the Kaiser window. */
const BETA = 5;
/** Zero crossings of the filter on each side. */
const CROSSINGS = 10;
/** Over two hours at 16 kHz. */
const MAX_SAMPLES = 2 ** 27;

/**
 * Changes the sample rate of a sound with a polyphase filter, a sinc in a Kaiser window (β = 5), as
 * `scipy.signal.resample_poly` does by default.
 *
 * @param sound samples with their rate.
 * @param sampleRate the new rate, in samples a second.
 * @returns the sound at that rate; the same object if it has that rate.
 * @throws LoRAError `ERR_OPTION` if it is no sound, or a rate is not between 1000 and 384,000; `ERR_TOO_LARGE` if the
 *     result would have more than 2²⁷ samples.
 * @example
 *     const {samples} = resample({samples: recording, sampleRate: 44_100}, 16_000);
 * @experimental
 */
export function resample(sound: Sound, sampleRate: number): Sound {
  checkSound(sound, 'the sound');
  checkRate('sampleRate', sampleRate);
  const divisor = greatestDivisor(sampleRate, sound.sampleRate);
  const [up, down] = [sampleRate / divisor, sound.sampleRate / divisor];
  const {samples} = sound;
  const length = Math.ceil((samples.length * up) / down);
  if (up === down) {
    return sound;
  }
  if (length > MAX_SAMPLES) {
    throw tooLargeError(`The sound would have ${length} samples; at most ${MAX_SAMPLES} are made. Cut it first.`);
  }
  const {taps, half} = filterFor(up, down);
  const result = Float32Array.from({length}, (_, j) => {
    const middle = j * down; // on the grid of `up` points a sample
    const first = Math.max(0, Math.ceil((middle - half) / up));
    const last = Math.min(samples.length - 1, Math.floor((middle + half) / up));
    let sum = 0;
    for (let i = first; i <= last; i++) {
      sum += (samples[i] as number) * (taps[half + middle - i * up] as number);
    }
    return sum;
  });
  return {samples: result, sampleRate};
}

function greatestDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestDivisor(b, a % b);
}

interface Filter {
  taps: Float64Array;
  /** The index of the middle one. */
  half: number;
}

/** The last filter: sounds of one recorder or data set have one rate. */
let latest: (Filter & {up: number; down: number}) | undefined;

/** A low-pass filter at the lower of the two Nyquist frequencies, which passes a constant unchanged. */
function filterFor(up: number, down: number): Filter {
  if (latest?.up === up && latest.down === down) {
    return latest;
  }
  const most = Math.max(up, down);
  const half = CROSSINGS * most;
  const taps = Float64Array.from({length: 2 * half + 1}, (_, i) => {
    const x = (Math.PI * (i - half)) / most;
    const window = besselI0(BETA * Math.sqrt(1 - ((i - half) / half) ** 2));
    return window * (x === 0 ? 1 : Math.sin(x) / x);
  });
  const sum = taps.reduce((total, tap) => total + tap, 0);
  latest = {taps: taps.map(tap => (up * tap) / sum), half, up, down};
  return latest;
}

/** The modified Bessel function of the first kind and order 0, by its series. */
function besselI0(x: number): number {
  let [sum, term] = [1, 1];
  for (let k = 1; term > 1e-17 * sum; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}
