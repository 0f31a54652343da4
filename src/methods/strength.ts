import {LoRAError, show} from '../errors';

/** How strong and how wide a low-rank update is. */
export interface LoRAStrength {
  /** Rank `r` of the update, a positive integer. Default: 8. */
  rank?: number;
  /** Strength of the update, which is scaled by `alpha / rank`. Finite, not negative; 0 turns it off. Default: `rank`. */
  alpha?: number;
  /** Scale by `alpha / √rank` instead (rank stabilisation, arXiv 2312.03732). Default: false. */
  rankStabilized?: boolean;
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

/** The factor `s` of a strength: `alpha / rank`, or `alpha / √rank` with rank stabilisation. */
export function scalingOf({rank, alpha, rankStabilized}: Required<LoRAStrength>): number {
  return alpha / (rankStabilized ? Math.sqrt(rank) : rank);
}
