import * as tf from '@tensorflow/tfjs';
import {
  applyLoRA,
  balancedClassWeights,
  combineAdapters,
  getAdapter,
  learningRateSchedule,
  LoRAError,
  predictWith,
  saveAdapter,
  withAdapter,
} from 'tfjs-lora';
import {adaptLayer} from 'tfjs-lora/layers';
import {MemoryHandler, mlp} from '../models';

/** An optimizer without a learning rate. */
class Still extends tf.Optimizer {
  static readonly className = 'Still';

  applyGradients(): void {
    // Nothing moves.
  }

  getConfig(): tf.serialization.ConfigDict {
    return {};
  }
}

const adapted = () => applyLoRA(mlp().model, {rank: 2, seed: 1});

/** An adapter with one tensor left out or replaced. */
function changed(tensor?: tf.Tensor) {
  const adapter = getAdapter(adapted());
  const {'hidden/lora_B': _, ...others} = adapter.tensors;
  return {...adapter, tensors: tensor === undefined ? others : {...others, 'hidden/lora_B': tensor}};
}

test.each<[what: string, use: () => unknown, message: string]>([
  ['two inputs of a layer of one', () => adapted().layers[0]!.call([tf.ones([1, 5]), tf.ones([1, 5])], {}), 'got 2.'],
  [
    'a weight that is named twice',
    () => adaptLayer({layer: tf.layers.dense({units: 2}), weights: ['kernel', 'kernel'], rank: 1}),
    'weights names "kernel" twice.',
  ],
  [
    'an inner scope that outlives the outer one',
    () => {
      const model = adapted();
      const [outer, inner] = [getAdapter(model), getAdapter(model)];
      return withAdapter(model, outer, () => {
        void withAdapter(model, inner, () => Promise.resolve()).catch(() => undefined);
        return 1;
      });
    },
    'A withAdapter inside this one has not ended, although the function has.',
  ],
  ['no rows', () => predictWith(adapted(), tf.zeros([0, 5]), []), 'There are no rows to predict.'],
  [
    'half precision in the format of tfjs',
    () => saveAdapter(getAdapter(adapted()), new MemoryHandler(), {format: 'tfjs', dtype: 'float16'} as never),
    'The format "tfjs" stores only float32. For "float16", pass {format: \'safetensors\', dtype}.',
  ],
  ['no counts', () => balancedClassWeights([]), 'how many examples each class has, got [].'],
  ['a number of classes for counts', () => balancedClassWeights(2 as never), 'each class has, got a number.'],
  [
    'an optimizer without a rate',
    () => learningRateSchedule({steps: 2}).set(new Still(), 0),
    'The optimizer (Still) has no learningRate that is a number.',
  ],
  [
    'half of an update',
    () => combineAdapters([{adapter: changed(), weight: 1}], {method: 'ties', density: 0.5, rank: 1}),
    'hidden/lora_A: without a lora_B',
  ],
  [
    'factors that cannot be multiplied',
    () => combineAdapters([{adapter: changed(tf.ones([3, 7])), weight: 1}], {method: 'ties', density: 0.5, rank: 1}),
    'hidden/: factors of different ranks, [5, 2] and [3, 7]',
  ],
])('%s: refused, with what was expected', async (_, use, message) => {
  const told = Promise.resolve().then(use);
  await expect(told).rejects.toThrow(LoRAError);
  await expect(told).rejects.toThrow(message);
});
