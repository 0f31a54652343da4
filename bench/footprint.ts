import * as tf from '@tensorflow/tfjs';
import {adam} from 'tfjs-lora';
import type {BenchCase} from './cases/case';
import {compile, LEARNING_RATE, step} from './runs';

/** What one step takes beside time. */
export interface Footprint {
  /** Peak of the bytes that tf.profile reports, weights and optimizer included. It counts a buffer once for each tensor on it. */
  profiledBytes: number;
  /** Peak of the bytes in buffers, each counted once: what is really allocated. */
  bufferBytes: number;
  /** Kernels launched. */
  kernels: number;
}

/** The parts of tfjs's engine that count buffers. */
interface Engine {
  state: {tensorInfo: WeakMap<object, {bytes: number; backend: unknown}>};
  trackTensor: (tensor: tf.Tensor, backend: unknown) => void;
  removeDataId: (dataId: object, backend: unknown) => void;
}

/**
 * Measures a step of a model that is alone in memory, and is gone afterwards.
 *
 * @param make Makes the model and says how to get rid of it.
 */
export async function footprint(
  benchCase: BenchCase,
  make: () => Promise<{model: tf.LayersModel; dispose: () => void}>,
): Promise<Footprint> {
  const before = tf.memory().numBytes;
  const meter = new BufferMeter();
  try {
    const data = benchCase.batch();
    const {model, dispose} = await make();
    const optimizer = compile(model, benchCase.loss, adam({learningRate: LEARNING_RATE}));
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
    tf.dispose({...data});
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

/** Counts the bytes in buffers that are made while it is in place, by looking over the engine's shoulder. */
class BufferMeter {
  peak = 0;
  private current = 0;
  private readonly engine = tf.engine() as unknown as Engine;

  constructor() {
    const {engine} = this;
    const {trackTensor, removeDataId} = engine;
    const {tensorInfo} = engine.state;
    // What is still to be computed lives on a backend of its own, and takes no memory yet.
    const bytes = (id: object) => {
      const info = tensorInfo.get(id);
      return info?.backend === tf.backend() ? info.bytes : 0;
    };
    engine.trackTensor = (tensor, backend) => {
      const earlier = bytes(tensor.dataId);
      trackTensor.call(engine, tensor, backend);
      this.current += bytes(tensor.dataId) - earlier;
      this.peak = Math.max(this.peak, this.current);
    };
    engine.removeDataId = (dataId, backend) => {
      const earlier = bytes(dataId);
      removeDataId.call(engine, dataId, backend);
      this.current -= earlier - bytes(dataId);
    };
  }

  restart(): void {
    this.peak = this.current;
  }

  stop(): void {
    // Uncovers the methods of the class.
    Reflect.deleteProperty(this.engine, 'trackTensor');
    Reflect.deleteProperty(this.engine, 'removeDataId');
  }
}
