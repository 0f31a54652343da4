import * as tf from '@tensorflow/tfjs';
import {floats, ints, onnxFile, value} from '../../extensions/onnx/files';

export const images = tf.randomNormal([4, 3, 48, 192]);
export const labels = tf.tensor2d([[1, 0], [0, 1], [1, 0], [0, 1]]); // prettier-ignore
export const convolutions = ['second'];

const kernel = (name: string, shape: number[]) =>
  floats(
    name,
    shape,
    Array.from({length: shape.reduce((size, each) => size * each)}, (_, i) => Math.sin(i)),
  );

/** A tiny classifier in place of the real one. */
export const file = onnxFile({
  nodes: [
    {op: 'Conv', inputs: ['x', 'a'], outputs: ['one'], name: 'first', attributes: [ints('strides', [4, 4])]},
    {op: 'Relu', inputs: ['one'], outputs: ['relu']},
    {op: 'Conv', inputs: ['relu', 'b'], outputs: ['two'], name: 'second'},
    {op: 'GlobalAveragePool', inputs: ['two'], outputs: ['pooled']},
    {op: 'Flatten', inputs: ['pooled'], outputs: ['flat']},
    {op: 'MatMul', inputs: ['flat', 'c'], outputs: ['logits'], name: 'p2o.MatMul.0'},
    {op: 'Softmax', inputs: ['logits'], outputs: ['y']},
  ],
  initializers: [kernel('a', [4, 3, 1, 1]), kernel('b', [4, 4, 1, 1]), kernel('c', [4, 2])],
  inputs: [value('x', [null, 3, null, null])],
  outputs: [value('y', [null, 2])],
});
