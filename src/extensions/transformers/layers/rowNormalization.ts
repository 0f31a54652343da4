import * as tf from '@tensorflow/tfjs';
import {flag, type FormulaLayer, later, number, type Optional, sizesMatch} from '../../../core/layers/formulaLayer';
import {checkNumber} from '../../../platform/errors';
import {registerOwn} from '../../../platform/tfjs/configs';
import type {RowKernels} from '../kernels/transformer';
import {definedLayer} from './definedLayer';
import type {DecodeLayer, DecodeStep} from './decodeStep';

/** Arguments of {@link RMSNormalization} and {@link FusedLayerNormalization}. */
export interface RowNormalizationArgs {
  /** Added to the mean square or the variance. Default: 1e-6 for RMS normalization, 1e-5 for layer normalization. */
  epsilon?: number;
  /** Normalizes each piece of the last axis of this size separately, such as each head. Default: the whole axis. */
  size?: number;
  /** Whether the weight is added to one, `γ = 1 + weight`, as in Gemma. Default: false. */
  addsOne?: boolean;
  /** Whether a layer normalization has a `β`. Default: true. */
  bias?: boolean;
  /** The name of the layer. Default: one that tfjs makes. */
  name?: string;
}

const size: Optional<number | undefined> = {
  otherwise: undefined,
  check(name, value) {
    if (value !== undefined) {
      checkNumber(name, value, Number.isInteger(value) && Number(value) > 0, 'a positive integer');
    }
  },
};

/** The class of a layer that computes one position of each text without tensors, too. */
type RowNormalizationClass = Pick<typeof tf.layers.Layer, 'fromConfig'> &
  (new (args?: RowNormalizationArgs) => RowNormalization);

interface RowNormalization extends FormulaLayer {
  /** @internal */
  decodeStep: DecodeLayer['decodeStep'];
}

/** Normalizes one input, or the sum of two, along the last axis. */
function rowNormalization(centered: boolean, epsilon: number): RowNormalizationClass {
  return class extends definedLayer({
    settings: {
      epsilon: {...number('a number of at least 0', value => value >= 0), otherwise: epsilon},
      size: later(size),
      addsOne: later(flag(false)),
      bias: later(flag(true)),
    },
    inputs: 3,
    keepsMask: true,
    misfit([shape, residual = shape, third], settings) {
      const width = shape.at(-1);
      if (width == null || third !== undefined || !sizesMatch(shape, residual)) {
        return 'normalizes one input, or the sum of two of the same shape, with a known last axis';
      }
      const {size: piece = width} = settings;
      return width % piece !== 0 && `normalizes pieces of ${piece} values`;
    },
    weights({size: piece, addsOne, bias}, [shape]) {
      const width = [piece ?? shape.at(-1) ?? null];
      return {
        gamma: {shape: width, start: addsOne ? tf.initializers.zeros() : tf.initializers.ones()},
        ...(centered && bias && {beta: {shape: width, start: tf.initializers.zeros()}}),
      };
    },
    formula: (o, [x, residual], settings, w, [shape]) =>
      o.normalizeRows(x, residual, w, {...settings, centered, shape}),
  }) {
    override computeMask(_: tf.Tensor | tf.Tensor[], mask?: tf.Tensor | tf.Tensor[]): tf.Tensor | tf.Tensor[] {
      return Array.isArray(mask) ? (mask[0] as tf.Tensor) : (mask as tf.Tensor);
    }

    /** @internal */
    decodeStep(kernels: RowKernels, widths: readonly number[], count: number): DecodeStep | undefined {
      const [inputWidth = 0] = widths;
      const {addsOne, epsilon: least, size: width = inputWidth} = this.settings;
      const {gamma, beta} = this.variables;
      return addsOne || widths.length > 1
        ? undefined
        : ([x = 0], to) => {
            const weights = {
              gamma: kernels.at(gamma.variable.read()),
              beta: kernels.at(beta?.variable.read() ?? null),
            };
            kernels.normalize(x, weights, {rows: (count * inputWidth) / width, width}, {centered, epsilon: least}, to);
          };
    }
  };
}

/**
 * RMS normalization, `γ·x/√(mean of x² + ε)` along the last axis, of one input or of the sum of two. (Zhang and
 * Sennrich, arXiv 1910.07467.)
 *
 * @experimental
 */
export class RMSNormalization extends rowNormalization(false, 1e-6) {
  static readonly className = 'tfjs-lora/transformers>RMSNormalization';

  constructor(args: RowNormalizationArgs = {}) {
    super(args);
  }
}
registerOwn(RMSNormalization);

/**
 * Layer normalization, `γ·(x − μ)/√(σ² + ε) + β` along the last axis, of one input or of the sum of two. It computes
 * the same as a stock `LayerNormalization`, in one kernel launch where the backend supports it, and keeps only the rows
 * before the normalization. (Ba et al., arXiv 1607.06450.)
 *
 * @experimental
 */
export class FusedLayerNormalization extends rowNormalization(true, 1e-5) {
  static readonly className = 'tfjs-lora/transformers>FusedLayerNormalization';

  constructor(args: RowNormalizationArgs = {}) {
    super(args);
  }
}
registerOwn(FusedLayerNormalization);
