import {centerSound, resample, type Sound} from 'tfjs-lora/sound';
import {makeSvg} from '../../shared/svg';
import {RATE, seconds} from '../clips';

/** Clips of one second from a sound: the loudest of a short one, all of one that is longer than two seconds. */
export function clipsOf(sound: Sound): Sound[] {
  const resampled = resample(sound, RATE);
  return resampled.samples.length <= 2 * RATE ? [centerSound(resampled)] : seconds(resampled);
}

/** Plays a clip. */
export async function play({samples, sampleRate}: Sound): Promise<void> {
  const context = new AudioContext();
  const buffer = context.createBuffer(1, samples.length, sampleRate);
  buffer.getChannelData(0).set(samples);
  const source = context.createBufferSource();
  source.buffer = buffer;
  source.connect(context.destination);
  source.onended = () => void context.close();
  await context.resume();
  source.start();
}

/** The shape of a clip. */
export function waveOf({samples}: Sound): SVGElement {
  const count = 40;
  const step = Math.ceil(samples.length / count);
  const most = samples.reduce((peak, value) => Math.max(peak, Math.abs(value)), 0.3);
  const bars = Array.from({length: count}, (_, i) => {
    const peak = samples.subarray(i * step, (i + 1) * step).reduce((high, value) => Math.max(high, Math.abs(value)), 0);
    const half = Math.max(0.4, (7 * peak) / most);
    return `M${i + 0.5} ${8 - half}v${2 * half}`;
  });
  const path = makeSvg('path', {d: bars.join('')});
  return makeSvg('svg', {class: 'wave', viewBox: `0 0 ${count} 16`, 'aria-hidden': 'true'}, path);
}
