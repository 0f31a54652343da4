import type * as tf from '@tensorflow/tfjs';
import type {Random} from './damage';

/** What JSON can hold. */
export type Json = null | boolean | number | string | Json[] | {[key: string]: Json};

/** Files, in the parts in which they are damaged: JSON before it is written, or bytes. */
export type Parts = Readonly<Record<string, Json | Uint8Array>>;

/** A kind of file that is attacked. */
export interface AttackKind {
  name: string;
  /** Whether the files are valid, and of interest is what is computed with them. */
  isValid?: boolean;
  /** Makes what is needed once, for many files. */
  prepare(): Attack | Promise<Attack>;
}

/** A kind of file, ready to be attacked. */
export interface Attack {
  /** Whole files. The damaged ones are made from these. */
  whole: readonly Parts[];
  /** Makes files that are valid, where these are tried and not damaged ones. */
  make?(random: Random): Parts;
  /** Models that must not change. */
  models: readonly tf.LayersModel[];
  /**
   * Loads files, uses what they hold, and frees it. What is not whole should be refused with a `LoRAError`; what is
   * loaded all the same must be what the files say, or a `WrongLoad` is thrown.
   */
  use(parts: Parts): Promise<void>;
}

/** Something was loaded that is not what the files say. */
export class WrongLoad extends Error {}

/** @throws WrongLoad if a condition does not hold. */
export function mustHold(condition: boolean, what: string): void {
  if (!condition) {
    throw new WrongLoad(what);
  }
}
