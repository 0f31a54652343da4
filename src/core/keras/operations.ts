import type * as tf from '@tensorflow/tfjs';
import type {LayerEntry} from '../../platform/tfjs/configs';
import type {KerasEntry} from './json';
import {OWN_CLASSES} from './kerasLayer';
import type {Reading} from './layerConfigs';
import {isTensor, type KerasCall, type KerasTensor} from './nodes';

/** Keys of an operation: Keras 2 writes it as a layer. */
const KEYS = ['name', 'trainable', 'dtype', 'function'];

/** Whether an entry is an operation of a graph, such as `x + y`. In Keras 3 these lack fields that layers have. */
export function isOperation({className, config}: KerasEntry, {isKeras3}: Reading): boolean {
  const isLayer = ['trainable', 'dtype', 'layers'].some(key => config[key] != null);
  return className === 'TFOpLambda' || (isKeras3 && !isLayer);
}

/** The layer that computes an operation, and its inputs; `undefined` if there is none. */
export function readOperation(
  {className, config}: KerasEntry,
  {args, kwargs}: KerasCall,
): {entry: LayerEntry; tensors: KerasTensor[]} | undefined {
  const {function: called = className} = config;
  const operation = typeof called === 'string' ? called.toLowerCase().replace(/^.*\./, '') : '';
  const operands = [...args, ...Object.values(kwargs).filter(value => value != null)];
  const tensors = operands.filter(isTensor);
  if (operation === 'negative') {
    operands.push(-1);
  }
  if (operation === 'converttotensor' && tensors.length === 1) {
    return {entry: {className: 'Activation', config: {activation: 'linear'}}, tensors};
  }
  if (operation === 'any' && tensors.length === 1) {
    const {axis, keepdims} = config;
    const settings = {computes: 'max', axes: [axis].flat(), keepdims: keepdims === true};
    return axis == null
      ? undefined
      : {entry: {className: OWN_CLASSES.kerasLayer, config: settings as tf.serialization.ConfigDict}, tensors};
  }
  if (operands.length !== 2 || Object.keys(config).some(key => !KEYS.includes(key))) {
    return undefined;
  }
  const [number] = operands.filter(operand => typeof operand === 'number');
  if (number === undefined || tensors.length !== 1) {
    const between = tensors.length === 2 ? classBetween(operation) : undefined;
    return between === undefined ? undefined : {entry: {className: between, config: {}}, tensors};
  }
  if (['notequal', 'not_equal'].includes(operation)) {
    return {entry: {className: OWN_CLASSES.kerasLayer, config: {computes: 'notequal', value: number}}, tensors};
  }
  const [scale, offset] = affine(operation, number, operands[0] === number) ?? [];
  return scale === undefined || offset === undefined
    ? undefined
    : {entry: {className: 'Rescaling', config: {scale, offset}}, tensors};
}

/** The layer for an operation between two tensors. */
function classBetween(operation: string): string | undefined {
  const {subtract} = OWN_CLASSES;
  const sums = {add: 'Add', sub: subtract, subtract, mul: 'Multiply', multiply: 'Multiply'};
  const choices = {logicalor: 'Maximum', maximum: 'Maximum', logicaland: 'Minimum', minimum: 'Minimum'};
  return new Map(Object.entries({...sums, ...choices})).get(operation);
}

/** The scale and the offset that a number gives a tensor, as the second or the first operand. */
function affine(operation: string, number: number, isFirst: boolean): readonly [number, number] | undefined {
  const difference = isFirst ? ([-1, number] as const) : ([1, -number] as const);
  const product = [number, 0] as const;
  const quotient = isFirst ? undefined : ([1 / number, 0] as const);
  return new Map(
    Object.entries({
      ...{add: [1, number] as const, sub: difference, subtract: difference},
      ...{mul: product, multiply: product, negative: product},
      ...{divide: quotient, truediv: quotient, truedivide: quotient},
    }),
  ).get(operation);
}
