import * as tf from '@tensorflow/tfjs';
import {checkpointed, dependsOnTrainable} from '../ops/recording';
import {registerOwn} from '../../platform/tfjs/configs';
import {onlyTensor} from './forward';
import {forwardOf} from './kinds';
import {disposeMasks, freezeCells} from './recurrentCells';
import {
  type BaseTraining,
  type CallArgs,
  WRAPPER_KIND,
  type WrapperArgs,
  type WrapperKind,
  WrapperLayer,
} from './wrapperLayer';

/** Arguments of an {@link UnadaptedLayer}. */
export interface UnadaptedLayerArgs extends WrapperArgs {
  /** Which of the layer's weights train. Default: `'nothing'`. */
  trains?: BaseTraining;
}

/** The names of such a layer in files and code, by what trains in it. */
const NAMES: Readonly<Record<BaseTraining, {className: string; kind: WrapperKind}>> = {
  nothing: {className: 'tfjs-lora>FrozenLayer', kind: 'frozen'},
  biases: {className: 'tfjs-lora>BiasLayer', kind: 'bias'},
  everything: {className: 'tfjs-lora>TrainedLayer', kind: 'trained'},
};

/**
 * A layer of an adapted model without an update. It computes what its base computes; its trainable weights are
 *
 * - nothing: no gradient is recorded for them, and nothing is kept for the backward pass where nothing before the layer
 *   trains; a `BatchNormalization` uses its moving statistics in training too, and leaves them as they are. (In tfjs,
 *   `trainable: false` does none of this.)
 * - the biases, or the shift of a normalization: no other gradient is computed. (Ben Zaken et al., "BitFit", arXiv
 *   2106.10199; PEFT's `bias: "all"`.)
 * - everything, as in tfjs.
 *
 * What trains belongs to the adapter. The layer can keep the original values and restores them when it is removed.
 */
export class UnadaptedLayer extends WrapperLayer {
  static readonly className = 'UnadaptedLayer';
  override readonly [WRAPPER_KIND]: WrapperKind;

  /** Whether it is frozen, and can be computed a second time in the backward pass. */
  private readonly repeatable: boolean;

  constructor({trains = 'nothing', ...args}: UnadaptedLayerArgs) {
    super(args, trains);
    this[WRAPPER_KIND] = NAMES[trains].kind;
    if (trains !== 'everything') {
      freezeCells(this.baseLayer);
    }
    this.repeatable = trains === 'nothing' && !this.stateful && !hasDropout(this.baseLayer.getConfig());
  }

  /** The class of such a layer in model files. */
  static classNameFor(trains: BaseTraining): string {
    return NAMES[trains].className;
  }

  /** Whether a layer is worth freezing: it has weights, or a faster way to compute. */
  static gains(layer: tf.layers.Layer): boolean {
    return layer.weights.length > 0 || forwardOf(layer) !== undefined;
  }

  /** False if nothing in the layer trains, so that summaries show it as frozen. */
  override get trainable(): boolean {
    return this.baseTraining !== 'nothing' && super.trainable;
  }

  override set trainable(trainable: boolean) {
    super.trainable = trainable;
  }

  override getClassName(): string {
    return UnadaptedLayer.classNameFor(this.baseTraining);
  }

  override adapterWeights(): Map<string, tf.LayerVariable> {
    return this.trainedWeights();
  }

  override disposePrepared(): void {
    super.disposePrepared();
    if (this.baseTraining !== 'everything') {
      disposeMasks(this.baseLayer);
    }
  }

  protected override compute(inputs: tf.Tensor | tf.Tensor[], kwargs: CallArgs): tf.Tensor | tf.Tensor[] {
    const stock = (x: tf.Tensor | tf.Tensor[]) => this.computeBase(x, kwargs);
    if (this.baseTraining === 'everything') {
      return stock(inputs);
    }
    const forward = forwardOf(this.baseLayer);
    if (forward !== undefined) {
      return forward(this.baseLayer, onlyTensor(inputs), {update: {}, prepared: this.prepared, kwargs});
    }
    const [x, ...others] = [inputs].flat();
    const needless =
      this.repeatable && kwargs.training === true && kwargs.mask == null && x !== undefined && others.length === 0;
    return needless && !dependsOnTrainable(x) ? checkpointed(stock, x) : stock(inputs);
  }
}

/** One class, under each of its names in files. */
for (const trains of Object.keys(NAMES) as BaseTraining[]) {
  const named = {
    className: NAMES[trains].className,
    fromConfig: (_: unknown, config: tf.serialization.ConfigDict) =>
      WrapperLayer.fromConfig(UnadaptedLayer, {...config, trains}),
  };
  registerOwn(named as unknown as typeof UnadaptedLayer);
}

/** Whether a layer of some config, or one inside it, is random in training. */
function hasDropout(config: unknown): boolean {
  return (
    typeof config === 'object' &&
    config !== null &&
    Object.entries(config).some(([key, value]) => (/dropout$/i.test(key) && Number(value) > 0) || hasDropout(value))
  );
}
