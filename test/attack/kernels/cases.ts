import {pick, type Random} from '../damage';
import {type KernelCase} from './case';
import {ODD_ARRANGEMENTS} from './oddArrangements';
import {ODD_ELEMENTS} from './oddElements';
import {ODD_INDICES} from './oddIndices';
import {ODD_PRODUCTS} from './oddProducts';
import {PLAIN} from './plainCases';

const ODD = [...ODD_ELEMENTS, ...ODD_ARRANGEMENTS, ...ODD_INDICES, ...ODD_PRODUCTS];

/** What a case is drawn from. */
export function caseSeed(random: Random): number {
  return Math.floor(random() * 2 ** 32);
}

/** An operation whose kernels are ours, wrapped or corrected, on operands of random shapes. */
export function kernelCase(random: Random): KernelCase {
  return pick(random, random() < 0.35 ? PLAIN : ODD)(random);
}
