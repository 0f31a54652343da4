import {count, type Setting, sizesMatch} from '../../../core/layers/formulaLayer';
import {LoRAError, show} from '../../../platform/errors';
import {registerOwn} from '../../../platform/tfjs/configs';
import {poolingWeights} from '../ops/poolStates';
import {definedLayer} from './definedLayer';
import {tokenId} from './pairLayers';

/** How a sequence becomes one vector: the mean of its positions, the first, or the last. */
export type PoolingMode = 'mean' | 'first' | 'last';

/** Arguments of {@link SequencePooling}. */
export interface SequencePoolingArgs {
  /** How the states of a sequence become one vector. */
  mode: PoolingMode;
  /**
   * A padding token, whose positions do not count even if the mask shows them. The tokens, `[batch, positions]`, are
   * then a third input. A sequence of padding only gives its first position. Default: none.
   */
  padding?: number | null;
  /** How many positions at the start do not count, such as those of a class token. Default: 0. */
  skip?: number;
  /** The name of the layer. Default: one that tfjs makes. */
  name?: string;
}

const poolingMode: Setting<PoolingMode> = {
  check(name, value) {
    if (value !== 'mean' && value !== 'first' && value !== 'last') {
      throw new LoRAError(`${name} must be 'mean', 'first' or 'last', got ${show(value)}.`);
    }
  },
};

/**
 * Pools each sequence to one vector: `[batch, positions, width]` and a mask `[batch, positions]` → `[batch, width]`.
 * Positions whose mask is 0 do not count. A sequence without any other gives zeros.
 *
 * @experimental
 */
export class SequencePooling extends definedLayer({
  settings: {mode: poolingMode, padding: tokenId(), skip: count(0, 0)},
  inputs: 4,
  integers: [1, 2],
  misfit([shape, ...maskShapes], {padding}) {
    const fit = maskShapes.every(other => sizesMatch(other, shape.slice(0, 2)));
    const counts = padding === null ? maskShapes.length <= 1 : maskShapes.length === 2;
    const taken = `mask${padding === null ? '' : ' and tokens'}, [batch, positions]`;
    return !(shape.length === 3 && fit && counts) && `sequences, [batch, positions, width], and a ${taken}`;
  },
  shape: ([[batch = null, , width = null]]) => [batch, width],
  formula(o, [x, mask, tokens], {mode, padding, skip}) {
    const shown = (mask as typeof mask | undefined) === undefined ? o.ones(x) : o.shown(mask);
    const seen = skip === 0 ? shown : o.mul(shown, o.float(o.atLeast(o.range(o.size(x, 1)), skip)));
    let counts = seen;
    if (padding !== null && tokens !== undefined) {
      const isToken = o.mul(seen, o.isNot(tokens, padding));
      // In a sequence of padding, the first position counts.
      const none = o.sub(1, o.greatest(isToken, [1]));
      const isFirst = o.float(o.equal(o.range(o.size(x, 1)), 0));
      counts = o.max(isToken, o.mul(isFirst, none));
    }
    const weights = poolingWeights(o, mode, counts);
    return o.squeeze(o.matMul(o.expandDims(weights, [1]), x), [1]);
  },
}) {
  static readonly className = 'tfjs-lora/transformers>SequencePooling';

  constructor({...args}: SequencePoolingArgs) {
    super(args);
  }
}
registerOwn(SequencePooling);
