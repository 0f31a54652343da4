import * as tf from '@tensorflow/tfjs';
import type {GateKind, RowKernels} from '../kernels/transformer';
import {LoRAError, misfitError, show, showShape} from '../../../platform/errors';
import {gate, gateHalves} from '../ops/gate';
import {joined} from '../../../backends/shared/jointProducts';
import {asFloat, onlyTensor} from '../../../core/layers/forward';
import {shapesOf} from '../../../platform/tfjs/inputs';
import type {RowStep} from './rowStep';
import {registerOwn} from '../../../platform/tfjs/configs';
import {PlainLayer} from './plainLayer';

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
export class Gelu extends PlainLayer {
  static readonly className = 'tfjs-lora/transformers>Gelu';
  private readonly approximate: boolean;

  constructor({approximate = false, ...rest}: GeluArgs = {}) {
    super(rest);
    this.approximate = approximate;
    this.supportsMasking = true;
  }

  protected override compute(inputs: tf.Tensor[]): tf.Tensor {
    return gate(asFloat(onlyTensor(inputs)), null, kindOf('gelu', this.approximate));
  }

  /** @internal */
  rowStep(kernels: RowKernels, [width = 0]: readonly number[]): RowStep {
    const kind = kindOf('gelu', this.approximate);
    return ([x = 0], to) => {
      kernels.gate(x, 0, to, width, kind);
    };
  }

  override getConfig(): tf.serialization.ConfigDict {
    return {...super.getConfig(), approximate: this.approximate};
  }
}
registerOwn(Gelu);

function kindOf(activation: 'silu' | 'gelu', approximate: boolean): GateKind {
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

/**
 * `f(gate)·up`, the middle of a gated feed-forward layer: of two inputs of the same shape, or of one that holds both.
 * `f` is silu or gelu. Only the inputs are kept for the backward pass. (Shazeer, arXiv 2002.05202.)
 *
 * @experimental
 */
export class GatedActivation extends PlainLayer {
  static readonly className = 'tfjs-lora/transformers>GatedActivation';
  private readonly activation: 'silu' | 'gelu';
  private readonly approximate: boolean;
  private readonly packed: boolean;
  private readonly gateLast: boolean;

  constructor(args: GatedActivationArgs = {}) {
    const {activation = 'silu', approximate = false, packed = false, gateLast = false, ...rest} = args;
    if ((activation as unknown) !== 'silu' && (activation as unknown) !== 'gelu') {
      throw new LoRAError(`activation must be 'silu' or 'gelu', got ${show(activation)}.`);
    }
    super(rest);
    this.activation = activation;
    this.approximate = approximate;
    this.packed = packed;
    this.gateLast = gateLast;
  }

  override computeOutputShape(inputShape: tf.Shape | tf.Shape[]): tf.Shape {
    const [shape] = shapesOf(inputShape);
    const width = shape.at(-1);
    return this.packed ? [...shape.slice(0, -1), width == null ? null : width / 2] : shape;
  }

  protected override compute(inputs: tf.Tensor[]): tf.Tensor {
    const given = inputs.map(asFloat) as [tf.Tensor, ...tf.Tensor[]];
    const [x, up, more] = given;
    const fits = this.packed
      ? up === undefined && (x.shape.at(-1) ?? 1) % 2 === 0
      : up !== undefined && !more && tf.util.arraysEqual(x.shape, up.shape);
    if (!fits) {
      const shapes = inputs.map(({shape}) => showShape(shape));
      throw misfitError(`"${this.name}" takes a gate and values of the same shape; got ${shapes.join(', ')}.`);
    }
    const kind = kindOf(this.activation, this.approximate);
    if (this.packed && this.gateLast) {
      const [values, before] = tf.split(x, 2, -1) as [tf.Tensor, tf.Tensor];
      return gate(before, values, kind);
    }
    const halves = this.packed ? x : joined(given);
    return halves === undefined ? gate(x, up as tf.Tensor, kind) : gateHalves(halves, kind);
  }

  /** @internal */
  rowStep(kernels: RowKernels, [whole = 0]: readonly number[]): RowStep {
    const {packed, gateLast} = this;
    const kind = kindOf(this.activation, this.approximate);
    const width = packed ? whole / 2 : whole;
    return ([first = 0, second = first + 4 * width], to) => {
      const [x, up] = packed && gateLast ? [second, first] : [first, second];
      kernels.gate(x, up, to, width, kind);
    };
  }

  override getConfig(): tf.serialization.ConfigDict {
    const {activation, approximate, packed, gateLast} = this;
    return {
      ...super.getConfig(),
      activation,
      approximate,
      ...(packed && {packed}),
      ...(gateLast && {gateLast}),
    };
  }
}
registerOwn(GatedActivation);
