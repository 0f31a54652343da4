import * as tf from '@tensorflow/tfjs';
import type {Adapter, LayerConfig} from '../../../src/index';
import {makeAdapter} from '../../../src/core/adapter/adapter';
import {numbers} from '../../helpers';

/** A layer of an adapter that is written out: its factors as rows of numbers. */
export interface WrittenLayer extends Partial<LayerConfig> {
  a: number[][];
  b: number[][];
}

/** An adapter of `Dense` layers, from numbers. */
export function written(layers: Record<string, WrittenLayer>): Adapter {
  const entries = Object.entries(layers);
  const configs = entries.map(([path, {a: _, b, ...config}]) => {
    const rank = b.length;
    const defaults = {className: 'Dense', rank, alpha: rank, rankStabilized: false, freezeBaseLayer: true};
    return [path, {...defaults, ...config}] as const;
  });
  const tensors = entries.flatMap(([path, {a, b}]) => [
    [`${path}/lora_A`, tf.tensor2d(a)] as const,
    [`${path}/lora_B`, tf.tensor2d(b)] as const,
  ]);
  return makeAdapter({layers: Object.fromEntries(configs), trainable: []}, Object.fromEntries(tensors));
}

/** `a·b`, in plain loops. */
export function product(a: number[][], b: number[][]): number[][] {
  return a.map(row => b[0]!.map((_, j) => row.reduce((sum, x, k) => sum + x * b[k]![j]!, 0)));
}

/** A matrix times a number. */
export function times(matrix: number[][], k: number): number[][] {
  return matrix.map(row => row.map(value => value * k));
}

/** The sum of matrices. */
export function plus(...matrices: number[][][]): number[][] {
  return matrices.reduce((sum, matrix) => sum.map((row, i) => row.map((value, j) => value + matrix[i]![j]!)));
}

/** The update of a layer of an adapter, `s·A·B`, in plain loops. */
export function updateOf({config, tensors}: Adapter, path: string, prefix = ''): number[][] {
  const {rank, alpha, rankStabilized} = config.layers[path]!;
  const [a, b] = ['A', 'B'].map(which => {
    const tensor = tensors[`${path}/${prefix}lora_${which}`]!;
    const values = numbers(tensor);
    const columns = which === 'A' ? tensor.shape.at(-1)! : values.length / tensor.shape[0];
    return Array.from({length: values.length / columns}, (_, i) => values.slice(i * columns, (i + 1) * columns));
  }) as [number[][], number[][]];
  return times(product(a, b), alpha / (rankStabilized ? Math.sqrt(rank) : rank));
}
