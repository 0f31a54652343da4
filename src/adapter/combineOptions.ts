import {show} from '../config';
import {LoRAError} from '../errors';
import type {Joint, WeightedAdapter} from './joint';
import {dare, type MajoritySign, type Merging, ties} from './mixing';

/** How adapters are combined. */
export interface CombineOptions {
  /** `'exact'`: the weighted sum. `'svd'`: its best approximation of a given rank. `'ties'`, `'dare'`: merges of adapters that interfere. */
  method?: 'exact' | 'svd' | 'ties' | 'dare';
  /** Rank of the result, for `'svd'`. For `'ties'` and `'dare'`: merge the updates themselves, and keep this rank of the outcome. */
  rank?: number;
  /** For `'ties'` and `'dare'`: the share of entries that are kept, above 0 and up to 1. (In the TIES paper 0.2.) */
  density?: number;
  /** For `'ties'`: whether the sum of an entry's values decides its sign, or their number. Default: `'total'`. */
  majoritySign?: MajoritySign;
  /** For `'dare'`: makes the choice of entries reproducible. */
  seed?: number;
}

/** The options that each method takes beside its name. */
const OPTIONS: Readonly<Record<string, readonly string[]>> = {
  exact: [],
  svd: ['rank'],
  ties: ['density', 'majoritySign', 'rank'],
  dare: ['density', 'seed', 'rank'],
};

/** Those that a method cannot do without, with an example. */
const REQUIRED: Readonly<Record<string, string | undefined>> = {
  svd: 'rank: 8',
  ties: 'density: 0.2',
  dare: 'density: 0.5',
};

/**
 * Rejects options that do not exist, are missing, out of range or another method's.
 *
 * @throws LoRAError with a line for each fault.
 */
export function checkCombineOptions(options: CombineOptions): void {
  const {method = 'exact', rank, density, majoritySign, seed} = options;
  if (!Object.hasOwn(OPTIONS, method)) {
    throw new LoRAError(`There is no method ${show(method)}. The methods are: ${Object.keys(OPTIONS).join(', ')}.`);
  }
  const known = OPTIONS[method] ?? [];
  const given = Object.entries(options).filter(([key, value]) => key !== 'method' && value !== undefined);
  const required = REQUIRED[method];
  const faults = [
    ...given
      .filter(([key]) => !known.includes(key))
      .map(
        ([key]) =>
          `Method '${method}' has no option "${key}". ${known.length === 0 ? 'It has none' : `It has: ${known.join(', ')}`}.`,
      ),
    ...(required === undefined || given.some(([key]) => required.startsWith(`${key}:`))
      ? []
      : [`Method '${method}' needs an option such as ${required}.`]),
    ...(rank === undefined || (Number.isInteger(rank) && rank > 0)
      ? []
      : [`rank must be a positive integer, got ${show(rank)}.`]),
    ...(density === undefined || (density > 0 && density <= 1)
      ? []
      : [`density must be above 0 and at most 1, got ${show(density)}.`]),
    ...(majoritySign === undefined || ['total', 'frequency'].includes(majoritySign)
      ? []
      : [`majoritySign must be 'total' or 'frequency', got ${show(majoritySign)}.`]),
    ...(seed === undefined || Number.isInteger(seed) ? [] : [`seed must be an integer, got ${show(seed)}.`]),
  ];
  if (faults.length > 0) {
    throw new LoRAError(faults.join('\n'));
  }
}

/** The way of merging that the options ask for; `undefined` for a plain sum. */
export function mergingOf({method, density = 1, majoritySign = 'total', seed}: CombineOptions): Merging | undefined {
  return method === 'ties' ? ties(density, majoritySign) : method === 'dare' ? dare(density, seed) : undefined;
}

/** Refuses what a method cannot do with these adapters. */
export function checkMethod(parts: readonly WeightedAdapter[], {layers}: Joint, {method, rank}: CombineOptions): void {
  const faults: string[] = [];
  if (method === 'ties' && parts.some(({weight}) => weight <= 0)) {
    faults.push(
      `Method 'ties' takes positive weights, got ${parts.map(({weight}) => weight).join(', ')}. To take an adapter away: method 'exact'.`,
    );
  }
  if (rank === undefined && (method === 'ties' || method === 'dare')) {
    for (const {path, members} of layers) {
      const ranks = members.map(({config}) => config.rank);
      if (new Set(ranks).size > 1) {
        faults.push(
          `${path}: ranks ${ranks.join(', ')}. Without a rank, '${method}' merges factors, which must be of one rank; give the rank of the ` +
            'result to merge the updates themselves.',
        );
      }
    }
  }
  if (faults.length > 0) {
    throw new LoRAError(faults.join('\n'));
  }
}
