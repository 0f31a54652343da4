import {LoRAError, show} from '../errors';

/** @throws LoRAError if a value is no finite number, or does not fit. */
export function checkNumber(name: string, value: unknown, fits: boolean, expected: string): void {
  if (!Number.isFinite(value) || !fits) {
    throw new LoRAError(`${name} must be a number ${expected}, got ${show(value)}.`);
  }
}

/** @throws LoRAError if a value is no whole number from `least` on. */
export function checkCount(name: string, value: unknown, least = 1): void {
  if (!Number.isSafeInteger(value) || (value as number) < least) {
    throw new LoRAError(`${name} must be a whole number, ${least} or more, got ${show(value)}.`);
  }
}
