import {LoRAError} from '../errors';

/** About two seconds' worth. */
const STEPS = 30_000_000;

/**
 * How much work the files of one import may cause. What compares the names of a file with its patterns spends from it,
 * so that no file takes longer than the largest one that makes sense.
 */
export class Budget {
  constructor(private left = STEPS) {}

  /** Whether there is nothing left. */
  get isSpent(): boolean {
    return this.left < 0;
  }

  /** @throws LoRAError if there is not so much left. */
  spend(steps: number): void {
    this.left -= steps;
    if (this.left < 0) {
      throw new LoRAError(
        'Comparing the names in these files with their patterns takes too long. Use fewer or simpler patterns: ' +
          'plain names, for instance.',
      );
    }
  }
}
