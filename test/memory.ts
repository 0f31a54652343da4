import * as tf from '@tensorflow/tfjs';

// How much memory a model takes while it is adapted.

interface Engine {
  state: {numDataBuffers: number};
  trackTensor: (this: Engine, tensor: tf.Tensor, backend: unknown) => void;
  removeDataId: (this: Engine, dataId: object, backend: unknown) => void;
}

/** The most bytes that the data buffers held at a time which `f` made. */
export function peakOf(f: () => void): number {
  const engine = tf.engine() as unknown as Engine;
  const {trackTensor, removeDataId} = engine;
  const live = new Map<object, number>();
  let [bytes, peak] = [0, 0];
  engine.trackTensor = function (tensor, backend) {
    const before = this.state.numDataBuffers;
    trackTensor.call(this, tensor, backend);
    if (this.state.numDataBuffers > before) {
      live.set(tensor.dataId, bytesOf(tensor));
      bytes += bytesOf(tensor);
      peak = Math.max(peak, bytes);
    }
  };
  engine.removeDataId = function (dataId, backend) {
    removeDataId.call(this, dataId, backend);
    bytes -= live.get(dataId) ?? 0;
    live.delete(dataId);
  };
  try {
    f();
  } finally {
    Object.assign(engine, {trackTensor, removeDataId});
  }
  return peak;
}

function bytesOf({size, dtype}: tf.Tensor): number {
  return size * tf.util.bytesPerElement(dtype);
}

/** The bytes of weights, each once. */
export function bytesIn(weights: readonly tf.LayerVariable[]): number {
  return [...new Set(weights)].reduce((sum, weight) => sum + bytesOf(weight.read()), 0);
}

/** A model with a table, a nested model that is called twice, a shared layer, a recurrent one and one over time. */
export function manifold(): tf.LayersModel {
  const input = tf.input({shape: [6], dtype: 'int32'});
  const words = tf.layers.embedding({inputDim: 400, outputDim: 32, name: 'words'}).apply(input);
  const inner = tf.sequential({
    name: 'inner',
    layers: [
      tf.layers.dense({units: 64, inputShape: [6, 32], activation: 'relu', name: 'wide'}),
      tf.layers.dense({units: 32, name: 'narrow'}),
      tf.layers.batchNormalization({name: 'level'}),
    ],
  });
  const shared = tf.layers.dense({units: 32, name: 'shared'});
  const twice = inner.apply(shared.apply(inner.apply(shared.apply(words))));
  const timed = tf.layers.timeDistributed({layer: tf.layers.dense({units: 48, name: 'each'}), name: 'timed'});
  const state = tf.layers.lstm({units: 24, recurrentInitializer: 'zeros', name: 'state'}).apply(timed.apply(twice));
  const output = tf.layers.dense({units: 400, name: 'out'}).apply(state) as tf.SymbolicTensor;
  return tf.model({inputs: input, outputs: output});
}
