import {flag, later, type Optional, sizesMatch} from '../../../core/layers/formulaLayer';
import type {GateActivation} from '../../../core/ops/formulaOps';
import {LoRAError, show} from '../../../platform/errors';
import {registerOwn} from '../../../platform/tfjs/configs';
import type {RowKernels} from '../kernels/transformer';
import {definedLayer} from './definedLayer';
import type {DecodeStep} from './decodeStep';

/** Arguments of {@link Gelu}. */
export interface GeluArgs {
  /** Whether to use the tanh approximation, as in GPT-2, instead of the error function. Default: false. */
  approximate?: boolean;
  /** The name of the layer. Default: one that tfjs makes. */
  name?: string;
}

/**
 * `x·Φ(x)`, where Φ is the cumulative distribution function of the normal distribution; with `approximate`, `½·x·(1 +
 * tanh(√(2/π)·(x + 0.044715·x³)))`. Only the input is kept for the gradient. (Hendrycks and Gimpel, arXiv 1606.08415.)
 *
 * @experimental
 */
export class Gelu extends definedLayer({
  settings: {approximate: flag(false)},
  isElementwise: true,
  formula: (o, [x], settings) => o.activate(x, activationOf({activation: 'gelu', ...settings})),
}) {
  static readonly className = 'tfjs-lora/transformers>Gelu';

  constructor(args: GeluArgs = {}) {
    super(args);
  }

  /** @internal */
  decodeStep(kernels: RowKernels, [width = 0]: readonly number[], count: number): DecodeStep {
    const activation = activationOf({activation: 'gelu', ...this.settings});
    return ([x = 0], to) => {
      kernels.gate(x, 0, to, count * width, activation);
    };
  }
}
registerOwn(Gelu);

interface ActivationSettings {
  readonly activation: 'silu' | 'gelu';
  readonly approximate: boolean;
}

function activationOf({activation, approximate}: ActivationSettings): GateActivation {
  return activation === 'silu' ? 'silu' : approximate ? 'gelu_tanh' : 'gelu';
}

/** Arguments of {@link GatedActivation}. */
export interface GatedActivationArgs extends GeluArgs {
  /** The activation of the gate. Default: `'silu'`. */
  activation?: 'silu' | 'gelu';
  /** Whether one input holds both the gate and the values, `[…, 2·width]`. Default: false. */
  packed?: boolean;
  /** Whether the gate is the second half of a packed input. Default: false. */
  gateLast?: boolean;
}

const siluOrGelu: Optional<'silu' | 'gelu'> = {
  otherwise: 'silu',
  check(name, value) {
    if (value !== 'silu' && value !== 'gelu') {
      throw new LoRAError(`${name} must be 'silu' or 'gelu', got ${show(value)}.`);
    }
  },
};

/**
 * `f(gate)·up`, the middle of a gated feed-forward layer: of two inputs of the same shape, or of one that holds both.
 * `f` is silu or gelu. Only the inputs are kept for the backward pass. (Shazeer, arXiv 2002.05202.)
 *
 * @experimental
 */
export class GatedActivation extends definedLayer({
  settings: {
    activation: siluOrGelu,
    approximate: flag(false),
    packed: later(flag(false)),
    gateLast: later(flag(false)),
  },
  inputs: 3,
  misfit([shape, up, third], {packed}) {
    const fits = packed
      ? up === undefined && (shape.at(-1) ?? 0) % 2 === 0
      : up !== undefined && third === undefined && sizesMatch(shape, up);
    return !fits && 'a gate and values of the same shape';
  },
  shape([shape], {packed}) {
    const width = shape.at(-1);
    return packed ? [...shape.slice(0, -1), width == null ? null : width / 2] : shape;
  },
  formula(o, [x, up], settings, _, [shape]) {
    const {packed, gateLast} = settings;
    const axis = shape.length - 1;
    if (packed && !gateLast) {
      return o.gateHalves(x, activationOf(settings), axis);
    }
    const [values, gate] = packed ? o.halves(x, axis) : [up, x];
    return o.gate(gate, values, activationOf(settings));
  },
}) {
  static readonly className = 'tfjs-lora/transformers>GatedActivation';

  constructor(args: GatedActivationArgs = {}) {
    super(args);
  }

  /** @internal */
  decodeStep(kernels: RowKernels, [inputWidth = 0]: readonly number[], count: number): DecodeStep {
    const {packed, gateLast} = this.settings;
    const activation = activationOf(this.settings);
    if (!packed) {
      return ([gate = 0, values = 0], to) => {
        kernels.gate(gate, values, to, count * inputWidth, activation);
      };
    }
    const width = inputWidth / 2;
    return ([x = 0], to) => {
      for (let row = 0; row < count; row++) {
        const first = x + 8 * width * row;
        const [gate, values] = gateLast ? [first + 4 * width, first] : [first, first + 4 * width];
        kernels.gate(gate, values, to + 4 * width * row, width, activation);
      }
    };
  }
}
registerOwn(GatedActivation);
