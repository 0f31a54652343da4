import * as tf from '@tensorflow/tfjs';
import {BufferMeter, type Engine} from './bufferMeter';
import {step} from './runs';

/** What one step takes beside time. */
export interface Footprint {
  /**
   * Peak of the bytes that tf.profile reports, weights and optimizer included. It counts a buffer once for each tensor
   * on it.
   */
  profiledBytes: number;
  /** Peak of the bytes in buffers, each counted once: what is really allocated. */
  bufferBytes: number;
  /** Kernels launched. */
  kernels: number;
}

/**
 * Measures a step of a model that is alone in memory, and is gone afterwards.
 *
 * @param make Makes and compiles the model, and says how to get rid of it.
 */
export async function footprint(
  batch: () => {xs: tf.Tensor | tf.Tensor[]; ys: tf.Tensor},
  make: () => Promise<{model: tf.LayersModel; optimizer: tf.Optimizer; dispose: () => void}>,
): Promise<Footprint> {
  const before = tf.memory().numBytes;
  const meter = new BufferMeter(tf.engine() as unknown as Engine);
  try {
    const data = batch();
    const {model, optimizer, dispose} = await make();
    const run = step(model, data);
    // Adam makes its slots in the first step.
    await run();
    await run();
    meter.restart();
    const {peakBytes, kernels} = await tf.profile(async () => {
      await run();
      return [];
    });
    dispose();
    optimizer.dispose();
    tf.dispose([data.xs, data.ys]);
    return {
      profiledBytes: peakBytes - before,
      bufferBytes: meter.peak,
      // An operation of the library runs as a kernel around the real ones.
      kernels: kernels.filter(({name}) => !name.startsWith('TfjsLoRA')).length,
    };
  } finally {
    meter.stop();
  }
}
