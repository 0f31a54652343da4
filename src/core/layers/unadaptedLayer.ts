import * as tf from '@tensorflow/tfjs';
import {checkpointed, dependsOnTrainable} from '../ops/recording';
import {throwFaults} from '../../platform/errors';
import {registerOwn} from '../../platform/tfjs/configs';
import {onlyTensor} from './forward';
import {forwardOf} from './kinds';
import {disposeMasks, freezeCells} from './recurrentCells';
import {checkedArgs, WRAPPER_OPTIONS, wrapperFaults} from './layerArgs';
import {WRAPPER_KIND} from './layerMarks';
import {type BaseTraining, type CallArgs, type WrapperArgs, WrapperLayer} from './wrapperLayer';

/**
 * A layer of an adapted model without an update: it computes what its base computes. What trains belongs to the
 * adapter. The layer can keep the original values, and restores them when it is removed.
 */
export abstract class UnadaptedLayer extends WrapperLayer {
  /** Whether it is frozen, and can be computed a second time in the backward pass. */
  private readonly repeatable: boolean;

  protected constructor(args: WrapperArgs, trains: BaseTraining) {
    throwFaults(wrapperFaults(checkedArgs(args), WRAPPER_OPTIONS));
    super(args, trains);
    if (trains !== 'everything') {
      freezeCells(this.baseLayer);
    }
    this.repeatable = trains === 'nothing' && !this.stateful && !hasDropout(this.baseLayer.getConfig());
  }

  /** False if nothing in the layer trains, so that summaries show it as frozen. */
  override get trainable(): boolean {
    return this.baseTraining !== 'nothing' && super.trainable;
  }

  override set trainable(trainable: boolean) {
    super.trainable = trainable;
  }

  /** @internal */
  override adapterWeights(): Map<string, tf.LayerVariable> {
    return this.trainedWeights();
  }

  /** @internal */
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
    const [x, ...laterInputs] = [inputs].flat();
    const needless =
      this.repeatable && kwargs.training === true && kwargs.mask == null && x !== undefined && laterInputs.length === 0;
    return needless && !dependsOnTrainable(x) ? checkpointed(stock, x) : stock(inputs);
  }
}

/**
 * A layer whose weights are frozen: no gradient is recorded for them, and nothing is kept for the backward pass if
 * nothing before the layer trains. A `BatchNormalization` uses its moving statistics in training too, and leaves them
 * as they are. (In tfjs, `trainable: false` does none of this.)
 *
 * @example
 *     const model = tf.sequential({layers: [new FrozenLayer({layer: body}), new LoRADense({layer: head})]});
 */
export class FrozenLayer extends UnadaptedLayer {
  static readonly className = 'tfjs-lora>FrozenLayer';
  override readonly [WRAPPER_KIND] = 'frozen' as const;

  /** @throws LoRAError `ERR_OPTION` if `layer` is not a layer, or an option does not exist. */
  constructor(args: WrapperArgs) {
    super(args, 'nothing');
  }

  /** Whether a layer is worth freezing: it has weights, or a faster way to compute. @internal */
  static gains(layer: tf.layers.Layer): boolean {
    return layer.weights.length > 0 || forwardOf(layer) !== undefined;
  }
}

/**
 * A layer of which only the biases train, or the shift of a normalization: no other gradient is computed. (Ben Zaken et
 * al., "BitFit", arXiv 2106.10199; PEFT's `bias: "all"`.)
 */
export class BiasLayer extends UnadaptedLayer {
  static readonly className = 'tfjs-lora>BiasLayer';
  override readonly [WRAPPER_KIND] = 'bias' as const;

  /** @throws LoRAError `ERR_OPTION` if `layer` is not a layer, or an option does not exist. */
  constructor(args: WrapperArgs) {
    super(args, 'biases');
  }
}

/** A layer that trains in full, as in tfjs, and whose weights belong to the adapter. */
export class TrainedLayer extends UnadaptedLayer {
  static readonly className = 'tfjs-lora>TrainedLayer';
  override readonly [WRAPPER_KIND] = 'trained' as const;

  /** @throws LoRAError `ERR_OPTION` if `layer` is not a layer, or an option does not exist. */
  constructor(args: WrapperArgs) {
    super(args, 'everything');
  }
}

[FrozenLayer, BiasLayer, TrainedLayer].forEach(registerOwn);

/** Whether a layer of some config, or one inside it, is random in training. */
function hasDropout(config: unknown): boolean {
  return (
    typeof config === 'object' &&
    config !== null &&
    Object.entries(config).some(([key, value]) => (/dropout$/i.test(key) && Number(value) > 0) || hasDropout(value))
  );
}
