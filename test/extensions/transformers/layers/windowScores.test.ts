import * as tf from '@tensorflow/tfjs';
import {applyLoRA, disposeModel, registerAdaptable, trainableVariables} from 'tfjs-lora';
import 'tfjs-lora/transformers';
import {ContinuousWindowBias, WindowBias} from '../../../../src/extensions/transformers/layers/windowScores';
import {numbers, random, useBackend, withoutLeaks} from '../../../helpers';
import {stirFactors} from '../../../models';

const WINDOWS = {size: 2, shift: 1, heads: 2, name: 'bias'};
const LAYERS: Record<string, () => tf.layers.Layer> = {
  WindowBias: () => new WindowBias(WINDOWS),
  ContinuousWindowBias: () => new ContinuousWindowBias(WINDOWS),
};

/** A layer to adapt, and one whose scores the model returns. */
function modelOf(layer: tf.layers.Layer): tf.LayersModel {
  const x = tf.input({shape: [null, null, 3]});
  const features = tf.layers.dense({units: 3, name: 'dense'}).apply(x) as tf.SymbolicTensor;
  return tf.model({inputs: x, outputs: [features, layer.apply(features) as tf.SymbolicTensor]});
}

function scores(model: tf.LayersModel, [height, width]: [number, number] = [4, 6]): number[] {
  return tf.tidy(() => numbers((model.predict(tf.ones([1, height, width, 3])) as tf.Tensor[])[1]!));
}

function setWeights(layer: tf.layers.Layer, seed: number): void {
  tf.tidy(() => layer.setWeights(layer.weights.map(({shape}, i) => random(shape as number[], seed + i))));
}

describe.each(Object.entries(LAYERS))('the frozen weights of a %s', (_, make) => {
  test('are gathered once, and again after a change of the weights, the size of images or the backend', async () => {
    await withoutLeaks(async () => {
      const base = modelOf(make());
      setWeights(base.getLayer('bias'), 1);
      const model = applyLoRA(base, {rank: 1, targets: ['dense']});
      const kernels = async () => (await tf.profile(() => void scores(model))).kernelNames;
      expect(await kernels()).toContain('GatherV2');
      expect(await kernels()).not.toContain('GatherV2');
      expect(scores(model)).toEqual(scores(base));
      expect(scores(model, [6, 4])).toEqual(scores(base, [6, 4]));
      expect(scores(model, [6, 4])).not.toEqual(scores(model));
      for (const each of [base, model]) {
        setWeights(each.getLayer('bias'), 5);
      }
      expect(scores(model)).toEqual(scores(base));
      const before = scores(model);
      await useBackend('cpu');
      expect(scores(model)).toBeAllClose(before);
      await useBackend('wasm');
      expect(scores(model)).toEqual(before);
      [model, base].forEach(disposeModel);
    });
  });

  test('have their gradients, and scores that follow them, if they train in full', async () => {
    await withoutLeaks(() => {
      const base = modelOf(make());
      const model = applyLoRA(base, {rank: 1, targets: ['dense'], trainInFull: ['bias']});
      const loss = (of: tf.LayersModel) =>
        tf.tidy(() => {
          const [, y] = of.apply(tf.ones([1, 4, 6, 3]), {training: true}) as [tf.Tensor, tf.Tensor];
          return tf.sum<tf.Scalar>(tf.mul(y, random(y.shape, 3)));
        });
      const gradients = (of: tf.LayersModel) =>
        tf.tidy(() => {
          const weights = of.getLayer('bias').trainableWeights.map(weight => weight.read() as tf.Variable);
          const {grads} = tf.variableGrads(() => loss(of), weights);
          return weights.map(({name}) => numbers(grads[name]!));
        });
      expect(gradients(model)).toEqual(gradients(base));
      const before = scores(model);
      const optimizer = tf.train.sgd(0.1);
      optimizer.minimize(() => loss(model), false, trainableVariables(model));
      expect(scores(model)).not.toEqual(before);
      optimizer.dispose();
      [model, base].forEach(disposeModel);
    });
  });
});

test('an adapter on the network of a continuous bias changes the scores, and so does another one', () => {
  registerAdaptable('tfjs-lora/transformers>ContinuousWindowBias', {weights: ['kernel_1']});
  const base = modelOf(LAYERS.ContinuousWindowBias!());
  const model = applyLoRA(base, {rank: 1, targets: ['bias']});
  expect(scores(model)).toEqual(scores(base));
  const known = [scores(base)];
  for (const seed of [1, 2]) {
    stirFactors(model, seed);
    known.forEach(before => expect(scores(model)).not.toEqual(before));
    known.push(scores(model));
  }
});
