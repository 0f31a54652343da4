import * as tf from '@tensorflow/tfjs';
import type {OwnKernel} from '../../../backends/shared/registration';

// tfjs has no gradient of Einsum, and its kernels multiply all operands before they sum.

/** `ab,bc->ac`, parsed. */
interface Equation {
  operands: string[];
  result: string;
}

function parseEquation(text: string): Equation {
  const [left = '', result = ''] = text.replace(/\s/g, '').split('->');
  return {operands: left.split(','), result};
}

/** Einsum as matrix products. A letter may occur only once in an operand. */
export function einsumByProducts(equation: string, tensors: readonly tf.Tensor[]): tf.Tensor {
  const {operands, result} = parseEquation(equation);
  const [start = '', ...laterOperands] = operands;
  let letters = start;
  const [first, ...laterTensors] = tensors as [tf.Tensor, ...tf.Tensor[]];
  let product = first;
  laterTensors.forEach((tensor, i) => {
    const next = laterOperands[i] ?? '';
    const needed = result + laterOperands.slice(i + 1).join('');
    const resultLetters = [...new Set(letters + next)].filter(letter => needed.includes(letter));
    product = pairProduct([product, letters], [tensor, next], resultLetters);
    letters = resultLetters.join('');
  });
  const summed = sumOut(product, letters, result);
  return reordered(summed, only(letters, result), result);
}

type Labelled = readonly [tensor: tf.Tensor, letters: string];

/** The product of two operands. `resultLetters` are the letters of the result, in order. */
function pairProduct(a: Labelled, b: Labelled, resultLetters: readonly string[]): tf.Tensor {
  const wanted = resultLetters.join('');
  // First sums axes that only one operand has and the result does not.
  const left = [sumOut(a[0], a[1], b[1] + wanted), only(a[1], b[1] + wanted)] as const;
  const right = [sumOut(b[0], b[1], a[1] + wanted), only(b[1], a[1] + wanted)] as const;
  const shared = Array.from(left[1]).filter(letter => right[1].includes(letter));
  const batch = shared.filter(letter => resultLetters.includes(letter)).join('');
  const inner = shared.filter(letter => !resultLetters.includes(letter)).join('');
  const rows = only(left[1], resultLetters.filter(letter => !shared.includes(letter)).join(''));
  const columns = only(right[1], resultLetters.filter(letter => !shared.includes(letter)).join(''));
  const sizes = new Map<string, number>();
  [left, right].forEach(([tensor, letters]) =>
    Array.from(letters).forEach((letter, i) => sizes.set(letter, tensor.shape[i] ?? 1)),
  );
  const size = (letters: string) => Array.from(letters).reduce((total, letter) => total * (sizes.get(letter) ?? 1), 1);
  const matrices = ([tensor, letters]: Labelled, order: string, shape: number[]) =>
    tf.reshape(reordered(tensor, letters, order), shape);
  const product = tf.matMul(
    matrices(left, batch + rows + inner, [size(batch), size(rows), size(inner)]),
    matrices(right, batch + inner + columns, [size(batch), size(inner), size(columns)]),
  );
  const order = batch + rows + columns;
  const shaped = tf.reshape(
    product,
    Array.from(order).map(letter => sizes.get(letter) ?? 1),
  );
  return reordered(shaped, order, wanted);
}

/** Sums over the axes whose letters are not wanted. */
function sumOut(tensor: tf.Tensor, letters: string, wanted: string): tf.Tensor {
  const axes = Array.from(letters).flatMap((letter, i) => (wanted.includes(letter) ? [] : [i]));
  return axes.length === 0 ? tensor : tf.sum(tensor, axes);
}

function only(letters: string, wanted: string): string {
  return Array.from(letters)
    .filter(letter => wanted.includes(letter))
    .join('');
}

function reordered(tensor: tf.Tensor, letters: string, order: string): tf.Tensor {
  return letters === order
    ? tensor
    : tf.transpose(
        tensor,
        Array.from(order).map(letter => letters.indexOf(letter)),
      );
}

/**
 * The kernel by matrix products. wasm has none; those of cpu, webgl and webgpu multiply elementwise before they sum,
 * which takes memory for all axes together: in an attention 64 times that of the scores.
 */
export function einsumKernel(backendName: string): OwnKernel {
  return {name: tf.Einsum, configure: stock => ({...stock, kernelName: tf.Einsum, backendName, kernelFunc: einsum})};
}

function einsum({inputs, attrs}: Parameters<tf.KernelFunc>[0]): tf.TensorInfo {
  const {equation} = attrs as unknown as {equation: string};
  return tf.tidy(() => {
    const operands = Object.values(inputs) as tf.Tensor[];
    // tfjs multiplies and sums truth values as integers.
    const numbers = operands.map(operand => (operand.dtype === 'bool' ? tf.cast(operand, 'int32') : operand));
    const result = einsumByProducts(equation, numbers);
    return result === numbers[0] ? tf.clone(result) : result;
  });
}

/** The gradient in each operand: the Einsum of the result's gradient with the others. */
export const einsumGradient: tf.GradConfig = {
  kernelName: tf.Einsum,
  saveAllInputs: true,
  gradFunc: (dy, saved, attrs) => {
    const {equation} = attrs as unknown as {equation: string};
    const {operands, result} = parseEquation(equation);
    const gradientIn = (index: number) =>
      tf.tidy(() => {
        const letters = operands[index] ?? '';
        const {shape} = saved[index] as tf.Tensor;
        const otherOperands = operands.filter((_, i) => i !== index);
        const factors = [dy as tf.Tensor, ...saved.filter((_, i) => i !== index)];
        const reached = only(letters, [result, ...otherOperands].join(''));
        const summedGradient = tf.einsum(`${[result, ...otherOperands].join(',')}->${reached}`, ...factors);
        // The gradient is constant along a summed axis that only this operand has.
        const open = Array.from(letters).map((letter, i) => (reached.includes(letter) ? (shape[i] ?? 1) : 1));
        return tf.broadcastTo(tf.reshape(summedGradient, open), shape);
      });
    return Object.fromEntries(saved.map((_, i) => [i, () => gradientIn(i)]));
  },
};
