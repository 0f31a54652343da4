import * as tf from '@tensorflow/tfjs';
import {recomputed} from '../../ops/recording';
import {isRecording} from '../../tfjs/engine';
import type {CallArgs} from '../../layers/wrapperLayer';

/**
 * A part of a model of which training keeps nothing but its input: what the backward pass needs is computed a second
 * time. (Chen et al., "Training Deep Nets with Sublinear Memory Cost", arXiv 1604.06174.) It computes what a nested
 * model computes.
 *
 * Its layers have in targets and adapters the paths that they would have without it. Nothing in it may be random.
 */
export class CheckpointedBlock extends tf.LayersModel {
  static override readonly className: string = 'CheckpointedBlock';

  override call(inputs: tf.Tensor | tf.Tensor[], kwargs: CallArgs): tf.Tensor | tf.Tensor[] {
    const [x, mask = null, ...others] = [inputs].flat() as [tf.Tensor, ...(tf.Tensor | null)[]];
    const compute = (z: tf.Tensor, m: tf.Tensor | null) =>
      [super.call(m === null ? z : [z, m], kwargs)].flat()[0] as tf.Tensor;
    if (!isRecording() || others.length > 0 || this.outputs.length > 1) {
      return super.call(inputs, kwargs);
    }
    const variables = new Set(this.trainableWeights.map(weight => weight.read()));
    return tf.tidy(() => recomputed(compute, {x, mask, variables: [...variables]}));
  }
}
tf.serialization.registerClass(CheckpointedBlock);
