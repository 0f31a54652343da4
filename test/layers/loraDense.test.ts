import * as tf from '@tensorflow/tfjs';
import {LoRADense} from '../../src/layers/loraDense';
import {BACKENDS, useBackend, withoutLeaks} from '../helpers';

const A = [[1, 0], [0, 1], [1, 1]];
const B = [[1, 2], [3, 4]];

/** A Dense 3 → 2 whose own kernel is zero, so that the output is the low-rank branch alone. */
function branch(): LoRADense {
  const base = tf.layers.dense({units: 2, kernelInitializer: 'zeros', inputShape: [3]});
  const layer = new LoRADense({layer: base, rank: 2, alpha: 4});
  layer.apply(tf.input({shape: [3]}));
  tf.tidy(() => {
    layer.setParameter('lora_A', tf.tensor2d(A));
    layer.setParameter('lora_B', tf.tensor2d(B));
  });
  return layer;
}

describe.each(BACKENDS)('on %s', backend => {
  beforeAll(() => useBackend(backend));

  test('the branch computes s·x·A·B', () => {
    const y = branch().apply(tf.tensor2d([[1, 2, 3], [4, 5, 6]])) as tf.Tensor;
    expect(y.arraySync()).toEqual([[38, 56], [86, 128]]);
  });

  test('delta is s·A·B in the shape of the kernel', () => {
    expect(branch().loraLayer.delta().arraySync()).toEqual([[2, 4], [6, 8], [8, 12]]);
  });

  test('gradients and one step of SGD are as computed by hand', async () => {
    await withoutLeaks(() => {
      const layer = branch();
      tf.tidy(() => {
        const variables = layer.trainableWeights.map(w => w.read() as tf.Variable);
        const x = tf.variable(tf.tensor2d([[1, 2, 3]]));
        const {grads} = tf.variableGrads(() => tf.sum(layer.apply(x) as tf.Tensor), [x, ...variables]);
        expect(grads[x.name]!.arraySync()).toEqual([[6, 14, 20]]);
        expect(grads[variables[0]!.name]!.arraySync()).toEqual([[6, 14], [12, 28], [18, 42]]);
        expect(grads[variables[1]!.name]!.arraySync()).toEqual([[8, 8], [10, 10]]);
        const optimizer = tf.train.sgd(0.1);
        optimizer.applyGradients(grads);
        expect(layer.loraLayer.A.dataSync()).toBeAllClose([0.4, -1.4, -1.2, -1.8, -0.8, -3.2], {atol: 1e-6});
        expect(layer.loraLayer.B.dataSync()).toBeAllClose([0.2, 1.2, 2, 3], {atol: 1e-6});
        optimizer.dispose();
        x.dispose();
      });
      layer.dispose();
    });
  });
});
