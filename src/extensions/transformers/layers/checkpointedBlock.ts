import * as tf from '@tensorflow/tfjs';
import {recomputed} from '../../../core/ops/recording';
import {isRecording} from '../../../platform/tfjs/engine';
import type {CallArgs} from '../../../core/layers/wrapperLayer';
import type {Group} from '../../../core/rewire/walk';
import {registerOwn} from '../../../platform/tfjs/configs';

/**
 * A part of a model with gradient checkpointing: training keeps only its inputs, and the backward pass computes the
 * rest again. (Chen et al., "Training Deep Nets with Sublinear Memory Cost", arXiv 1604.06174.) It computes what a
 * nested model computes.
 *
 * In targets and adapters its layers have the paths that they would have without it. It must not contain random
 * operations.
 *
 * @experimental
 */
export class CheckpointedBlock extends tf.LayersModel implements Group {
  static override readonly className: string = 'tfjs-lora/transformers>CheckpointedBlock';
  readonly isGroup = true;

  override call(inputs: tf.Tensor | tf.Tensor[], kwargs: CallArgs): tf.Tensor | tf.Tensor[] {
    if (!isRecording() || this.outputs.length > 1) {
      return super.call(inputs, kwargs);
    }
    const compute = (xs: readonly tf.Tensor[]) =>
      [super.call(xs.length === 1 ? (xs[0] as tf.Tensor) : [...xs], kwargs)].flat()[0] as tf.Tensor;
    const variables = new Set(this.trainableWeights.map(weight => weight.read()));
    return tf.tidy(() => recomputed(compute, {inputs: [inputs].flat(), variables: [...variables]}));
  }
}
registerOwn(CheckpointedBlock);
