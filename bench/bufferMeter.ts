import type * as tf from '@tensorflow/tfjs';

/** The parts of tfjs's engine that count buffers. */
export interface Engine {
  readonly backend: unknown;
  state: {tensorInfo: WeakMap<object, {bytes: number; backend: unknown}>};
  trackTensor: (tensor: tf.Tensor, backend: unknown) => void;
  removeDataId: (dataId: object, backend: unknown) => void;
}

/** Counts the bytes of the buffers that the engine makes while the meter is in place. */
export class BufferMeter {
  peak = 0;
  private current = 0;

  constructor(private readonly engine: Engine) {
    const {trackTensor, removeDataId} = engine;
    const {tensorInfo} = engine.state;
    // What is still to be computed lives on a backend of its own, and takes no memory yet.
    const bytes = (id: object) => {
      const info = tensorInfo.get(id);
      return info !== undefined && info.backend === engine.backend ? info.bytes : 0;
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
