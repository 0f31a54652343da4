import * as tf from '@tensorflow/tfjs';
import {PlainLayer} from './plainLayer';

/** A layer with a factor and a summand for each value of the last axis, as normalizations have. */
export abstract class ScaledAndShifted extends PlainLayer {
  protected gamma!: tf.LayerVariable;
  protected beta!: tf.LayerVariable;
  /** The initial value of the factors. */
  protected readonly start: 'ones' | 'zeros' = 'ones';

  override build(inputShape: tf.Shape | tf.Shape[]): void {
    const width = (this.computeOutputShape(inputShape) as tf.Shape).at(-1) as number;
    this.gamma = this.addWeight('gamma', [width], 'float32', tf.initializers[this.start]());
    this.beta = this.addWeight('beta', [width], 'float32', tf.initializers.zeros());
    this.built = true;
  }
}
