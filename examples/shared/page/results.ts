import {percent} from '../dom';

/** The parameters of an adapter, and the bytes of its file. */
export interface Size {
  parameters: number;
  bytes: number;
}

export function sizeText({parameters, bytes}: Size): string {
  const size = bytes < 1e6 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
  return `${parameters.toLocaleString('en')} parameters, a file of ${size}`;
}

/** Says how many of some images, or other samples, are right. Of few, the share may be another: see `interval`. */
export function accuracyText(right: number, count: number): string {
  const [low, high] = interval(right, count).map(share => Math.round(100 * share));
  return `${percent(right / count)}${count < 100 ? ` (${low} to ${high})` : ''}`;
}

/** What `accuracyText` puts into brackets, in words, as HTML. */
export const INTERVAL_HELP = 'The numbers in brackets are the 95 % interval of the accuracy.';

/** The 95 % interval of a share that was measured on a few samples (Wilson, 1927). */
export function interval(right: number, count: number): [low: number, high: number] {
  const z = 1.96;
  const share = right / count;
  const middle = share + z ** 2 / (2 * count);
  const width = z * Math.sqrt((share * (1 - share)) / count + (z / (2 * count)) ** 2);
  return [(middle - width) / (1 + z ** 2 / count), (middle + width) / (1 + z ** 2 / count)];
}
