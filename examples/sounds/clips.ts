import type {Sound} from 'tfjs-lora/sound';
import {mulberry32} from '../shared/random';

/** Samples a second of all clips. */
export const RATE = 16_000;

/** Noise whose power falls with the frequency, more or less: a fan, traffic, rain; with a hum or clicks. */
export function noise(seconds: number, seed: number): Sound {
  const random = mulberry32(seed);
  const [color, hum, clicks] = [random(), random() < 0.4 ? 50 + 200 * random() : 0, random() < 0.3 ? 4 * random() : 0];
  let low = 0;
  const samples = Float32Array.from({length: Math.round(seconds * RATE)}, (_, i) => {
    const white = 2 * random() - 1;
    low += (1 - color * 0.98) * (white - low);
    const tone = hum && 0.3 * Math.sin((2 * Math.PI * hum * i) / RATE);
    return 0.3 * (low + tone + (random() < clicks / RATE ? 3 * white : 0));
  });
  return {samples, sampleRate: RATE};
}

/** The seconds of a recording, one after the other. */
export function seconds({samples, sampleRate}: Sound): Sound[] {
  return Array.from({length: Math.floor(samples.length / sampleRate)}, (_, i) => {
    return {samples: samples.slice(i * sampleRate, (i + 1) * sampleRate), sampleRate};
  });
}
