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
  switch (operation) {
    case 'add':
      return 'Add';
    case 'sub':
    case 'subtract':
      return OWN_CLASSES.subtract;
    case 'mul':
    case 'multiply':
      return 'Multiply';
    case 'logicalor':
    case 'maximum':
      return 'Maximum';
    case 'logicaland':
    case 'minimum':
      return 'Minimum';
    default:
      return undefined;
  }
}

/** The scale and the offset that a number gives a tensor, as the second or the first operand. */
function affine(operation: string, number: number, isFirst: boolean): [number, number] | undefined {
  switch (operation) {
    case 'add':
      return [1, number];
    case 'sub':
    case 'subtract':
      return isFirst ? [-1, number] : [1, -number];
    case 'mul':
    case 'multiply':
    case 'negative':
      return [number, 0];
    case 'divide':
    case 'truediv':
    case 'truedivide':
      return isFirst ? undefined : [1 / number, 0];
    default:
      return undefined;
  }
}
