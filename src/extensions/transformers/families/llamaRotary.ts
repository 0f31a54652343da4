import {kindOf, show} from '../../../platform/errors';
import {frequenciesOf, type Rotary} from '../layers/rotaryAngles';
import type {HubConfig} from '../net/hubConfig';

/** The fields of a config that extend rotary angles beyond the trained length. */
export type Scaling = Readonly<Record<string, unknown>>;

export interface RotarySizes {
  /** How many values a head has. */
  size: number;
  /** Whether this is a plan. It makes no table, because its sizes are not yet compared with the files. */
  isPlan: boolean;
}

/** Reads the angles of a Llama-like model as transformers does. `usual` is the default base. */
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
    config.fault(`Heads must have an even number of values for rotary positions, got ${size}.`);
  }
}

/** The kinds of blocks with separate rotary settings, and for each the field and the default of its base. */
type RotaryKinds = Readonly<Record<'full_attention' | 'sliding_attention', {theta?: string; otherwise: number}>>;

/**
 * The angles of blocks with full attention and of blocks with a sliding window.
 *
 * @param scaled the kinds to which `rope_scaling` of an older config applies.
 */
export function rotariesOf(
  config: HubConfig,
  sizes: RotarySizes,
  kinds: RotaryKinds,
  scaled: readonly string[],
): {full: Rotary; windowed: Rotary} {
  const ropeParameters = fieldsOf(config, 'rope_parameters', config.get('rope_parameters') ?? {});
  const older = fieldsOf(config, 'rope_scaling', config.get('rope_scaling') ?? {});
  const named = Object.keys(ropeParameters);
  const isEmpty = named.length === 0 && config.get('rope_parameters') != null;
  if (isEmpty || named.some(kind => !Object.hasOwn(kinds, kind))) {
    config.fault(`rope_parameters must hold ${Object.keys(kinds).join(' and ')}, got ${show(ropeParameters)}.`);
  }
  checkPairs(config, sizes);
  const of = (kind: keyof typeof kinds): Rotary => {
    const kindParameters = fieldsOf(config, `rope_parameters of ${kind}`, ropeParameters[kind] ?? {});
    const scaling = {...kindParameters, ...(scaled.includes(kind) && older)};
    const {theta, otherwise} = kinds[kind];
    const ofConfig = theta === undefined ? undefined : config.get(theta);
    const base = positive(config, theta ?? 'rope_theta', scaling.rope_theta, ofConfig, otherwise);
    if ((scaling.partial_rotary_factor ?? config.get('partial_rotary_factor') ?? 1) !== 1) {
      config.fault(`partial_rotary_factor must be 1 for ${kind}.`);
    }
    if (scaling.truncate !== undefined && scaling.truncate !== true) {
      config.fault(`truncate must be true for ${kind}: transformers ignores it there.`);
    }
    return scaledRotary(config, scaling, {base, positions: [scaling.original_max_position_embeddings], ...sizes});
  };
  return {full: of('full_attention'), windowed: of('sliding_attention')};
}

/**
 * The inputs of a scaling: the base, the size, and candidates for the trained length, of which the first that is set
 * counts.
 */
interface ScaledSizes extends RotarySizes {
  base: number;
  positions: readonly unknown[];
}

export function scaledRotary(
  config: HubConfig,
  scaling: Scaling,
  {base, positions: lengthCandidates, size, isPlan}: ScaledSizes,
  supported: readonly string[] = Object.keys(SCALINGS),
): Rotary {
  const kind = firstOf(scaling.rope_type, scaling.type, 'default');
  const stretch = supported.includes(kind as string) ? SCALINGS[kind as keyof typeof SCALINGS] : undefined;
  if (stretch === undefined) {
    config.fault(`The rotary scaling ${show(kind)} is not supported. Supported: ${supported.join(', ')}.`);
    return {};
  }
  const most = () => config.count('max_position_embeddings');
  return stretch({
    ...{config, scaling, base, size, most},
    plain: isPlan ? [] : frequenciesOf({base}, size),
    positions: () => positive(config, 'original_max_position_embeddings', ...lengthCandidates, most()),
    factor: () => positive(config, 'factor of the rotary scaling', scaling.factor),
  });
}

interface Stretched {
  config: HubConfig;
  scaling: Scaling;
  base: number;
  /** How many values of a head are rotated. */
  size: number;
  /** The frequencies of the base; empty in a plan. */
  plain: readonly number[];
  /** The trained length in positions, before it was extended. */
  positions: () => number;
  /** The extended length. */
  most: () => number;
  factor: () => number;
}

/** Scalings by their names in configs. */
const SCALINGS = {
  default: ({base, plain}: Stretched): Rotary => ({base, frequencies: [...plain]}),
  linear: ({base, plain, factor}: Stretched): Rotary => {
    const by = factor();
    return {base, frequencies: plain.map(frequency => Math.fround(frequency / by))};
  },
  dynamic: ({config, base, size, plain, most, factor}: Stretched): Rotary => {
    if (size <= 2) {
      config.fault(`The rotary scaling "dynamic" needs heads of more than 2 values, got ${size}.`);
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
 * Fast pairs keep their frequency, slow ones are divided by the factor, and those in between are interpolated. (Peng et
 * al., arXiv 2309.00071.)
 */
function yarn({config, scaling, base, size, plain, positions, most, factor}: Stretched): Rotary {
  const {fround} = Math;
  const trained = positions();
  const by = scaling.factor === null ? most() / trained : factor();
  // 0 and null mean the default.
  const setting = (name: string) => (scaling[name] === 0 ? undefined : (scaling[name] ?? undefined));
  /** The pair that makes as many rotations over the trained length as a field says. */
  const pairOf = (name: string, usual: number) => {
    const rotations = positive(config, name, setting(name), usual);
    return (size * Math.log(trained / (rotations * 2 * Math.PI))) / (2 * Math.log(base));
  };
  const ends = [pairOf('beta_fast', 32), pairOf('beta_slow', 1)] as const;
  if (!ends.every(Number.isFinite)) {
    config.fault(`The rotary scaling "yarn" cannot be computed with rope_theta ${base}.`);
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
    const unscaledShare = fround(1 - share);
    const slow = fround(1 / fround(by * fround(base ** ((2 * j) / size))));
    return fround(fround(slow * fround(1 - unscaledShare)) + fround(frequency * unscaledShare));
  });
  const grown = (times = 1) => (by <= 1 ? 1 : 0.1 * times * Math.log(by) + 1);
  const [times, ofAll] = ['mscale', 'mscale_all_dim'].map(name =>
    setting(name) === undefined ? undefined : positive(config, name, setting(name)),
  );
  const usual = times === undefined || ofAll === undefined ? grown() : grown(times) / grown(ofAll);
  return {base, frequencies, scale: positive(config, 'attention_factor', scaling.attention_factor ?? usual)};
}

/** Each pair has a factor for short texts and one for long texts. (Ding et al., arXiv 2402.13753.) */
function longrope({config, scaling, size, plain, positions, most}: Stretched): Rotary {
  const trained = positions();
  const factor = positive(config, 'factor', scaling.factor ?? most() / trained);
  const pairs = size / 2; // for an odd size no list matches
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
    factors.some(factor => !(typeof factor === 'number' && factor > 0))
  ) {
    config.fault(`${name} must list ${pairs} positive numbers, got ${show(factors)}.`);
    return [];
  }
  return factors as number[];
}

/** The scaling in a config. If both fields are set, only the older one counts. */
export function scalingFieldsOf(config: HubConfig): Scaling {
  const [older, newer] = ['rope_scaling', 'rope_parameters'].map(name =>
    fieldsOf(config, name, config.get(name) ?? {}),
  );
  return older !== undefined && Object.keys(older).length > 0 ? older : (newer ?? {});
}

function fieldsOf(config: HubConfig, name: string, value: unknown): Scaling {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    config.fault(`${name} must be an object, got ${kindOf(value)}.`);
    return {};
  }
  return value as Scaling;
}

/** The bounds of wavelengths that stay and of those that are extended. */
function boundsOf(config: HubConfig, scaling: Scaling): Pick<Bounds, 'low' | 'high'> {
  const low = positive(config, 'low_freq_factor of the rotary scaling', scaling.low_freq_factor);
  const high = positive(config, 'high_freq_factor of the rotary scaling', scaling.high_freq_factor);
  if (high <= low) {
    config.fault(`high_freq_factor of the rotary scaling must be above low_freq_factor ${low}, got ${high}.`);
  }
  return {low, high};
}

/** The first value that is set, which must be a positive number. `null` counts as set. */
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

/** High frequencies stay, low ones are divided by the factor, and those in between are interpolated. */
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
