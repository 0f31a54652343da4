import type * as tf from '@tensorflow/tfjs';
import {type GraphNode, inputsOf} from '../graphDef';
import {broadcastSize, sizeOf} from './bounds';
import {CREATION} from './creation';
import {broadcast, ELEMENTWISE, selected} from './elementwise';
import {IMAGES} from './images';
import {MATRICES} from './matrices';
import {BATCH} from './openSizes';
import type {Operation, SizedInput} from './operation';
import type {Planner} from './planner';
import {REDUCTIONS} from './reductions';
import {mixed, shapeOf} from './rowRules';
import {SHAPING} from './shaping';
import type {Value} from './values';

/** A row for each operation that the import knows. */
export const OPERATIONS: Readonly<Record<string, Operation>> = {
  ...ELEMENTWISE,
  ...REDUCTIONS,
  ...MATRICES,
  ...IMAGES,
  ...SHAPING,
  ...CREATION,
};

/** An operation that an application registered with tfjs. */
const CUSTOM: Operation = {size: broadcastSize, rows: mixed};

export function operationOf({op}: GraphNode): Operation {
  return Object.hasOwn(OPERATIONS, op) ? (OPERATIONS[op] as Operation) : CUSTOM;
}

/**
 * The maximum size of a node's result. It bounds what a small file can make us compute. `undefined` if the size depends
 * on unknown values.
 */
export function largestOutput(node: GraphNode, inputs: readonly SizedInput[]): number | undefined {
  const largest = operationOf(node).size(inputs, node);
  return Number.isNaN(largest) ? undefined : Math.max(0, largest);
}

/**
 * About how long computing a node takes, in values that are read or written. It bounds how long a small file can keep
 * us busy.
 */
export function stepsOf(node: GraphNode, inputs: readonly SizedInput[]): number {
  const read = inputs.reduce((sum, input) => sum + sizeOf(input), 0);
  const size = largestOutput(node, inputs) ?? 0;
  return read + size + (operationOf(node).work?.(inputs, node, size) ?? 0);
}

/**
 * Whether a node computes each row of its outputs from the same row of its inputs, for any batch size (the first axis
 * of both). The rule of its operation proves it from its attributes.
 */
export function keepsRows(planner: Planner, node: GraphNode): boolean {
  const names = inputsOf(node);
  const values = names.map(name => planner.valueOf(name) as Value);
  const isFreed = (value: Value) => value.kind === 'shaped' && planner.open.isFreed(value.sizes);
  return (
    values.some(({kind}) => kind === 'flow') &&
    values.every(value => (value.kind === 'flow' ? value.sizes[0] === BATCH : !isFreed(value))) &&
    operationOf(node).rows({
      node,
      values,
      ranks: values.map(value => shapeOf(value).length),
      numbers: index => planner.numbers(names[index]),
    })
  );
}

/** An input of which the type is known too. */
type TypedInput = SizedInput & {dtype: tf.DataType};

/**
 * The shape of a result of floats, from floats, conditions, and integers that are known: images and attention may be so
 * large that a trial run takes seconds. `undefined` if only a run tells it.
 */
export function shapeByRule(node: GraphNode, inputs: readonly TypedInput[]): number[] | undefined {
  const {shape} = operationOf(node);
  const isData = ({dtype, values}: TypedInput, i: number) =>
    dtype === 'float32' ||
    (i > 0 && values !== undefined && shape !== broadcast && shape !== selected) ||
    (i === 0 && dtype === 'bool' && shape === selected);
  const values = (index: number) => {
    const list = inputs[index]?.values;
    return list && Array.from(list);
  };
  return inputs.every(isData)
    ? shape?.(
        inputs.map(input => input.shape),
        values,
        node,
      )
    : undefined;
}
