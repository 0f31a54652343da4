import * as tf from '@tensorflow/tfjs';
import {EinsumDense, KerasConvolution, KerasLayer} from '../../../src/core/keras/kerasLayer';
import type {KerasLayerArgs} from '../../../src/core/keras/layerOperation';
import {random} from '../../helpers';
import {stir} from '../../models';

const IMAGE = [1, 3, 4, 2];
const STEPS = [2, 4, 2];

/** What layers of Keras compute, with the shapes of the inputs. */
export const OPERATIONS: readonly [string, KerasLayerArgs, number[], ...number[][]][] = [
  ['relu', {computes: 'relu', maxValue: 1, negativeSlope: 0.2, threshold: 0.3}, IMAGE],
  ['elu', {computes: 'elu', scale: 0.5}, IMAGE],
  ['rescaling', {computes: 'rescaling', scale: [2, 3], offset: 1}, IMAGE],
  ['average', {computes: 'average', axes: [1, 2], keepdims: true}, IMAGE],
  ['max', {computes: 'max', axes: [1, 2], keepdims: true}, IMAGE],
  ['softmax', {computes: 'softmax', axes: [1, 2]}, IMAGE],
  ['normalization', {computes: 'normalization', axes: [-1], mean: [1, 2], variance: [4, 9]}, IMAGE],
  ['groups', {computes: 'group', axes: [-1], groups: 1, has: ['gamma', 'beta']}, IMAGE],
  ['groups of the second axis', {computes: 'group', axes: [2], groups: 2, has: ['gamma']}, IMAGE],
  ['root mean squares', {computes: 'rms', axes: [-1]}, IMAGE],
  ['unit length', {computes: 'unit', axes: [1, 2]}, IMAGE],
  ['layer scale', {computes: 'layerscale'}, IMAGE],
  ['layer scale of volumes', {computes: 'layerscale'}, [1, 2, 3, 2, 2]],
  ['rescaling of volumes', {computes: 'rescaling', scale: [2, 3], offset: [1, -1]}, [1, 2, 3, 2, 2]],
  [
    'zeros around',
    {
      computes: 'margins',
      margins: [
        [0, 0],
        [2, 1],
        [0, 3],
        [0, 0],
      ],
    },
    IMAGE,
  ],
  [
    'cropping',
    {
      computes: 'margins',
      margins: [
        [0, 0],
        [-1, -1],
        [0, -2],
        [0, 0],
      ],
    },
    IMAGE,
  ],
  ['repeated', {computes: 'repeat', axes: [1, 2], strides: [2, 3]}, IMAGE],
  ['transposed', {computes: 'transpose', order: [0, 2, 1]}, STEPS],
  ['bilinear', {computes: 'resizing', sizes: [5, 2], interpolation: 'bilinear'}, IMAGE],
  ['nearest', {computes: 'resizing', sizes: [5, 2], interpolation: 'nearest'}, IMAGE],
  [
    'twice as large',
    {computes: 'resizing', factors: [2, 2], interpolation: 'bilinear', dataFormat: 'channelsFirst'},
    IMAGE,
  ],
  ['cropped', {computes: 'centerCrop', sizes: [2, 1]}, IMAGE],
  ['cropped to the proportions', {computes: 'resizing', sizes: [2, 2], interpolation: 'bilinear', crops: true}, IMAGE],
  ['convolution of groups', {...convolution(2), groups: 2, activation: 'tanh'}, IMAGE],
  ['dilated convolution of groups', {...convolution(2), groups: 2, dilationRate: [1, 2], padding: 'same'}, IMAGE],
  ['convolution of groups of steps', {...convolution(1), groups: 2, dilationRate: [2]}, STEPS],
  ['convolution of groups in three axes', {...convolution(3), groups: 2, dilationRate: [1, 2, 1]}, [1, 2, 3, 2, 2]],
  [
    'dilated transposed convolution',
    {...convolution(2), outputPadding: [null, null] as unknown as number[], dilationRate: [2, 2]},
    IMAGE,
  ],
  [
    'transposed convolution that is padded at its end',
    {...convolution(2), outputPadding: [1, 0], strides: [2, 1], dataFormat: 'channelsFirst'},
    IMAGE,
  ],
  ['einsum', {computes: 'einsum', equation: 'abc,cde->abde', outputShape: [4, 2, 3], biasAxes: 'de'}, STEPS],
  ['einsum of each step', {computes: 'einsum', equation: '...bc,bdc->...db', outputShape: [3, 4]}, STEPS],
  ['attention', attention({has: ['scale'], roles: ['query', 'value', 'key']}), STEPS, STEPS, STEPS],
  ['attention with masks', attention({roles: ['query', 'value', 'rows', 'columns']}), STEPS, STEPS, [2, 4], [2, 4]],
  ['additive attention', attention({score: 'additive', has: ['scale'], roles: ['query', 'value']}), STEPS, STEPS],
  ['attention by sums', attention({score: 'concat', has: ['scale'], roles: ['query', 'value']}), STEPS, STEPS],
  [
    'attention with heads',
    attention({heads: 2, causal: true, roles: ['query', 'key', 'value', 'pairs']}),
    ...([STEPS, STEPS, [2, 4, 4], [2, 4, 4]] as [number[], ...number[][]]),
  ],
];

function convolution(rank: number): KerasLayerArgs {
  const ones = Array<number>(rank).fill(1);
  const kernelSize = ones.map(() => 2);
  return {computes: 'convolution', filters: 2, kernelSize, strides: ones, dilationRate: ones, padding: 'valid'};
}

function attention(args: Partial<KerasLayerArgs>): KerasLayerArgs {
  return {computes: 'attention', ...args};
}

/** A built layer with random weights, and its inputs. */
export function made(args: KerasLayerArgs, shapes: readonly number[][]): {layer: KerasLayer; inputs: tf.Tensor[]} {
  const own = {convolution: KerasConvolution, einsum: EinsumDense}[args.computes] ?? KerasLayer;
  const layer = new own({...args, name: 'it'});
  const symbolic = shapes.map(shape => tf.input({shape: shape.slice(1)}));
  layer.apply(symbolic.length === 1 ? symbolic[0]! : symbolic);
  // By this seed, no weight is so near to zero that 16-bit floats hold nothing of a gradient.
  stir(layer, 3);
  const isMask = (i: number) => /^(rows|columns|pairs)$/.test(args.roles?.[i] ?? '');
  // A tenth apart from each other, and further than steps of 0.01 from where anything has a kink. No query is masked.
  const inputs = shapes.map((shape, i) => {
    const size = tf.util.sizeFromShape(shape);
    return tf.tensor(
      Array.from({length: size}, (_, j) => (isMask(i) ? Number(j % 4 !== 3 - (i % 2)) : ((j * 7) % size) / 10 - 1.15)),
      shape,
    );
  });
  return {layer, inputs};
}

/** A sum of what a layer gives, each number times one that is drawn. */
export function sumOf(layer: KerasLayer, inputs: tf.Tensor[]): tf.Scalar {
  const y = layer.apply(inputs.length === 1 ? inputs[0]! : inputs) as tf.Tensor;
  return tf.sum(tf.mul(y, random(y.shape, 2)));
}
