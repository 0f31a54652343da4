import type {Sound} from 'tfjs-lora/sound';

const KINDS = 8;

/** Numbers in [-1, 1) of a linear congruential generator, as in `make_sounds.py`. */
export function noise(seed: number, length: number): Float64Array {
  let state = seed;
  return Float64Array.from({length}, () => {
    state = (state * 1664525 + 1013904223) % 2 ** 32;
    return state / 2 ** 31 - 1;
  });
}

/** The sounds of `make_sounds.py`: tones, noise, sweeps, silence, clicks, clipped and broken ones. */
export function clip(number: number): Sound {
  const length = 900 + ((number * 7919) % 15000);
  const hertz = 80 + ((number * 389) % 7000);
  const hiss = noise(number + 1, length);
  const sine = (frequency: number, t: number) => Math.sin(2 * Math.PI * frequency * t);
  const kinds: readonly ((t: number, i: number) => number)[] = [
    t => 0.7 * sine(hertz, t),
    (_, i) => 0.5 * hiss[i]!,
    t => 0.6 * Math.sin(2 * Math.PI * (100 * t + hertz * t * t)),
    (_, i) => (number % 16 === 3 ? 0 : 1e-4 * hiss[i]!),
    (_, i) => (i % (50 + number) === 0 ? 1 : 0),
    t => Math.max(-1, Math.min(1, 3 * sine(hertz, t))),
    t => 0.3 + 0.2 * sine(hertz, t) * sine(3, t),
    (t, i) => (sine(4, t) > 0 ? 0.4 * sine(hertz, t) + 0.01 * hiss[i]! : 0),
  ];
  const make = kinds[number % KINDS]!;
  return {samples: Float32Array.from({length}, (_, i) => make(i / 16000, i)), sampleRate: 16000};
}

/** A WAV file, as bytes. */
export function wav({
  bits = 16,
  format = 1,
  channels = 1,
  sampleRate = 16000,
  width = Math.ceil(bits / 8),
  data = new Uint8Array(0),
  size = data.length,
  extensible = false,
}: {
  bits?: number;
  format?: number;
  channels?: number;
  sampleRate?: number;
  width?: number;
  data?: Uint8Array;
  size?: number;
  extensible?: boolean;
}): Uint8Array {
  const length = extensible ? 40 : 16;
  const bytes = new Uint8Array(12 + 8 + length + 8 + 4 + 8 + data.length);
  const view = new DataView(bytes.buffer);
  const text = (at: number, letters: string) => bytes.set(new TextEncoder().encode(letters), at);
  text(0, 'RIFF');
  view.setUint32(4, bytes.length - 8, true);
  text(8, 'WAVEfmt ');
  view.setUint32(16, length, true);
  view.setUint16(20, extensible ? 0xfffe : format, true);
  view.setUint16(22, channels, true);
  view.setUint32(24, sampleRate, true);
  view.setUint32(28, sampleRate * channels * width, true);
  view.setUint16(32, channels * width, true);
  view.setUint16(34, bits, true);
  if (extensible) {
    view.setUint16(44, format, true);
  }
  const rest = 20 + length;
  text(rest, 'LIST'); // a chunk of no interest, of odd size
  view.setUint32(rest + 4, 3, true);
  text(rest + 12, 'data');
  view.setUint32(rest + 16, size, true);
  bytes.set(data, rest + 20);
  return bytes;
}
