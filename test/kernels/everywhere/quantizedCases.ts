import * as tf from '@tensorflow/tfjs';
import {applyLoRA, disposeModel, type LoRAConfig, mergeLoRA, trainableVariables} from 'tfjs-lora';
import {quantizeBase} from 'tfjs-lora/quantized';
import {withoutOwnCode} from '../../../src/kernels/tryOut';
import {random} from '../../helpers';
import {type Case, elsewhere, read, relativeDifference} from './case';

/** Words, rows and pixels. */
function network(): tf.LayersModel {
  const {layers} = tf;
  const words = tf.input({shape: [6], dtype: 'int32', name: 'words'});
  const looked = layers.embedding({inputDim: 40, outputDim: 64, name: 'table'}).apply(words);
  const up = layers.dense({units: 96, activation: 'relu', name: 'up'}).apply(looked);
  const pixels = layers.reshape({targetShape: [2, 3, 96]}).apply(up);
  const mixed = layers.conv2d({filters: 40, kernelSize: 1, activation: 'tanh', name: 'mix'}).apply(pixels);
  const out = layers.dense({units: 33, name: 'out'}).apply(mixed);
  const model = tf.model({inputs: words, outputs: out as tf.SymbolicTensor});
  model.setWeights(model.weights.map(({shape}, i) => random(shape as number[], 30 + i, 0.15)));
  return model;
}

/** Outputs of an adapted model, gradients of its factors, and the outputs of the merged one. */
export async function outcome(bits: 8 | 4, config: LoRAConfig, inFloats: boolean): Promise<number[][]> {
  const [model, words] = [network(), tf.tensor2d([3, 1, 39, 0, 3, 7, 5, 5, 22, 38, 2, 1], [2, 6], 'int32')];
  const blocks = await quantizeBase(model, {bits});
  // Merged with updates of nothing, its layers hold the numbers of the blocks in float32.
  const floats = inFloats ? mergeLoRA(applyLoRA(blocks, {rank: 1})) : undefined;
  const adapted = applyLoRA(floats ?? blocks, {...config, seed: 1});
  const variables = trainableVariables(adapted);
  const stir = (variable: tf.Variable, i: number) =>
    variable.assign(tf.add(variable, random(variable.shape, 7 + i, 0.2)));
  tf.tidy(() => variables.forEach(stir));
  const merged = mergeLoRA(adapted);
  const found = tf.tidy(() => {
    const run = (each: tf.LayersModel, training: boolean) => each.apply(words, {training}) as tf.Tensor;
    const weights = random([2, 2, 3, 33], 99);
    const {grads} = tf.variableGrads(() => tf.sum<tf.Scalar>(tf.mul(run(adapted, true), weights)), variables);
    return [run(adapted, false), ...variables.map(({name}) => grads[name]!), run(merged, false)];
  });
  [model, blocks, floats, adapted, merged].forEach(each => each && disposeModel(each));
  words.dispose();
  return read(found);
}

/** How quantised bases are adapted. */
export const CONFIGS: readonly [string, LoRAConfig][] = [
  ['lora', {rank: 3}],
  ['ia3', {method: 'ia3', exclude: ['table']}],
];

/** What quantised bases have to do on every backend. */
export const quantizedCases: readonly Case[] = ([8, 4] as const).flatMap(bits =>
  CONFIGS.flatMap(([name, config]) =>
    [true, false].map((own): Case => ({
      behaviour: `a base of ${bits} bits has the values and gradients of its numbers on cpu, by ${name}`,
      kind: own ? 'a quantised model' : 'a quantised model without code of ours',
      tolerance: 2e-4,
      halfTolerance: 5e-2,
      run: async () => {
        const compute = () => outcome(bits, config, false);
        const here = await (own ? compute() : withoutOwnCode(compute));
        return relativeDifference(here, await elsewhere('cpu', () => outcome(bits, config, true)));
      },
    })),
  ),
);
