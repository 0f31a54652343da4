import * as tf from '@tensorflow/tfjs';
import {applyLoRA, setAdapter} from 'tfjs-lora';
import {loraSites} from '../../../src/core/model/adapted';
import {numbers} from '../../helpers';
import {mlp} from '../../models';

test('without an adapter b is zero, and d stays as it was trained', () => {
  const model = applyLoRA(mlp().model, {method: 'vera', rank: 3});
  const [{layer}] = loraSites(model) as [ReturnType<typeof loraSites>[0]];
  const valuesOf = (name: string) => numbers(layer.weights.find(weight => weight.originalName.endsWith(name))!.read());
  const b = tf.fill([valuesOf('vera_lambda_b').length], 2);
  layer.setParameter('vera_lambda_b', b);
  layer.setParameter('vera_lambda_d', tf.tensor1d([3, 4, 5]));
  setAdapter(model, null);
  expect(new Set(valuesOf('vera_lambda_b'))).toEqual(new Set([0]));
  expect(valuesOf('vera_lambda_d')).toEqual([3, 4, 5]);
});
