import * as tf from '@tensorflow/tfjs';
import {applyLoRA, type LoRAConfig, mergeLoRA, removeLoRA, trainableVariables} from 'tfjs-lora';
import {quantizeBase} from 'tfjs-lora/quantized';
import {loadTransformer} from 'tfjs-lora/transformers';
import {numbers, random} from '../../helpers';
import {fixture} from '../transformers/fixtures';

const NAMES = ['llamaTiedHead', 'gpt2TiedHead'];

const inputsFor = (name: string) => {
  const {ids, mask} = fixture(name).expected;
  return [tf.tensor2d(ids, undefined, 'int32'), tf.tensor2d(mask, undefined, 'int32')];
};
const outputs = (model: tf.LayersModel, name: string) =>
  tf.tidy(() => numbers(model.predict(inputsFor(name)) as tf.Tensor));

function gradients(model: tf.LayersModel, name: string): number[][] {
  return tf.tidy(() => {
    const run = () => model.apply(inputsFor(name), {training: true}) as tf.Tensor;
    const weights = random(run().shape, 5);
    const {grads} = tf.variableGrads(() => tf.sum<tf.Scalar>(tf.mul(run(), weights)), trainableVariables(model));
    return trainableVariables(model).map(({name: own}) => numbers(grads[own]!));
  });
}

test.each(NAMES)('the head of %s computes with the blocks of its table', async name => {
  const {config, weights} = fixture(name);
  const base = await quantizeBase((await loadTransformer({config, weights})).model, {
    bits: 8,
    targets: ['Dense', 'Embedding'],
  });
  expect(base.weights.filter(({dtype}) => dtype === 'int32').length).toBeGreaterThan(2);
  const tied = base.layers.find(layer => layer.getClassName() === 'tfjs-lora/transformers>TiedDense')!;
  expect(tied.weights).toEqual([]);
  // Merged with updates of nothing, head and table part, and hold the numbers of the blocks.
  const floats = mergeLoRA(applyLoRA(base, {rank: 1, targets: 'all'}));
  expect(floats.layers.find(layer => layer.name === tied.name)!.getClassName()).toBe('Dense');
  expect(outputs(base, name)).toBeAllClose(outputs(floats, name), {rtol: 1e-4, atol: 1e-5});
  for (const config of [{rank: 2}, {rank: 2, dropout: 0.3}] as LoRAConfig[]) {
    const [adapted, expected] = [base, floats].map(model =>
      applyLoRA(model, {...config, seed: 1, exclude: ['Embedding']}),
    );
    for (const model of [adapted!, expected!]) {
      trainableVariables(model).forEach((variable, i) =>
        tf.tidy(() => variable.assign(tf.add(variable, random(variable.shape, 7 + i, 0.2)))),
      );
    }
    expect(outputs(adapted!, name)).toBeAllClose(outputs(expected!, name), {rtol: 1e-3, atol: 1e-4});
    const wanted = gradients(expected!, name);
    gradients(adapted!, name).forEach((gradient, i) => {
      const largest = Math.max(...wanted[i]!.map(Math.abs));
      expect(gradient).toBeAllClose(wanted[i]!, {rtol: 1e-3, atol: 1e-4 * largest + 1e-7});
    });
    expect(outputs(mergeLoRA(adapted!), name)).toBeAllClose(outputs(adapted!, name), {rtol: 1e-3, atol: 1e-4});
    expect(outputs(removeLoRA(adapted!), name)).toEqual(outputs(base, name));
  }
});
