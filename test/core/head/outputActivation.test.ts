import * as tf from '@tensorflow/tfjs';
import {outputActivation} from '../../../src/core/head/outputActivation';
import {applyLoRA} from '../../../src';

const {layers} = tf;
const dense = (activation: 'softmax' | 'sigmoid' | 'linear', name = 'd') => layers.dense({units: 4, activation, name});
const conv = () => layers.conv1d({filters: 4, kernelSize: 1, activation: 'elu', name: 'c'});
const input = () => tf.input({shape: [4]});
const through = (x: tf.SymbolicTensor, ...list: tf.layers.Layer[]) =>
  list.reduce((y, layer) => layer.apply(y) as tf.SymbolicTensor, x);
const steps = () => tf.input({shape: [3, 4]});
const joined = (merging: tf.layers.Layer, ...ends: ('softmax' | 'sigmoid' | 'linear')[]) => {
  const x = input();
  return merging.apply(ends.map((end, i) => through(x, dense(end, `d${i}`)))) as tf.SymbolicTensor;
};
/** The second output of a model inside of another. */
const inner = () => {
  const x = input();
  const body = tf.model({inputs: x, outputs: [through(x, dense('linear')), through(x, dense('sigmoid', 'second'))]});
  return (body.apply(input()) as tf.SymbolicTensor[])[1]!;
};
const adapted = (layer: tf.layers.Layer) => {
  const x = input();
  return applyLoRA(tf.model({inputs: x, outputs: through(x, layer)})).outputs[0]!;
};

test.each<[string, () => tf.SymbolicTensor, layer?: string, activation?: string]>([
  ['a linear layer', () => through(input(), dense('linear'))],
  ['a softmax', () => through(input(), dense('softmax')), 'd', 'softmax'],
  ['a log-softmax', () => through(input(), layers.activation({activation: 'logSoftmax' as never}))],
  ['a layer that is an activation', () => through(input(), layers.leakyReLU({name: 'r'})), 'r', 'LeakyReLU'],
  ['an adapted layer', () => adapted(dense('sigmoid')), 'd', 'sigmoid'],
  ['a layer over time', () => through(steps(), layers.timeDistributed({layer: dense('softmax')})), 'd', 'softmax'],
  ['a convolution, in another order', () => through(steps(), conv(), layers.permute({dims: [2, 1]})), 'c', 'elu'],
  ['a recurrent layer', () => through(steps(), layers.lstm({units: 2, name: 'l'})), 'l', 'tanh'],
  ['both directions', () => through(steps(), layers.bidirectional({layer: layers.lstm({units: 2}), name: 'b', mergeMode: 'sum'})), 'b', 'tanh'], // prettier-ignore
  ['an output of a nested model', inner, 'second', 'sigmoid'],
  ['a linear activation after another', () => through(input(), dense('softmax'), layers.activation({activation: 'linear'})), 'd', 'softmax'], // prettier-ignore
  ['a dense layer after another', () => through(input(), dense('softmax'), dense('linear', 'e'))],
  ['activations that are joined', () => joined(layers.concatenate(), 'softmax', 'sigmoid'), 'd0', 'softmax'],
  ['an activation joined with a linear layer', () => joined(layers.concatenate(), 'softmax', 'linear')],
  ['the sum of activations', () => joined(layers.add(), 'softmax', 'softmax')],
])('the activation at the end of %s', (_, output, ...[layer, activation]) => {
  expect(outputActivation(output())).toEqual(layer && {layer, activation});
});
