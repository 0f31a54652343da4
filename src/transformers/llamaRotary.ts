import {kindOf, show} from '../errors';
import {frequenciesOf, type Rotary} from './layers/rotaryAngles';
import type {HubConfig} from './hubConfig';

/** How the angles of places are stretched beyond those of the training, as a config says it. */
type Scaling = Readonly<Record<string, unknown>>;

/**
 * The angles of a Llama-like model, of heads of `size` numbers, as transformers reads them; `usual` is the base that it
 * takes if the config has none.
 */
export function rotaryOf(config: HubConfig, size: number, usual = 10_000): Rotary {
  const scaling = scalingFieldsOf(config);
  const base = positive(config, 'rope_theta', scaling.rope_theta, config.get('rope_theta'), usual);
  const {fround} = Math;
  const plain = frequenciesOf({base}, size);
  const kind = firstOf(scaling.rope_type, scaling.type, 'default');
  const factor = () => positive(config, 'factor of the rotary scaling', scaling.factor);
  if (kind !== 'default' && (scaling.partial_rotary_factor ?? config.get('partial_rotary_factor') ?? 1) !== 1) {
    config.fault(`partial_rotary_factor must be 1 with the rotary scaling ${show(kind)}.`);
  }
  switch (kind) {
    case 'default':
      return {base, frequencies: plain};
    case 'linear': {
      const by = factor();
      return {base, frequencies: plain.map(frequency => fround(frequency / by))};
    }
    case 'llama3': {
      const bounds = {...boundsOf(config, scaling), factor: factor()};
      return {base, frequencies: plain.map(frequency => fround(stretched(frequency, bounds)))};
    }
    default:
      config.fault(`The rotary scaling ${show(kind)} is not known; known are default, linear and llama3.`);
      return {};
  }
}

/** What a config says of the scaling. If both fields are there, the older one alone counts. */
function scalingFieldsOf(config: HubConfig): Scaling {
  const isEmpty = (value: unknown) =>
    value == null || (typeof value === 'object' && !Array.isArray(value) && Object.keys(value).length === 0);
  const name = ['rope_scaling', 'rope_parameters'].find(each => !isEmpty(config.get(each)));
  const value = name === undefined ? {} : config.get(name);
  if (typeof value !== 'object' || Array.isArray(value)) {
    config.fault(`${name} must be an object, got ${kindOf(value)}.`);
    return {};
  }
  return value as Scaling;
}

/** Wavelengths below the first bound stay, those above the second are stretched. */
function boundsOf(config: HubConfig, scaling: Scaling): Omit<Stretch, 'factor'> {
  const low = positive(config, 'low_freq_factor of the rotary scaling', scaling.low_freq_factor);
  const high = positive(config, 'high_freq_factor of the rotary scaling', scaling.high_freq_factor);
  if (high <= low) {
    config.fault(`high_freq_factor of the rotary scaling must be above low_freq_factor ${low}, got ${high}.`);
  }
  const places = positive(
    config,
    'original_max_position_embeddings',
    config.get('original_max_position_embeddings'),
    scaling.original_max_position_embeddings,
    config.count('max_position_embeddings', 2048),
  );
  return {low, high, places};
}

/** The first value that a config gives, which must be a positive number. `null` is given, and no number. */
function positive(config: HubConfig, name: string, ...values: unknown[]): number {
  const value = firstOf(...values);
  if (typeof value !== 'number' || !(Math.fround(value) > 0 && Math.fround(value) < Infinity)) {
    config.fault(`${name} must be a positive number, got ${show(value)}.`);
    return 1;
  }
  return value;
}

function firstOf(...values: unknown[]): unknown {
  return values.find(value => value !== undefined);
}

interface Stretch {
  factor: number;
  low: number;
  high: number;
  places: number;
}

/** Slow turns are slowed by the factor, fast ones stay, and those between go from one to the other. */
function stretched(frequency: number, {factor, low, high, places}: Stretch): number {
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
