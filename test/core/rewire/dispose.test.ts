import * as tf from '@tensorflow/tfjs';
import {LoRADense} from '../../../src/core/layers/loraDense';
import {applyLoRA} from '../../../src/core/model/apply';
import {disposeModel, trainableVariables} from '../../../src/core/rewire/dispose';
import {withoutLeaks} from '../../helpers';
import {baseWeights, mlp, nested, predictions, shared, train, ZOO} from '../../models';

describe('disposeModel', () => {
  test.each(ZOO)('frees %s, stock or adapted', async (_, make) => {
    await withoutLeaks(() => {
      const {model, inputs} = make();
      const adapted = applyLoRA(model, {rank: 2});
      disposeModel(adapted);
      disposeModel(model);
      tf.dispose(inputs);
    });
  });

  test('frees the optimizer that compile made, and leaves one that was passed in', async () => {
    const own = tf.train.adam();
    await withoutLeaks(async () => {
      const {model, inputs} = mlp();
      const adapted = applyLoRA(model, {rank: 2});
      await train(adapted, inputs);
      disposeModel(adapted);
      disposeModel(model);
      tf.dispose(inputs);
    });
    const {model, inputs} = mlp();
    const adapted = applyLoRA(model, {rank: 2});
    await train(adapted, inputs, {optimizer: own});
    disposeModel(adapted);
    const state = await own.getWeights();
    expect(state.length).toBeGreaterThan(1);
    state.forEach(({tensor}) => expect(tensor.isDisposed).toBe(false));
  });

  test('called a second time, does nothing', async () => {
    await withoutLeaks(() => {
      const {model, inputs} = nested();
      const adapted = applyLoRA(model, {rank: 2});
      [adapted, adapted, model, adapted, model].forEach(disposeModel);
      tf.dispose(inputs);
    });
  });

  test('frees a layer by itself', async () => {
    await withoutLeaks(() => {
      const layer = new LoRADense({layer: tf.layers.dense({units: 4}), rank: 2});
      layer.apply(tf.input({shape: [3]}));
      disposeModel(layer);
    });
  });

  test('leaves what others share alone', () => {
    const {model, inputs} = nested();
    const expected = predictions(model, inputs);
    const adapted = applyLoRA(model, {rank: 2});
    disposeModel(adapted);
    expect(predictions(model, inputs)).toEqual(expected);
  });
});

describe('trainableVariables', () => {
  test('lists each variable that trains, once', () => {
    const {model} = shared();
    const adapted = applyLoRA(model, {rank: 2, targets: ['tower'], trainInFull: ['head']});
    const names = trainableVariables(adapted).map(({name}) => name.replace(/_\d+$/, ''));
    expect(names).toEqual(['tower/lora_A', 'tower/lora_B', 'head/kernel', 'head/bias']);
    expect(trainableVariables(model)).toHaveLength(4);
  });

  test("keeps a loop of one's own from moving what is frozen in a stock model", () => {
    const {model, inputs} = mlp();
    model.layers[0]!.trainable = false;
    const before = baseWeights(model);
    const optimizer = tf.train.sgd(1);
    const loss = () => tf.mean<tf.Scalar>(model.apply(inputs) as tf.Tensor);
    optimizer.minimize(loss, false, trainableVariables(model));
    const after = baseWeights(model);
    expect(after['hidden/kernel']).toEqual(before['hidden/kernel']);
    expect(after['head/kernel']).not.toEqual(before['head/kernel']);
  });
});
