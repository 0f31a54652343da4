import * as tf from '@tensorflow/tfjs';
import {dependsOnTrainable, withoutRecording} from '../ops/recording';
import {activationForward, batchNormForward, conv2dForward, denseForward, type Forward, reluForward} from './forward';
import {freezeCells} from './recurrentCells';
import {type CallArgs, onlyTensor, type WrapperArgs, WRAPPER_KIND, WrapperLayer} from './wrapperLayer';

/** Classes for which the stock layer's own `call` would compute gradients of weights that are frozen, change them, or be slow. */
const FORWARDS: Readonly<Record<string, Forward>> = {
  Dense: denseForward,
  Conv2D: conv2dForward,
  BatchNormalization: batchNormForward,
  Activation: activationForward,
  ReLU: reluForward,
};

/**
 * A layer that does not train. It computes what its base computes and records no gradient for its weights, and nothing at all where no
 * gradient can come by; a `BatchNormalization` goes by its moving statistics in training too, and leaves them as they are. (In tfjs, a
 * `trainable: false` does none of this.)
 */
export class FrozenLayer extends WrapperLayer {
  static readonly className = 'FrozenLayer';
  override readonly [WRAPPER_KIND] = 'frozen' as const;

  constructor(args: WrapperArgs) {
    super(args, false);
    freezeCells(this.baseLayer);
  }

  /** Whether a layer is worth freezing: it has weights, or a faster way to compute. */
  static gains(layer: tf.layers.Layer): boolean {
    return layer.weights.length > 0 || Object.hasOwn(FORWARDS, layer.getClassName());
  }

  override adapterWeights(): Map<string, tf.LayerVariable> {
    return new Map();
  }

  protected override compute(inputs: tf.Tensor | tf.Tensor[], kwargs: CallArgs): tf.Tensor | tf.Tensor[] {
    // Outside training somebody may want the gradient of an input.
    const needless = kwargs.training === true && ![inputs].flat().some(dependsOnTrainable);
    return needless ? withoutRecording(() => this.run(inputs, kwargs)) : this.run(inputs, kwargs);
  }

  private run(inputs: tf.Tensor | tf.Tensor[], kwargs: CallArgs): tf.Tensor | tf.Tensor[] {
    const className = this.baseLayer.getClassName();
    const forward = Object.hasOwn(FORWARDS, className) ? FORWARDS[className] : undefined;
    return forward === undefined
      ? (this.baseLayer.apply(inputs, kwargs) as tf.Tensor | tf.Tensor[])
      : forward(this.baseLayer, onlyTensor(inputs), {factors: null, prepared: this.prepared, kwargs});
  }
}
tf.serialization.registerClass(FrozenLayer);
