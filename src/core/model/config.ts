import type * as tf from '@tensorflow/tfjs';
import {
  faultsOf,
  isPromise,
  kindOf,
  type KnownOptions,
  LoRAError,
  show,
  throwFaults,
  unknownOptions,
} from '../../platform/errors';
import {isPrincipal} from '../methods/initializer';
import type {LoRAStrength, Method, MethodChoice, MethodOptions} from '../methods/method';
import {chosenMethod} from '../methods/registry';
import {renamedOptions, updateFaults} from '../layers/layerArgs';

/**
 * Names layers: a name, a path (`outer/inner`), a class name, the end of a name or path after a `/` if no layer has all
 * of it (`query` for `encoder/layer/0/attention/self/query`), a pattern for a name or path, or a predicate.
 */
export type LayerMatcher = string | RegExp | LayerPredicate;

/** Decides whether a layer of the plain model matches. Called once for each layer that holds no others. */
export type LayerPredicate = (layer: tf.layers.Layer, path: string) => boolean;

/** What `applyLoRA` adapts, and how: an update by one of the methods, with its options, and what all of them take. */
export type LoRAConfig = ConfigOfAll & MethodChoice;

/** A config of any method, of which it is not known yet that it has the options. */
export interface UncheckedConfig extends ConfigOfAll, LoRAStrength, MethodOptions {}

/** The options of a config that every method takes. */
interface ConfigOfAll {
  /**
   * The layers to adapt: `'all'`, every layer that can be adapted; `'linear'`, every `Dense` layer but the output head,
   * as PEFT's `all-linear`; `'head'`, none, so that a new head and `trainInFull` train alone; or a list that names
   * them. Layers in `exclude` and `trainInFull` are left out. Defaults to
   * `'linear'` for transformers of `tfjs-lora/transformers` and `tfjs-lora/language`, and to `'all'` for other models,
   * also convolutional ones.
   */
  targets?: 'all' | 'linear' | 'head' | readonly LayerMatcher[] | LayerPredicate;
  /** Layers to leave as they are, though `targets` names them. */
  exclude?: readonly LayerMatcher[] | LayerPredicate;
  /** Layers that train in full, are not adapted, and belong to the adapter, such as a new head. */
  trainInFull?: readonly LayerMatcher[] | LayerPredicate;
  /** Other strengths for some layers. For each layer the first entry that matches counts. */
  overrides?: readonly LoRAOverride[];
  /** Drops elements of an update's input with this probability in training, 0 ≤ p < 1. Default: 0. */
  dropout?: number;
  /** Keep the adapted layers' own weights fixed. Default: true. */
  freezeBaseLayer?: boolean;
  /**
   * Which biases train with the factors and belong to the adapter: none, those of the adapted layers, or those of all
   * layers, including shifts of normalizations (PEFT's `none`, `lora_only` and `all`). Default: `'none'`.
   */
  bias?: BiasChoice;
  /** Makes the start of every `A` reproducible. */
  seed?: number;
}

/** Which biases train with the factors. */
export type BiasChoice = 'none' | 'adapted' | 'all';

/** PEFT's names for options of whole models. */
const PEFT_NAMES = {target_modules: 'targets', modules_to_save: 'trainInFull'} as const;

const BIAS_CHOICES: readonly BiasChoice[] = ['none', 'adapted', 'all'];

/**
 * A strength, or a method, for the layers that `targets` names. Default: the method of the config. Its `init` is as in
 * {@link LoRAConfig}, except initializers: one applies to all layers.
 */
export type LoRAOverride = OverrideOfAll & MethodChoice<never>;

export interface UncheckedOverride extends OverrideOfAll, LoRAStrength, MethodOptions {}

/** The options of an override that every method takes. */
interface OverrideOfAll {
  /** The layers that the override is for, by name, path, pattern or class, as in `LoRAConfig`. */
  targets: readonly LayerMatcher[] | LayerPredicate;
  /** The probability of dropping elements of the update's input in training. Default: that of the config. */
  dropout?: number;
}

const UPDATE_OPTIONS = {
  rank: true,
  alpha: true,
  rankStabilized: true,
  method: true,
  init: true,
  dropout: true,
} as const;
const OVERRIDE_OPTIONS: KnownOptions<UncheckedOverride> = {...UPDATE_OPTIONS, targets: true};
const CONFIG_OPTIONS: KnownOptions<UncheckedConfig> = {
  ...UPDATE_OPTIONS,
  targets: true,
  exclude: true,
  trainInFull: true,
  overrides: true,
  freezeBaseLayer: true,
  bias: true,
  seed: true,
};

/**
 * Rejects an invalid config before anything is made: unknown options, empty or malformed lists, values out of range.
 * Reports all faults together.
 *
 * @throws LoRAError with a line for each fault.
 */
export function checkConfig(config: UncheckedConfig): void {
  if (typeof config !== 'object' || (config as unknown) === null || Array.isArray(config)) {
    throw new LoRAError(`The config must be an object such as {rank: 8}, got ${show(config)}.`);
  }
  if (isPromise(config)) {
    throw new LoRAError(`The config must be an object such as {rank: 8}, or an adapter, got ${kindOf(config)}.`);
  }
  const faults = [
    ...unknownOptions(config, CONFIG_OPTIONS),
    ...renamedOptions(config, PEFT_NAMES),
    ...updateFaults(config),
    ...faultsOf(() =>
      checkUsed(config, [config, ...overridesOf(config).map(override => withMethod(override, config))]),
    ),
    ...(config.targets === undefined || ['all', 'linear', 'head'].includes(config.targets as string)
      ? []
      : matcherFaults('targets', config.targets)),
    ...(config.targets === 'head' ? idleOptions(config) : []),
    ...(config.exclude === undefined ? [] : matcherFaults('exclude', config.exclude)),
    ...(config.trainInFull === undefined ? [] : matcherFaults('trainInFull', config.trainInFull)),
  ];
  const overrides: unknown = config.overrides === undefined ? [] : config.overrides;
  if (!Array.isArray(overrides)) {
    faults.push(`overrides must be a list such as [{targets: ['dense_1'], rank: 4}], got ${show(overrides)}.`);
  }
  for (const [i, override] of (Array.isArray(overrides) ? (overrides as UncheckedOverride[]) : []).entries()) {
    if (typeof override !== 'object' || (override as unknown) === null) {
      faults.push(`overrides[${i}] must be an object such as {targets: ['dense_1'], rank: 4}, got ${show(override)}.`);
      continue;
    }
    const hasInitializer = override.init !== undefined && !isPrincipal(override.init);
    faults.push(
      ...unknownOptions(override, OVERRIDE_OPTIONS),
      ...matcherFaults(`overrides[${i}].targets`, override.targets),
      ...updateFaults({...override, init: hasInitializer ? undefined : override.init}),
      ...faultsOf(() => checkUsed(override, [withMethod(override, config)], `overrides[${i}].`)),
      ...(hasInitializer ? [`overrides[${i}].init must be 'pissa' or 'olora', got ${show(override.init)}.`] : []),
    );
  }
  if (config.freezeBaseLayer !== undefined && typeof config.freezeBaseLayer !== 'boolean') {
    faults.push(`freezeBaseLayer must be true or false, got ${show(config.freezeBaseLayer)}.`);
  }
  if (config.bias !== undefined && !BIAS_CHOICES.includes(config.bias)) {
    faults.push(`bias must be one of ${BIAS_CHOICES.map(show).join(', ')}, got ${show(config.bias)}.`);
  }
  throwFaults([...new Set(faults)]); // an unknown method is reported by several of these checks
}

function overridesOf({overrides}: UncheckedConfig): UncheckedOverride[] {
  const list: unknown[] = Array.isArray(overrides) ? overrides : [];
  return list.filter((entry): entry is UncheckedOverride => typeof entry === 'object' && entry !== null);
}

/** The method of an override, which is that of the config unless it has one. */
export function withMethod({method, init}: UncheckedOverride, config: UncheckedConfig): MethodOptions {
  return method === undefined && init === undefined ? config : {method: method ?? 'lora', ...(init && {init})};
}

/** Refuses settings that none of the methods uses. */
function checkUsed(options: UncheckedConfig | UncheckedOverride, methods: readonly MethodOptions[], prefix = ''): void {
  const chosen = methods.map(chosenMethod);
  const uses = ({hasRank, parameterNames}: Method, name: string) =>
    name === 'init' ? parameterNames.includes('lora_A') : hasRank !== false;
  throwFaults(
    (['rank', 'alpha', 'rankStabilized', 'init'] as const)
      .filter(name => options[name] !== undefined && !chosen.some(method => uses(method, name)))
      .map(name => `${prefix}${name} has no effect with method ${chosen.map(method => show(method.name)).join(', ')}.`),
  );
}

/** Settings of updates, of which a new head that trains alone has none. */
function idleOptions(config: UncheckedConfig): string[] {
  return ([...Object.keys(UPDATE_OPTIONS), 'overrides'] as (keyof UncheckedConfig)[])
    .filter(name => config[name] !== undefined)
    .map(name => `${name} has no effect with targets: 'head', which adapts no layer.`);
}

function matcherFaults(option: string, matcher: unknown): string[] {
  const matchers: unknown = typeof matcher === 'function' ? [matcher] : matcher;
  if (!Array.isArray(matchers) || matchers.length === 0) {
    const isOne = matcher instanceof RegExp || (typeof matcher === 'string' && matcher !== '');
    const isHeadAlone = option === 'targets' && Array.isArray(matcher);
    const advice = isOne
      ? ` Write ${option}: [${matcher instanceof RegExp ? String(matcher) : `'${matcher}'`}].`
      : isHeadAlone
        ? " To train a new head alone: targets: 'head'."
        : '';
    const shown = matcher instanceof RegExp ? String(matcher) : show(matcher);
    return [
      `${option} must be a list of names, classes, patterns or predicates, and not empty, got ${shown}.${advice}`,
    ];
  }
  return matchers
    .filter(matcher => !(matcher instanceof RegExp) && typeof matcher !== 'function')
    .filter(matcher => typeof matcher !== 'string' || matcher === '')
    .map(matcher => `${option} holds ${show(matcher)}, which is not a name, a pattern or a predicate.`);
}
