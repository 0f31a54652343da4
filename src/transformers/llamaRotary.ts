import {show} from '../errors';
import type {Rotary} from './layers/rotaryAngles';
import type {HubConfig} from './hubConfig';

/** How the angles of places are stretched beyond those of the training, as a config says it. */
interface Scaling {
  rope_type?: unknown;
  type?: unknown;
  rope_theta?: unknown;
  factor?: unknown;
  low_freq_factor?: unknown;
  high_freq_factor?: unknown;
  original_max_position_embeddings?: unknown;
}

/** The angles of a Llama-like model, of heads of `size` numbers. */
export function rotaryOf(config: HubConfig, size: number): Rotary {
  // Newer configs have all of it in `rope_parameters`, older ones the base by itself.
  const given = config.get('rope_parameters') ?? config.get('rope_scaling') ?? {};
  const scaling = (typeof given === 'object' ? given : {}) as Scaling;
  const base = typeof scaling.rope_theta === 'number' ? scaling.rope_theta : config.number('rope_theta', 10_000);
  if (!(base > 0 && base < Infinity)) {
    config.fault(`rope_theta must be a positive number, got ${show(base)}.`);
    return {};
  }
  const {fround} = Math;
  const plain = Array.from({length: Math.floor(size / 2)}, (_, j) => fround(1 / fround(base ** ((2 * j) / size))));
  const kind = scaling.rope_type ?? scaling.type ?? 'default';
  const number = (name: keyof Scaling) => {
    const value = scaling[name];
    if (typeof value !== 'number' || !(value > 0 && value < Infinity)) {
      config.fault(`${name} of the rotary scaling must be a positive number, got ${show(value)}.`);
      return 1;
    }
    return value;
  };
  switch (kind) {
    case 'default':
      return {base, frequencies: plain};
    case 'linear':
      return {base, frequencies: plain.map(frequency => fround(frequency / number('factor')))};
    case 'llama3': {
      const [factor, low, high] = [number('factor'), number('low_freq_factor'), number('high_freq_factor')];
      const places = number('original_max_position_embeddings');
      return {base, frequencies: plain.map(frequency => fround(stretched(frequency, {factor, low, high, places})))};
    }
    default:
      config.fault(`The rotary scaling ${show(kind)} is not known; known are default, linear and llama3.`);
      return {};
  }
}

/** Slow turns are slowed by the factor, fast ones stay, and those between go from one to the other. */
function stretched(
  frequency: number,
  {factor, low, high, places}: {factor: number; low: number; high: number; places: number},
): number {
  const length = (2 * Math.PI) / frequency;
  if (length < places / high) {
    return frequency;
  }
  if (length > places / low) {
    return frequency / factor;
  }
  const share = (places / length - low) / (high - low);
  return ((1 - share) * frequency) / factor + share * frequency;
}
