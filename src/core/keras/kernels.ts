import * as tf from '@tensorflow/tfjs';
import {withZerosBetween} from '../../backends/shared/geometry';
import {channelsLast} from '../layers/convolutions';
import {along, type KerasLayerArgs, type Operation} from './layerOperation';

/**
 * A convolution in one to three axes whose channels are in groups, or one of images that is transposed, as
 * `outputPadding` says. A kernel of groups is `[...kernelSize, channels / groups, filters]`, a transposed one
 * `[...kernelSize, filters, channels]`.
 */
export const CONVOLUTION: Operation = {
  weights(input, {filters = 1, kernelSize = [], groups = 1, useBias, outputPadding, dataFormat}) {
    const channels = (dataFormat === 'channelsFirst' ? input[1] : input.at(-1)) ?? 0;
    const ends = outputPadding === undefined ? [channels / groups, filters] : [filters, channels];
    return [
      {name: 'kernel', shape: [...kernelSize, ...ends]},
      ...(useBias === false ? [] : [{name: 'bias', shape: [filters]}]),
    ];
  },
  shape(input, args) {
    const {filters = 1, outputPadding, dataFormat} = args;
    const isFirst = dataFormat === 'channelsFirst';
    const space = isFirst ? input.slice(2) : input.slice(1, -1);
    const size = outputPadding === undefined ? lengthAfter : lengthBefore;
    const sizes = space.map((length, axis) => length && size(length, axis, args));
    return isFirst ? [input[0] ?? null, filters, ...sizes] : [input[0] ?? null, ...sizes, filters];
  },
  compute(x, args, {weights: {kernel, bias}}) {
    const {groups = 1, outputPadding, dataFormat = 'channelsLast'} = args;
    const {last, restore} = channelsLast(x, {dataFormat});
    const y =
      outputPadding === undefined
        ? tf.concat(
            tf
              .split(last, groups, -1)
              .map((group, i) => convolved(group, tf.split(kernel as tf.Tensor, groups, -1)[i] as tf.Tensor, args)),
            -1,
          )
        : transposed(last as tf.Tensor4D, kernel as tf.Tensor, args);
    return restore(bias === undefined ? y : tf.add(y, along(bias, [-1], y)));
  },
};

function reach(axis: number, {kernelSize = [], dilationRate = []}: KerasLayerArgs): number {
  return ((kernelSize[axis] ?? 1) - 1) * (dilationRate[axis] ?? 1) + 1;
}

function lengthAfter(length: number, axis: number, args: KerasLayerArgs): number {
  const {strides = [], padding} = args;
  return Math.ceil((length - (padding === 'same' ? 0 : reach(axis, args) - 1)) / (strides[axis] ?? 1));
}

/** The length of an axis after a transposed convolution: `null` pads as Keras does by default. */
function lengthBefore(length: number, axis: number, args: KerasLayerArgs): number {
  const {strides = [], padding, outputPadding = []} = args;
  const [stride, more] = [strides[axis] ?? 1, outputPadding[axis]];
  const size = reach(axis, args);
  if (more == null) {
    return length * stride + (padding === 'same' ? 0 : Math.max(size - stride, 0));
  }
  return (length - 1) * stride + size + more - (padding === 'same' ? 2 * Math.floor(size / 2) : 0);
}

/** A kernel with zeros between its entries: tfjs has no gradient of a dilated convolution. */
function spread(kernel: tf.Tensor, {dilationRate = []}: KerasLayerArgs): tf.Tensor {
  return dilationRate.reduce((spreadOut, rate, axis) => withZerosBetween(spreadOut, axis, rate), kernel);
}

function convolved(x: tf.Tensor, kernel: tf.Tensor, args: KerasLayerArgs): tf.Tensor {
  const {strides = [], padding = 'valid'} = args;
  const filters = spread(kernel, args);
  if (x.rank === 5) {
    return tf.conv3d(x as tf.Tensor5D, filters as tf.Tensor5D, strides as [number, number, number], padding);
  }
  if (x.rank === 4) {
    return tf.conv2d(x as tf.Tensor4D, filters as tf.Tensor4D, strides as [number, number], padding);
  }
  const [rows, ofRows] = [tf.expandDims(x, 1), tf.expandDims(filters, 0)] as [tf.Tensor4D, tf.Tensor4D];
  return tf.squeeze(tf.conv2d(rows, ofRows, [1, strides[0] ?? 1], padding), [1]);
}

function transposed(x: tf.Tensor4D, kernel: tf.Tensor, args: KerasLayerArgs): tf.Tensor {
  const {filters = 1, strides = [], padding = 'valid'} = args;
  const [n, height, width] = x.shape;
  const shape = [n, lengthBefore(height, 0, args), lengthBefore(width, 1, args), filters] as tf.Tensor4D['shape'];
  return tf.conv2dTranspose(x, spread(kernel, args) as tf.Tensor4D, shape, strides as [number, number], padding);
}

/** An einsum's letters for its input, kernel and output, with others for the axes that `...` stands for. */
function lettersOf({equation = ''}: KerasLayerArgs, rank: number): [string, string, string] {
  const [, x = '', w = '', y = ''] = /^(.*),(.*)->(.*)$/.exec(equation) ?? [];
  const hidden = Array.from({length: rank - x.replace('...', '').length}, (_, i) => String(i)).join('');
  return [x.replace('...', hidden), w, y.replace('...', hidden)];
}

/** The output's sizes: those of the input, or those that the layer names after the batch. */
function einsumShape(input: tf.Shape, args: KerasLayerArgs): tf.Shape {
  const [x, , y] = lettersOf(args, input.length);
  const {outputShape = []} = args;
  const named = y.replace(/^\d+(?=\D)|\d+$/g, '');
  const sizes = [...(named.length > outputShape.length ? [null] : []), ...outputShape];
  return y
    .split('')
    .map(letter => (x.includes(letter) ? input[x.indexOf(letter)] : sizes[named.indexOf(letter)]) ?? null);
}

/** `EinsumDense`: `y = einsum(equation, x, kernel) + bias`. */
export const EINSUM: Operation = {
  weights(input, args) {
    const [x, w, y] = lettersOf(args, input.length);
    const output = einsumShape(input, args);
    const sizeOf = (letter: string) =>
      (x.includes(letter) ? input[x.indexOf(letter)] : output[y.indexOf(letter)]) ?? null;
    const {biasAxes} = args;
    const first = Math.min(...(biasAxes ?? '').split('').map(letter => y.indexOf(letter)));
    const kernel = {name: 'kernel', shape: w.split('').map(sizeOf)};
    const shape = y
      .slice(first)
      .split('')
      .map(letter => (biasAxes?.includes(letter) === true ? sizeOf(letter) : 1));
    return biasAxes == null ? [kernel] : [kernel, {name: 'bias', shape}];
  },
  shape: einsumShape,
  compute(input, args, {weights: {kernel, bias}}) {
    const [x, w, y] = lettersOf(args, input.rank);
    // One product of matrices for each entry of the axes that all three have.
    const isIn = (letters: string) => (letter: string) => letters.includes(letter);
    const shared = x.split('').filter(letter => isIn(w)(letter) && isIn(y)(letter));
    const summed = x.split('').filter(letter => isIn(w)(letter) && !isIn(y)(letter));
    const rows = x.split('').filter(letter => !isIn(w)(letter));
    const columns = w.split('').filter(letter => !isIn(x)(letter));
    const matrices = (tensor: tf.Tensor, letters: string, ...groups: string[][]) => {
      const ordered = tf.transpose(
        tensor,
        [...shared, ...groups.flat()].map(letter => letters.indexOf(letter)),
      );
      const ends = [shared, ...groups].map(group =>
        group.reduce((size, letter) => size * (tensor.shape[letters.indexOf(letter)] ?? 1), 1),
      );
      return tf.reshape(ordered, ends);
    };
    const product = tf.matMul(matrices(input, x, rows, summed), matrices(kernel as tf.Tensor, w, summed, columns));
    const order = [...shared, ...rows, ...columns];
    const sizes = order.map(letter =>
      x.includes(letter)
        ? (input.shape[x.indexOf(letter)] ?? 1)
        : ((kernel as tf.Tensor).shape[w.indexOf(letter)] ?? 1),
    );
    const result = tf.transpose(
      tf.reshape(product, sizes),
      y.split('').map(letter => order.indexOf(letter)),
    );
    return bias === undefined ? result : tf.add(result, bias);
  },
};
