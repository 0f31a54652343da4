import * as tf from '@tensorflow/tfjs';
import {checkpointed, dependsOnTrainable} from '../ops/recording';
import {
  activationForward,
  batchNormForward,
  conv1dForward,
  conv2dForward,
  conv2dTransposeForward,
  conv3dForward,
  denseForward,
  depthwiseConv2dForward,
  embeddingForward,
  type Forward,
  reluForward,
  separableConv2dForward,
} from './forward';
import {onlyTensor} from './inputs';
import {disposeMasks, freezeCells} from './recurrentCells';
import {isRepeatable} from './stock';
import {
  type BaseTraining,
  type CallArgs,
  type WrapperArgs,
  type WrapperKind,
  WRAPPER_KIND,
  WrapperLayer,
} from './wrapperLayer';

/** Classes for which the stock layer's own `call` would compute gradients of weights that are frozen, change them, or be slow. */
const FORWARDS: Readonly<Record<string, Forward>> = {
  Dense: denseForward,
  Conv1D: conv1dForward,
  Conv2D: conv2dForward,
  Conv2DTranspose: conv2dTransposeForward,
  Conv3D: conv3dForward,
  DepthwiseConv2D: depthwiseConv2dForward,
  FusedConv2D: conv2dForward,
  FusedDepthwiseConv2D: depthwiseConv2dForward,
  SeparableConv2D: separableConv2dForward,
  Embedding: embeddingForward,
  BatchNormalization: batchNormForward,
  Activation: activationForward,
  ReLU: reluForward,
};

/**
 * A layer that does not train. It computes what its base computes, records no gradient for its weights, and keeps nothing for the
 * backward pass where nothing before it trains; a `BatchNormalization` goes by its moving statistics in training too, and leaves them
 * as they are. (In tfjs, a `trainable: false` does none of this.)
 */
export class FrozenLayer extends WrapperLayer {
  static readonly className: string = 'FrozenLayer';
  override readonly [WRAPPER_KIND]: WrapperKind = 'frozen';

  private readonly repeatable: boolean;

  constructor(args: WrapperArgs, baseTraining: BaseTraining = 'nothing') {
    super(args, baseTraining);
    freezeCells(this.baseLayer);
    this.repeatable = isRepeatable(this.baseLayer);
  }

  /** Whether a layer is worth freezing: it has weights, or a faster way to compute. */
  static gains(layer: tf.layers.Layer): boolean {
    return layer.weights.length > 0 || Object.hasOwn(FORWARDS, layer.getClassName());
  }

  override adapterWeights(): Map<string, tf.LayerVariable> {
    return this.trainedWeights();
  }

  override disposePrepared(): void {
    super.disposePrepared();
    disposeMasks(this.baseLayer);
  }

  protected override compute(inputs: tf.Tensor | tf.Tensor[], kwargs: CallArgs): tf.Tensor | tf.Tensor[] {
    const className = this.baseLayer.getClassName();
    const forward = Object.hasOwn(FORWARDS, className) ? FORWARDS[className] : undefined;
    if (forward !== undefined) {
      return forward(this.baseLayer, onlyTensor(inputs), {factors: null, prepared: this.prepared, kwargs});
    }
    const stock = (x: tf.Tensor | tf.Tensor[]) => this.computeBase(x, kwargs);
    const [x, ...others] = [inputs].flat();
    const needless =
      this.baseTraining === 'nothing' &&
      kwargs.training === true &&
      kwargs.mask == null &&
      this.repeatable &&
      x !== undefined &&
      others.length === 0;
    return needless && !dependsOnTrainable(x) ? checkpointed(stock, x) : stock(inputs);
  }
}
tf.serialization.registerClass(FrozenLayer);
