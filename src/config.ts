import type * as tf from '@tensorflow/tfjs';
import {LoRAError} from './errors';

/** How strong and how wide a low-rank update is. */
export interface LoRAStrength {
  /** Rank `r` of the update, a positive integer. Default: 8. */
  rank?: number;
  /** Strength of the update, which is scaled by `alpha / rank`. Finite, not negative; 0 turns it off. Default: `rank`. */
  alpha?: number;
  /** Scale by `alpha / √rank` instead (rank stabilisation, arXiv 2312.03732). Default: false. */
  rankStabilized?: boolean;
}

/** Names layers: a layer's name, its path (`outer/inner`), its class name, or a pattern for its name or path. */
export type LayerMatcher = string | RegExp;

/** What `applyLoRA` adapts, and how. */
export interface LoRAConfig extends LoRAStrength {
  /** The layers to adapt. Default: `'all'`, every layer that can be adapted and is not in `exclude` or `trainable`. */
  targets?: 'all' | readonly LayerMatcher[];
  /** Layers to leave as they are, though `targets` names them. */
  exclude?: readonly LayerMatcher[];
  /** Layers that train in full, beside the factors, and belong to the adapter: a new head, say. They are not adapted. */
  trainable?: readonly LayerMatcher[];
  /** Other strengths for some layers. For each layer the first entry that matches counts. */
  overrides?: readonly LoRAOverride[];
  /** Keep the adapted layers' own weights fixed. Default: true. */
  freezeBaseLayer?: boolean;
  /**
   * Which biases train beside the factors, and belong to the adapter: none, those of the adapted layers, or those of every layer, shifts of
   * normalizations included (PEFT's `none`, `lora_only` and `all`). Default: `'none'`.
   */
  bias?: BiasChoice;
  /** What `A` starts from, as for `tf.layers`: an initializer or its name. Default: U(−1/√fan-in, 1/√fan-in). */
  initializer?: Initializer;
  /** Makes the start of every `A` reproducible. */
  seed?: number;
}

/** Which biases train beside the factors. */
export type BiasChoice = 'none' | 'adapted' | 'all';

const BIAS_CHOICES: readonly BiasChoice[] = ['none', 'adapted', 'all'];

/** A strength for the layers that `targets` names. */
export interface LoRAOverride extends LoRAStrength {
  targets: readonly LayerMatcher[];
}

/** An initializer of tfjs, its name, or its config. */
export type Initializer = ReturnType<typeof tf.initializers.zeros> | string | tf.serialization.ConfigDict;

/** Names a weight of a layer that can have an update, such as `attn_kernel`. */
export interface WeightTarget {
  /** The name that the layer gives the weight in `addWeight`. */
  name: string;
  /** How many of its last axes are outputs; those before them are the fan-in. Default: 1. */
  outAxes?: number;
}

/** How one layer of an adapter updates its base. */
export interface LayerConfig extends Required<LoRAStrength> {
  /** Class of the layer that is adapted. */
  className: string;
  /** The weights that are updated, of a layer that is adapted by their names. */
  weights?: Required<WeightTarget>[];
  /** Whether the base's own weights stay fixed; if not, they are part of the adapter. */
  freezeBaseLayer: boolean;
  /** Whether the base's bias trains beside the factors though its kernel stays fixed, and is part of the adapter. Default: false. */
  trainBias?: boolean;
}

/** A layer's class name and config, as tfjs nests them in wrappers. */
export interface LayerEntry {
  className: string;
  config: tf.serialization.ConfigDict;
}

/** A new head of a model: layers in the place of those of a pretrained model. */
export interface HeadConfig {
  /** Name of the last layer of the pretrained model that is kept. */
  at: string;
  /** The layers after it, in order. */
  layers: LayerEntry[];
}

/** What an adapter says beside its tensors: which layers it adapts and which it brings whole, by path. */
export interface AdapterConfig {
  layers: Record<string, LayerConfig>;
  trainable: string[];
  /** Layers of which it brings the bias alone. Default: none. */
  biases?: string[];
  /** The new head that the adapter brings, if it does. Its layers are among those that it brings whole. */
  head?: HeadConfig;
}

/**
 * An adapter as a value: a config, and tensors by name (`<layer path>/lora_A`, `<layer path>/lora_B`; for layers that train in full
 * `<layer path>/kernel` and so on). It holds tensors of its own: dispose it when it is no longer needed.
 */
export interface Adapter {
  readonly config: AdapterConfig;
  readonly tensors: Readonly<Record<string, tf.Tensor>>;
  /** Frees the adapter's tensors. Models that took values from it keep theirs. */
  dispose(): void;
}

/** How an adapter updates a layer, if it does. A path may be a name that every object has a property of, such as `constructor`. */
export function layerConfigAt({layers}: AdapterConfig, path: string): LayerConfig | undefined {
  return Object.hasOwn(layers, path) ? layers[path] : undefined;
}

/**
 * Fills in the defaults of a strength and rejects what cannot be trained.
 *
 * @throws LoRAError if `rank` is not a positive integer or `alpha` is negative or not finite.
 */
export function resolveStrength({
  rank = 8,
  alpha = rank,
  rankStabilized = false,
}: LoRAStrength): Required<LoRAStrength> {
  if (!Number.isInteger(rank) || rank <= 0) {
    throw new LoRAError(`rank must be a positive integer, got ${show(rank)}.`);
  }
  if (!Number.isFinite(alpha) || alpha < 0) {
    throw new LoRAError(`alpha must be a finite number that is not negative, got ${show(alpha)}.`);
  }
  if (typeof rankStabilized !== 'boolean') {
    throw new LoRAError(`rankStabilized must be true or false, got ${show(rankStabilized)}.`);
  }
  return {rank, alpha, rankStabilized};
}

/**
 * Fills in the defaults of the weights that are named.
 *
 * @throws LoRAError with a line for each fault.
 */
export function resolveWeights(weights: unknown): Required<WeightTarget>[] {
  if (!Array.isArray(weights) || weights.length === 0) {
    throw new LoRAError(`weights must be a list such as ['attn_kernel'], and not empty, got ${show(weights)}.`);
  }
  const faults: string[] = [];
  const names = new Set<string>();
  const resolved = weights.map((weight: unknown) => {
    const {name, outAxes = 1} = (typeof weight === 'string' ? {name: weight} : (weight ?? {})) as Partial<WeightTarget>;
    if (typeof name !== 'string' || name === '') {
      faults.push(`weights holds ${show(weight)}, which is neither a name nor such as {name: 'kernel', outAxes: 2}.`);
      return {name: '', outAxes};
    }
    if (names.has(name)) {
      faults.push(`weights names "${name}" twice.`);
    }
    names.add(name);
    if (!Number.isInteger(outAxes) || outAxes <= 0) {
      faults.push(`outAxes of weight "${name}" must be a positive integer, got ${show(outAxes)}.`);
    }
    return {name, outAxes};
  });
  if (faults.length > 0) {
    throw new LoRAError(faults.join('\n'));
  }
  return resolved;
}

/** The factor `s` of a strength: `alpha / rank`, or `alpha / √rank` with rank stabilisation. */
export function scalingOf({rank, alpha, rankStabilized}: Required<LoRAStrength>): number {
  return alpha / (rankStabilized ? Math.sqrt(rank) : rank);
}

const STRENGTH_OPTIONS = ['rank', 'alpha', 'rankStabilized'];
const CONFIG_OPTIONS = [
  ...STRENGTH_OPTIONS,
  'targets',
  'exclude',
  'trainable',
  'overrides',
  'freezeBaseLayer',
  'bias',
  'initializer',
  'seed',
];

/**
 * Rejects what `applyLoRA` cannot understand, before anything is made: options that do not exist, empty or malformed lists, numbers
 * out of range. Several faults are reported together.
 *
 * @throws LoRAError with a line for each fault.
 */
export function checkConfig(config: LoRAConfig): void {
  if (typeof config !== 'object' || (config as unknown) === null || Array.isArray(config)) {
    throw new LoRAError(`The config must be an object such as {rank: 8}, got ${show(config)}.`);
  }
  if (isPromise(config)) {
    throw new LoRAError(`The config must be an object such as {rank: 8}, or an adapter, got ${kindOf(config)}.`);
  }
  const faults = [
    ...unknownOptions(config, CONFIG_OPTIONS),
    ...faultsOf(() => resolveStrength(config)),
    ...(config.targets === undefined || config.targets === 'all' ? [] : matcherFaults('targets', config.targets)),
    ...(config.exclude === undefined ? [] : matcherFaults('exclude', config.exclude)),
    ...(config.trainable === undefined ? [] : matcherFaults('trainable', config.trainable)),
  ];
  const overrides: unknown = config.overrides === undefined ? [] : config.overrides;
  if (!Array.isArray(overrides)) {
    faults.push(`overrides must be a list such as [{targets: ['dense_1'], rank: 4}], got ${show(overrides)}.`);
  }
  for (const [i, override] of (Array.isArray(overrides) ? (overrides as LoRAOverride[]) : []).entries()) {
    if (typeof override !== 'object' || (override as unknown) === null) {
      faults.push(`overrides[${i}] must be an object such as {targets: ['dense_1'], rank: 4}, got ${show(override)}.`);
      continue;
    }
    faults.push(
      ...unknownOptions(override, [...STRENGTH_OPTIONS, 'targets']),
      ...matcherFaults(`overrides[${i}].targets`, override.targets),
      ...faultsOf(() => resolveStrength(override)),
    );
  }
  if (config.freezeBaseLayer !== undefined && typeof config.freezeBaseLayer !== 'boolean') {
    faults.push(`freezeBaseLayer must be true or false, got ${show(config.freezeBaseLayer)}.`);
  }
  if (config.bias !== undefined && !BIAS_CHOICES.includes(config.bias)) {
    faults.push(`bias must be one of ${BIAS_CHOICES.map(show).join(', ')}, got ${show(config.bias)}.`);
  }
  if (config.seed !== undefined && !Number.isInteger(config.seed)) {
    faults.push(`seed must be an integer, got ${show(config.seed)}.`);
  }
  if (faults.length > 0) {
    throw new LoRAError(faults.join('\n'));
  }
}

/**
 * Refuses what is no object of options, and options that do not exist.
 *
 * @throws LoRAError with a line for each.
 */
export function checkOptions(options: object, known?: readonly string[]): void {
  if (typeof options !== 'object' || (options as unknown) === null) {
    throw new LoRAError(`The options must be an object, or left out, got ${kindOf(options)}.`);
  }
  const faults = known === undefined ? [] : unknownOptions(options, known);
  if (faults.length > 0) {
    throw new LoRAError(faults.join('\n'));
  }
}

function unknownOptions(options: object, known: readonly string[]): string[] {
  return Object.keys(options)
    .filter(key => !known.includes(key))
    .map(key => `There is no option "${key}". The options are: ${known.join(', ')}.`);
}

/** The message of what `check` throws, if it throws. */
export function faultsOf(check: () => unknown): string[] {
  try {
    check();
    return [];
  } catch (error) {
    return [(error as Error).message];
  }
}

function matcherFaults(option: string, matchers: unknown): string[] {
  if (!Array.isArray(matchers) || matchers.length === 0) {
    return [`${option} must be a list of layer names, class names or patterns, and not empty, got ${show(matchers)}.`];
  }
  return matchers
    .filter(matcher => !(matcher instanceof RegExp) && (typeof matcher !== 'string' || matcher === ''))
    .map(matcher => `${option} holds ${show(matcher)}, which is neither a name nor a pattern.`);
}

/** A value as an error message shows it. */
export function show(value: unknown): string {
  if (typeof value === 'number') {
    return String(value); // JSON has no NaN
  }
  try {
    const text = JSON.stringify(value) as string | undefined;
    return text ?? typeof value;
  } catch {
    return typeof value; // a bigint, or something that holds itself or is nested without end
  }
}

/** What kind of value something is, as an error message says it that does not show the value. */
export function kindOf(value: unknown): string {
  return value === null ? 'null' : isPromise(value) ? 'a promise: await it' : typeof value;
}

/** Whether a value is a promise, of another realm or of a library too. */
export function isPromise(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as Partial<PromiseLike<unknown>> | null | undefined)?.then === 'function';
}
