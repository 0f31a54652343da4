import {kindOf, show} from '../../errors';
import {frequenciesOf, type Rotary} from '../layers/rotaryAngles';
import type {HubConfig} from '../hubConfig';

/** How the angles of places are stretched beyond those of the training, as a config says it. */
export type Scaling = Readonly<Record<string, unknown>>;

/** What rotary places are made for. */
export interface RotarySizes {
  /** How many numbers a head has. */
  size: number;
  /** Whether this is a plan, for which no table is made: its sizes are not compared with the files yet. */
  isPlan: boolean;
}

/** The angles of a Llama-like model, as transformers reads them; `usual` is the base if the config has none. */
export function rotaryOf(config: HubConfig, sizes: RotarySizes, usual = 10_000): Rotary {
  const scaling = scalingFieldsOf(config);
  const base = positive(config, 'rope_theta', scaling.rope_theta, config.get('rope_theta'), usual);
  const kind = firstOf(scaling.rope_type, scaling.type, 'default');
  if (kind !== 'default' && (scaling.partial_rotary_factor ?? config.get('partial_rotary_factor') ?? 1) !== 1) {
    config.fault(`partial_rotary_factor must be 1 with the rotary scaling ${show(kind)}.`);
  }
  const places = [config.get('original_max_position_embeddings'), scaling.original_max_position_embeddings];
  return scaledRotary(config, scaling, {base, places, ...sizes});
}

/** The kinds of blocks in a config that has rotary places for each, and where it says their base. */
type RotaryKinds = Readonly<Record<'full_attention' | 'sliding_attention', {theta: string; otherwise: number}>>;

/**
 * The angles of blocks that see all, and of those that see a window.
 *
 * @param scaled the kinds that an older config's `rope_scaling` is for.
 */
export function rotariesOf(
  config: HubConfig,
  sizes: RotarySizes,
  kinds: RotaryKinds,
  scaled: readonly string[],
): {full: Rotary; windowed: Rotary} {
  const given = fieldsOf(config, 'rope_parameters', config.get('rope_parameters') ?? {});
  const older = fieldsOf(config, 'rope_scaling', config.get('rope_scaling') ?? {});
  const named = Object.keys(given);
  const isEmpty = named.length === 0 && config.get('rope_parameters') != null;
  if (isEmpty || named.some(kind => !Object.hasOwn(kinds, kind))) {
    config.fault(`rope_parameters must hold ${Object.keys(kinds).join(' and ')}, got ${show(given)}.`);
  }
  const of = (kind: keyof typeof kinds): Rotary => {
    const own = fieldsOf(config, `rope_parameters of ${kind}`, given[kind] ?? {});
    const scaling = {...own, ...(scaled.includes(kind) && older)};
    const {theta, otherwise} = kinds[kind];
    const base = positive(config, theta, scaling.rope_theta, config.get(theta), otherwise);
    if ((scaling.partial_rotary_factor ?? config.get('partial_rotary_factor') ?? 1) !== 1) {
      config.fault(`partial_rotary_factor must be 1 for ${kind}.`);
    }
    return scaledRotary(config, scaling, {base, places: [scaling.original_max_position_embeddings], ...sizes});
  };
  return {full: of('full_attention'), windowed: of('sliding_attention')};
}

/** Angles of a base, stretched as a scaling says. */
function scaledRotary(
  config: HubConfig,
  scaling: Scaling,
  {base, places, size, isPlan}: RotarySizes & {base: number; places: unknown[]},
): Rotary {
  const {fround} = Math;
  if (size % 2 !== 0) {
    config.fault(`Heads of ${size} numbers have no pairs to turn.`);
  }
  const plain = isPlan || size % 2 !== 0 ? [] : frequenciesOf({base}, size);
  const kind = firstOf(scaling.rope_type, scaling.type, 'default');
  const factor = () => positive(config, 'factor of the rotary scaling', scaling.factor);
  switch (kind) {
    case 'default':
      return {base, frequencies: plain};
    case 'linear': {
      const by = factor();
      return {base, frequencies: plain.map(frequency => fround(frequency / by))};
    }
    case 'llama3': {
      const bounds = {...boundsOf(config, scaling, places), factor: factor()};
      return {base, frequencies: plain.map(frequency => fround(stretched(frequency, bounds)))};
    }
    default:
      config.fault(`The rotary scaling ${show(kind)} is not known; known are default, linear and llama3.`);
      return {};
  }
}

/** What a config says of the scaling. If both fields are there, the older one alone counts. */
export function scalingFieldsOf(config: HubConfig): Scaling {
  const isEmpty = (value: unknown) =>
    value == null || (typeof value === 'object' && !Array.isArray(value) && Object.keys(value).length === 0);
  const name = ['rope_scaling', 'rope_parameters'].find(each => !isEmpty(config.get(each)));
  return name === undefined ? {} : fieldsOf(config, name, config.get(name));
}

/** The fields of an object in a config. */
function fieldsOf(config: HubConfig, name: string, value: unknown): Scaling {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    config.fault(`${name} must be an object, got ${kindOf(value)}.`);
    return {};
  }
  return value as Scaling;
}

/** Wavelengths below the first bound stay, those above the second are stretched. */
function boundsOf(config: HubConfig, scaling: Scaling, given: unknown[]): Omit<Stretch, 'factor'> {
  const low = positive(config, 'low_freq_factor of the rotary scaling', scaling.low_freq_factor);
  const high = positive(config, 'high_freq_factor of the rotary scaling', scaling.high_freq_factor);
  if (high <= low) {
    config.fault(`high_freq_factor of the rotary scaling must be above low_freq_factor ${low}, got ${high}.`);
  }
  const places = positive(
    config,
    'original_max_position_embeddings',
    ...given,
    config.count('max_position_embeddings', 2048),
  );
  return {low, high, places};
}

/** The first value that a config gives, which must be a positive number. `null` is given, and no number. */
export function positive(config: HubConfig, name: string, ...values: unknown[]): number {
  const value = firstOf(...values);
  if (typeof value !== 'number' || !(Math.fround(value) > 0 && Math.fround(value) < Infinity)) {
    config.fault(`${name} must be a positive number, got ${show(value)}.`);
    return 1;
  }
  return value;
}

export function firstOf(...values: unknown[]): unknown {
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
