import {kindOf, show} from '../../../platform/errors';
import {frequenciesOf, type Rotary} from '../layers/rotaryAngles';
import type {HubConfig} from '../net/hubConfig';

/** How the angles of positions are stretched beyond those of the training, as a config says it. */
export type Scaling = Readonly<Record<string, unknown>>;

/** What rotary positions are made for. */
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
  checkPairs(config, sizes);
  const positions = [config.get('original_max_position_embeddings'), scaling.original_max_position_embeddings];
  return scaledRotary(config, scaling, {base, positions, ...sizes});
}

function checkPairs(config: HubConfig, {size}: RotarySizes): void {
  if (size % 2 !== 0) {
    config.fault(`Heads of ${size} numbers have no pairs to turn.`);
  }
}

/** The kinds of blocks in a config that has rotary positions for each, and where it says their base. */
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
  checkPairs(config, sizes);
  const of = (kind: keyof typeof kinds): Rotary => {
    const own = fieldsOf(config, `rope_parameters of ${kind}`, given[kind] ?? {});
    const scaling = {...own, ...(scaled.includes(kind) && older)};
    const {theta, otherwise} = kinds[kind];
    const base = positive(config, theta, scaling.rope_theta, config.get(theta), otherwise);
    if ((scaling.partial_rotary_factor ?? config.get('partial_rotary_factor') ?? 1) !== 1) {
      config.fault(`partial_rotary_factor must be 1 for ${kind}.`);
    }
    if (scaling.truncate !== undefined && scaling.truncate !== true) {
      config.fault(`truncate must be true for ${kind}, where transformers does not heed it.`);
    }
    return scaledRotary(config, scaling, {base, positions: [scaling.original_max_position_embeddings], ...sizes});
  };
  return {full: of('full_attention'), windowed: of('sliding_attention')};
}

/** What a scaling is made for: the base, the numbers that turn, and which `positions` of the training may be given. */
interface ScaledSizes extends RotarySizes {
  base: number;
  positions: readonly unknown[];
}

/** Angles of a base, stretched as a scaling says. */
export function scaledRotary(
  config: HubConfig,
  scaling: Scaling,
  {base, positions: given, size, isPlan}: ScaledSizes,
  known: readonly string[] = Object.keys(SCALINGS),
): Rotary {
  const kind = firstOf(scaling.rope_type, scaling.type, 'default');
  const stretch = known.includes(kind as string) ? SCALINGS[kind as keyof typeof SCALINGS] : undefined;
  if (stretch === undefined) {
    config.fault(`The rotary scaling ${show(kind)} is not known; known are ${known.join(', ')}.`);
    return {};
  }
  const most = () => config.count('max_position_embeddings');
  return stretch({
    ...{config, scaling, base, size, most},
    plain: isPlan ? [] : frequenciesOf({base}, size),
    positions: () => positive(config, 'original_max_position_embeddings', ...given, most()),
    factor: () => positive(config, 'factor of the rotary scaling', scaling.factor),
  });
}

/** What the angles of a scaling are made of. */
interface Stretched {
  config: HubConfig;
  scaling: Scaling;
  base: number;
  /** How many numbers of a head turn. */
  size: number;
  /** The frequencies of the base: none in a plan. */
  plain: readonly number[];
  /** How many positions the model was trained with, before it was stretched. */
  positions: () => number;
  /** How many it has. */
  most: () => number;
  factor: () => number;
}

/** The kinds of scalings that configs name. */
const SCALINGS = {
  default: ({base, plain}: Stretched): Rotary => ({base, frequencies: [...plain]}),
  linear: ({base, plain, factor}: Stretched): Rotary => {
    const by = factor();
    return {base, frequencies: plain.map(frequency => Math.fround(frequency / by))};
  },
  dynamic: ({config, base, size, plain, most, factor}: Stretched): Rotary => {
    if (size <= 2) {
      config.fault(`The rotary scaling "dynamic" needs more than ${size} numbers to turn.`);
    }
    return {base, frequencies: [...plain], longer: {places: most(), factor: factor()}};
  },
  llama3: ({config, scaling, base, plain, positions, factor}: Stretched): Rotary => {
    const bounds = {...boundsOf(config, scaling), positions: positions(), factor: factor()};
    return {base, frequencies: plain.map(frequency => Math.fround(stretched(frequency, bounds)))};
  },
  yarn,
  longrope,
};

/**
 * Pairs that turn fast stay, slow ones are slowed by the factor, and those between go from one to the other. (Peng et
 * al., arXiv 2309.00071.)
 */
function yarn({config, scaling, base, size, plain, positions, most, factor}: Stretched): Rotary {
  const {fround} = Math;
  const trained = positions();
  const by = scaling.factor === null ? most() / trained : factor();
  // 0 and null stand for what is usual.
  const setting = (name: string) => (scaling[name] === 0 ? undefined : (scaling[name] ?? undefined));
  /** Which pair turns as often in all the positions of the training as a field says. */
  const pairOf = (name: string, usual: number) => {
    const turns = positive(config, name, setting(name), usual);
    return (size * Math.log(trained / (turns * 2 * Math.PI))) / (2 * Math.log(base));
  };
  const ends = [pairOf('beta_fast', 32), pairOf('beta_slow', 1)] as const;
  if (!ends.every(Number.isFinite)) {
    config.fault(`rope_theta ${base} leaves nothing to the rotary scaling "yarn".`);
  }
  const {truncate = true} = scaling;
  if (typeof truncate !== 'boolean') {
    config.fault(`truncate must be true or false, got ${show(truncate)}.`);
  }
  const first = Math.max(truncate === true ? Math.floor(ends[0]) : ends[0], 0);
  const last = Math.min(truncate === true ? Math.ceil(ends[1]) : ends[1], size - 1);
  const length = first === last ? 0.001 : last - first;
  const frequencies = plain.map((frequency, j) => {
    const share = Math.min(Math.max(fround(fround(j - first) / fround(length)), 0), 1);
    const kept = fround(1 - share);
    const slow = fround(1 / fround(by * fround(base ** ((2 * j) / size))));
    return fround(fround(slow * fround(1 - kept)) + fround(frequency * kept));
  });
  const grown = (times = 1) => (by <= 1 ? 1 : 0.1 * times * Math.log(by) + 1);
  const [times, ofAll] = ['mscale', 'mscale_all_dim'].map(name =>
    setting(name) === undefined ? undefined : positive(config, name, setting(name)),
  );
  const usual = times === undefined || ofAll === undefined ? grown() : grown(times) / grown(ofAll);
  return {base, frequencies, scale: positive(config, 'attention_factor', scaling.attention_factor ?? usual)};
}

/** Each pair has a factor, and another one in longer texts. (Ding et al., arXiv 2402.13753.) */
function longrope({config, scaling, size, plain, positions, most}: Stretched): Rotary {
  const trained = positions();
  const factor = positive(config, 'factor', scaling.factor ?? most() / trained);
  const pairs = size / 2; // of an odd size no list has so many
  const {fround} = Math;
  const stretchedBy = (name: 'short_factor' | 'long_factor'): number[] => {
    const factors = factorsOf(config, scaling, name, pairs);
    return plain.map((frequency, j) => fround(1 / fround(fround(factors[j] ?? 1) * fround(1 / frequency))));
  };
  const grown = factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(trained));
  return {
    frequencies: stretchedBy('short_factor'),
    longer: {places: trained, frequencies: stretchedBy('long_factor')},
    scale: positive(config, 'attention_factor', scaling.attention_factor ?? grown),
  };
}

function factorsOf(config: HubConfig, scaling: Scaling, name: string, pairs: number): number[] {
  const factors = scaling[name];
  if (
    !Array.isArray(factors) ||
    factors.length !== pairs ||
    factors.some(each => !(typeof each === 'number' && each > 0))
  ) {
    config.fault(`${name} must list ${pairs} positive numbers, got ${show(factors)}.`);
    return [];
  }
  return factors as number[];
}

/** What a config says of the scaling. If both fields say something, the older one alone counts. */
export function scalingFieldsOf(config: HubConfig): Scaling {
  const [older, newer] = ['rope_scaling', 'rope_parameters'].map(name =>
    fieldsOf(config, name, config.get(name) ?? {}),
  );
  return older !== undefined && Object.keys(older).length > 0 ? older : (newer ?? {});
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
function boundsOf(config: HubConfig, scaling: Scaling): Pick<Bounds, 'low' | 'high'> {
  const low = positive(config, 'low_freq_factor of the rotary scaling', scaling.low_freq_factor);
  const high = positive(config, 'high_freq_factor of the rotary scaling', scaling.high_freq_factor);
  if (high <= low) {
    config.fault(`high_freq_factor of the rotary scaling must be above low_freq_factor ${low}, got ${high}.`);
  }
  return {low, high};
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

interface Bounds {
  factor: number;
  low: number;
  high: number;
  positions: number;
}

/** Slow turns are slowed by the factor, fast ones stay, and those between go from one to the other. */
function stretched(frequency: number, {factor, low, high, positions}: Bounds): number {
  const length = (2 * Math.PI) / frequency;
  if (length < positions / high) {
    return frequency;
  }
  if (length > positions / low) {
    return frequency / factor;
  }
  const share = (positions / length - low) / (high - low);
  return ((1 - share) * frequency) / factor + share * frequency;
}
