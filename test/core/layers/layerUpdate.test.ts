import * as tf from '@tensorflow/tfjs';
import {applyLoRA, disposeModel, getAdapter, mergeLoRA, scaleAdapter, setAdapter} from '../../../src/index';
import {kernelsOf, numbers, random, useBackend, withoutLeaks} from '../../helpers';
import {stir, stirUpdates} from '../../models';

function network(): tf.LayersModel {
  const model = tf.sequential({
    layers: [
      tf.layers.conv2d({
        filters: 6,
        kernelSize: 3,
        strides: 2,
        activation: 'relu',
        inputShape: [9, 9, 2],
        name: 'conv',
      }),
      tf.layers.depthwiseConv2d({kernelSize: 2, depthMultiplier: 2, name: 'depthwise'}),
      tf.layers.reshape({targetShape: [9, 12]}),
      tf.layers.lstm({units: 4, name: 'lstm'}),
      tf.layers.dense({units: 5, activation: 'tanh', name: 'dense'}),
    ],
  });
  stir(model);
  return model;
}

const x = () => random([1, 9, 9, 2], 5);

function predicted(model: tf.LayersModel): number[] {
  return tf.tidy(() => numbers(model.predict(x()) as tf.Tensor));
}

/** What the model that it merges to predicts. */
function predictedMerged(adapted: tf.LayersModel): number[] {
  const merged = mergeLoRA(adapted);
  const values = predicted(merged);
  disposeModel(merged);
  return values;
}

test.each(['lora', 'dora', 'loha'] as const)('%s predicts with the kernels of a stock layer', async method => {
  const layer = () => tf.layers.conv2d({filters: 6, kernelSize: 3, activation: 'relu', inputShape: [9, 9, 2]});
  const [base, adapted] = [tf.sequential({layers: [layer()]}), tf.sequential({layers: [layer()]})].map((model, i) =>
    i === 0 ? model : applyLoRA(model, {method, rank: 2}),
  ) as [tf.LayersModel, tf.LayersModel];
  const given = x();
  stirUpdates(adapted);
  expect(predicted(adapted)).toEqual(predictedMerged(adapted));
  const own = await kernelsOf(() => adapted.predict(given));
  const expected = await kernelsOf(() => base.predict(given));
  // tfjs counts a composed operation too.
  expect(own).toEqual(expected.filter(({name}) => !name.endsWith('__op')));
});

test.each([
  [256, true],
  [257, false],
])('whether a kernel of 512 × %i is kept with its update for predictions: %s', async (units, isKept) => {
  const base = tf.sequential({layers: [tf.layers.dense({units, inputShape: [512]})]});
  const adapted = applyLoRA(base, {rank: 2});
  const input = tf.ones([1, 512]);
  tf.dispose(adapted.predict(input)); // computes what is kept
  const [withUpdate, stock] = [
    await kernelsOf(() => adapted.predict(input)),
    await kernelsOf(() => base.predict(input)),
  ];
  expect(withUpdate.length <= stock.length).toBe(isKept);
});

test('what is kept for predictions follows the factors, their strength and the weights', async () => {
  const base = network();
  const given = [x(), tf.ones([1, 5])] as const;
  await withoutLeaks(async () => {
    const optimizer = tf.train.sgd(0.1);
    const adapted = applyLoRA(base, {rank: 2, targets: 'all', seed: 1});
    adapted.compile({optimizer, loss: 'meanSquaredError'});
    const before = [predicted(adapted)];
    stirUpdates(adapted);
    const own = getAdapter(adapted);
    const half = scaleAdapter(own, 0.5);
    const changes: (() => unknown)[] = [
      () => {},
      () => setAdapter(adapted, half),
      () => adapted.trainOnBatch(...given),
      () => stir(adapted),
      () => setAdapter(adapted, own),
    ];
    for (const change of changes) {
      await change();
      before.push(predicted(adapted));
      expect(before.at(-1)).toEqual(predictedMerged(adapted));
      expect(before.at(-1)).not.toEqual(before.at(-2));
    }
    [own, half].forEach(adapter => adapter.dispose());
    disposeModel(adapted);
    optimizer.dispose();
  });
});

test('after a change of the method, weights have the names that the method gives them from the beginning', async () => {
  await useBackend('cpu');
  await withoutLeaks(() => {
    const base = network();
    const namesOf = (model: tf.LayersModel) => model.weights.map(({originalName}) => originalName).sort();
    const targets = ['conv', 'dense'];
    const options = {rank: 2, targets, seed: 1};
    const methods = ['dora', 'loha', 'lokr', 'lora'] as const;
    const model = applyLoRA(base, options);
    for (const method of [...methods, ...methods]) {
      const fresh = applyLoRA(base, {...options, method});
      const adapter = getAdapter(fresh);
      setAdapter(model, adapter);
      predicted(model); // keeps kernels, which the next change frees
      expect(namesOf(model)).toEqual(namesOf(fresh));
      adapter.dispose();
      disposeModel(fresh);
    }
    [model, base].forEach(disposeModel);
  });
});
