import {checkCount, checkNumber, checkOptions, faultsOf, show, throwFaults} from '../../platform/errors';
import {type CallOptions, checkCallOptions} from '../../platform/signals';
import {alignAdapters, type AlignedAdapters, type WeightedAdapter} from './alignment';
import {dare, type MajoritySign, type Merging, ties} from './mixing';

/**
 * How adapters are combined: `'exact'`, by the weighted sum, or by `'ties'` or `'dare'`, which merge adapters that
 * interfere. Both need the `density`, the share of entries that are kept, above 0 and up to 1 (in the TIES paper 0.2).
 * `majoritySign` is what decides the sign of an entry, the sum of its values or their count, by default `'total'`. A
 * `seed` makes the choice of entries reproducible.
 */
export type CombineOptions = CombineLimits &
  (
    | {method?: 'exact'; density?: undefined; majoritySign?: undefined; seed?: undefined}
    | {method: 'ties'; density: number; majoritySign?: MajoritySign}
    | {method: 'dare'; density: number; seed?: number}
  );

/** Options of any method, of which it is not known yet that it has them. */
export interface UncheckedCombination extends CombineLimits {
  method?: 'exact' | 'ties' | 'dare';
  density?: number;
  majoritySign?: MajoritySign;
  seed?: number;
}

/** The options of every method of combining. */
interface CombineLimits extends CallOptions {
  /** The highest rank of a layer of the result: its update is approximated by singular values. Default: no limit. */
  rank?: number;
  /** The most values of all factors together. Ranks go where they matter most; some layers may get none. */
  budget?: number;
}

/** The options of each method besides its name. */
const OPTIONS: Readonly<Record<string, readonly (keyof UncheckedCombination)[]>> = {
  exact: [],
  ties: ['density', 'majoritySign'],
  dare: ['density', 'seed'],
};

/** The options of every method. */
const ALWAYS: readonly (keyof UncheckedCombination)[] = ['rank', 'budget', 'signal', 'onProgress'];

/** The options that a method requires, with an example. */
const REQUIRED: Readonly<Record<string, string | undefined>> = {
  ties: 'density: 0.2',
  dare: 'density: 0.5',
};

/**
 * Checks the arguments of `combineAdapters`, before any tensor is made.
 *
 * @throws LoRAError with a line for each fault.
 */
export function checkCombination(parts: readonly WeightedAdapter[], options: UncheckedCombination): AlignedAdapters {
  checkOptions(options);
  throwFaults(optionFaults(options));
  const aligned = alignAdapters(parts);
  const {method, rank, budget} = options;
  const mergesFactors = method !== undefined && method !== 'exact' && rank === undefined && budget === undefined;
  const faults = [...weightFaults(parts, method), ...(mergesFactors ? rankFaults(aligned) : [])];
  if (faults.length > 0) {
    aligned.dispose();
  }
  throwFaults(faults);
  return aligned;
}

/** Options that do not exist, are missing, out of range or belong to another method. */
function optionFaults(options: UncheckedCombination): string[] {
  const {method = 'exact', density, majoritySign, seed, rank, budget} = options;
  if (!Object.hasOwn(OPTIONS, method)) {
    return [`There is no method ${show(method)}. The methods are: ${Object.keys(OPTIONS).join(', ')}.`];
  }
  const allowed: readonly string[] = [...(OPTIONS[method] ?? []), ...ALWAYS];
  const entries = Object.entries(options).filter(([key, value]) => key !== 'method' && value !== undefined);
  const required = REQUIRED[method];
  return [
    ...entries
      .filter(([key]) => !allowed.includes(key))
      .map(([key]) => `Method '${method}' has no option "${key}". It has: ${allowed.join(', ')}.`),
    ...(required === undefined || entries.some(([key]) => required.startsWith(`${key}:`))
      ? []
      : [`Method '${method}' needs an option such as ${required}.`]),
    ...(density === undefined || (density > 0 && density <= 1)
      ? []
      : [`density must be above 0 and at most 1, got ${show(density)}.`]),
    ...(majoritySign === undefined || ['total', 'frequency'].includes(majoritySign)
      ? []
      : [`majoritySign must be 'total' or 'frequency', got ${show(majoritySign)}.`]),
    ...(seed === undefined || Number.isInteger(seed) ? [] : [`seed must be an integer, got ${show(seed)}.`]),
    ...(rank === undefined ? [] : faultsOf(() => checkCount('rank', rank))),
    ...(budget === undefined ? [] : faultsOf(() => checkNumber('budget', budget, budget > 0, 'a number above 0'))),
    ...faultsOf(() => checkCallOptions(options)),
  ];
}

function weightFaults(parts: readonly WeightedAdapter[], method: UncheckedCombination['method']): string[] {
  return method === 'ties' && parts.some(({weight}) => weight <= 0)
    ? [
        `Method 'ties' needs positive weights, got ${parts.map(({weight}) => weight).join(', ')}. To subtract ` +
          "an adapter: method 'exact'.",
      ]
    : [];
}

/** Layers whose adapters have different ranks. */
function rankFaults({layers}: AlignedAdapters): string[] {
  return layers.flatMap(({path, members}) => {
    const ranks = members.map(({config}) => config.rank);
    return new Set(ranks).size > 1
      ? [
          `${path}: ranks ${ranks.join(', ')}. 'ties' and 'dare' merge factors, which must be of one rank. To merge ` +
            'the updates themselves, say which rank the result has: {rank: 8}, or --rank 8.',
        ]
      : [];
  });
}

/** How the options merge adapters; `undefined` for a plain sum. */
export function mergingOf({
  method,
  density = 1,
  majoritySign = 'total',
  seed,
}: UncheckedCombination): Merging | undefined {
  return method === 'ties' ? ties(density, majoritySign) : method === 'dare' ? dare(density, seed) : undefined;
}
