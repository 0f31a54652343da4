import * as tf from '@tensorflow/tfjs';
import {adam, applyLoRA, disposeModel, type LoRAConfig} from 'tfjs-lora';
import {numbers, random} from '../../helpers';
import {factorsOf, mlp} from '../../models';

/** An adapted model of the rank, compiled, with data. */
export function setting(
  optimizer: tf.Optimizer = adam({learningRate: 0.02}),
  rank = 2,
  targets?: LoRAConfig['targets'],
) {
  const {model: base, inputs} = mlp();
  const model = applyLoRA(base, {rank, seed: 1, targets});
  model.compile({optimizer, loss: 'meanSquaredError'});
  const x = random<tf.Rank.R2>([12, inputs[0]!.shape[1]!], 5);
  const y = random<tf.Rank.R2>([12, 3], 6);
  const factors = () => factorsOf(model).map(weight => numbers(weight.read()));
  const dispose = () => {
    [model, base].forEach(each => disposeModel(each));
    tf.dispose([inputs, x, y]);
    optimizer.dispose();
  };
  return {model, x, y, factors, dispose};
}
