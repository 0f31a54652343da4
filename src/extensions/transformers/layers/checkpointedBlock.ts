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
    const [x, ...others] = [inputs].flat() as [tf.Tensor, ...tf.Tensor[]];
    const compute = (states: tf.Tensor, more: readonly tf.Tensor[]) =>
      [super.call(more.length === 0 ? states : [states, ...more], kwargs)].flat()[0] as tf.Tensor;
    // At most a mask and a bias.
    if (!isRecording() || others.length > 2 || this.outputs.length > 1) {
      return super.call(inputs, kwargs);
    }
    const variables = new Set(this.trainableWeights.map(weight => weight.read()));
    return tf.tidy(() => recomputed(compute, {x, others, variables: [...variables]}));
  }
}
registerOwn(CheckpointedBlock);
