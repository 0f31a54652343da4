import * as tf from '@tensorflow/tfjs';
import '../../src/kernels/backends';
import {applyLoRA} from '../../src/model/apply';
import {mergeLoRA, removeLoRA} from '../../src/model/restore';
import {disposeModel} from '../../src/rewire/dispose';
import {BACKENDS, useBackend} from '../helpers';
import {factorsOf, stir, stirFactors} from '../models';

interface Engine {
  state: {numDataBuffers: number};
  trackTensor: (this: Engine, tensor: tf.Tensor, backend: unknown) => void;
  removeDataId: (this: Engine, dataId: object, backend: unknown) => void;
}

/** The most bytes that the data buffers held at a time which `f` made. */
function peakOf(f: () => void): number {
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

function bytesIn(weights: readonly tf.LayerVariable[]): number {
  return [...new Set(weights)].reduce((sum, weight) => sum + bytesOf(weight.read()), 0);
}

/** A model with a table, a nested model that is called twice, a shared layer, a recurrent one and one over time. */
function manifold(): tf.LayersModel {
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

describe.each(BACKENDS)('on %s', backend => {
  beforeEach(() => useBackend(backend));

  // 2 % of the base are for what is made for a moment.
  test('adapting takes the memory of the factors, and none for the weights that are shared', () => {
    const base = manifold();
    stir(base);
    const ofBase = bytesIn(base.weights);
    let adapted = base;
    const peak = peakOf(() => (adapted = applyLoRA(base, {rank: 2, targets: 'all'})));
    expect(factorsOf(adapted).length).toBeGreaterThan(10);
    expect(peak).toBeLessThan(bytesIn(factorsOf(adapted)) + 0.02 * ofBase);
    [adapted, base].forEach(disposeModel);
  });

  test('a layer that trains in full takes no memory before it trains', () => {
    const base = manifold();
    const ofBase = bytesIn(base.weights);
    let adapted = base;
    const peak = peakOf(() => (adapted = applyLoRA(base, {rank: 2, targets: ['inner/wide'], trainable: ['out']})));
    expect(peak).toBeLessThan(bytesIn(factorsOf(adapted)) + 0.02 * ofBase);
    [adapted, base].forEach(disposeModel);
  });

  test('merging makes the kernels that change, one after the other, and no others', () => {
    const base = manifold();
    const adapted = applyLoRA(base, {rank: 2, targets: ['inner/wide', 'inner/narrow', 'shared']});
    stirFactors(adapted);
    let merged = base;
    const peak = peakOf(() => (merged = mergeLoRA(adapted)));
    const kernels = 4 * (32 * 64 + 64 * 32 + 32 * 32);
    // An update is as large as its kernel; the scaled one is another such tensor.
    expect(peak).toBeLessThanOrEqual(kernels + 2 * 4 * 32 * 64);
    [merged, adapted, base].forEach(disposeModel);
  });

  test('removing an adapter takes no memory', () => {
    const base = manifold();
    const adapted = applyLoRA(base, {rank: 2, targets: 'all'});
    let plain = base;
    const peak = peakOf(() => (plain = removeLoRA(adapted)));
    expect(peak).toBeLessThan(0.02 * bytesIn(base.weights));
    [plain, adapted, base].forEach(disposeModel);
  });
});
