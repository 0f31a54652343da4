import * as tf from '@tensorflow/tfjs';
import type {GateKind} from '../kernels/transformer';
import {LoRAError, show, showShape} from '../../errors';
import {gate} from '../ops/gate';
import {asFloat, onlyTensor} from '../../layers/forward';
import type {CallArgs} from '../../layers/wrapperLayer';
import {shapesOf} from '../../tfjs/inputs';

/** Arguments of {@link Gelu}. */
export interface GeluArgs {
  /** By tanh, as GPT-2 has it, instead of the error function. Default: false. */
  approximate?: boolean;
  name?: string;
}

/**
 * `x·Φ(x)`, with Φ the distribution function of the normal distribution; with `approximate`,
 * `½·x·(1 + tanh(√(2/π)·(x + 0.044715·x³)))`. The gradient is computed from the input alone. (Hendrycks and Gimpel,
 * arXiv 1606.08415.)
 */
export class Gelu extends tf.layers.Layer {
  static readonly className = 'Gelu';
  private readonly approximate: boolean;

  constructor({approximate = false, ...rest}: GeluArgs = {}) {
    super(rest);
    this.approximate = approximate;
    this.supportsMasking = true;
  }

  override call(inputs: tf.Tensor | tf.Tensor[], kwargs: CallArgs): tf.Tensor {
    return tf.tidy(() => {
      this.invokeCallHook(inputs, kwargs);
      return gate(asFloat(onlyTensor(inputs)), null, this.approximate ? 'gelu_tanh' : 'gelu');
    });
  }

  override getConfig(): tf.serialization.ConfigDict {
    return {...super.getConfig(), approximate: this.approximate};
  }
}
tf.serialization.registerClass(Gelu);

/** Arguments of {@link GatedActivation}. */
export interface GatedActivationArgs extends GeluArgs {
  /** What is done to the gate. Default: `'silu'`. */
  activation?: 'silu' | 'gelu';
}

/**
 * `f(gate)·up` of two inputs of one shape, with `f` silu or gelu: the middle of a gated feed-forward layer. Kept for
 * the backward pass are the two inputs alone. (Shazeer, arXiv 2002.05202.)
 */
export class GatedActivation extends tf.layers.Layer {
  static readonly className = 'GatedActivation';
  private readonly activation: 'silu' | 'gelu';
  private readonly approximate: boolean;

  constructor({activation = 'silu', approximate = false, ...rest}: GatedActivationArgs = {}) {
    if ((activation as unknown) !== 'silu' && (activation as unknown) !== 'gelu') {
      throw new LoRAError(`activation must be 'silu' or 'gelu', got ${show(activation)}.`);
    }
    super(rest);
    this.activation = activation;
    this.approximate = approximate;
  }

  override computeOutputShape(inputShape: tf.Shape | tf.Shape[]): tf.Shape {
    return shapesOf(inputShape)[0];
  }

  override call(inputs: tf.Tensor | tf.Tensor[], kwargs: CallArgs): tf.Tensor {
    return tf.tidy(() => {
      this.invokeCallHook(inputs, kwargs);
      const [x, up, more] = [inputs].flat().map(asFloat);
      if (x === undefined || up === undefined || more || !tf.util.arraysEqual(x.shape, up.shape)) {
        const shapes = [inputs].flat().map(({shape}) => showShape(shape));
        throw new LoRAError(
          `"${this.name}" takes a gate and what it lets through, of one shape; got ${shapes.join(', ')}.`,
        );
      }
      const kind: GateKind = this.activation === 'silu' ? 'silu' : this.approximate ? 'gelu_tanh' : 'gelu';
      return gate(x, up, kind);
    });
  }

  override getConfig(): tf.serialization.ConfigDict {
    return {...super.getConfig(), activation: this.activation, approximate: this.approximate};
  }
}
tf.serialization.registerClass(GatedActivation);
