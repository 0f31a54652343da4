import {brief} from '../../platform/errors';
import {isJson} from './json';

/** An output of a layer: the layer's name, the index of its call, and the index of the output. */
export interface KerasTensor {
  layer: string;
  node: number;
  index: number;
  /** Its shape, if the file says it. */
  shape?: readonly unknown[] | undefined;
  /** Whether it is what the layer itself returns, not what other layers make of that. */
  isInner?: boolean;
}

export function innerTensor(layer: string, node: number): KerasTensor {
  return {layer, node, index: 0, isInner: true};
}

export interface KerasCall {
  args: unknown[];
  kwargs: Record<string, unknown>;
}

/** A call of a layer in a file. Tensors in it are `KerasTensor`s. */
export function readCall(node: unknown): KerasCall | undefined {
  if (isJson(node)) {
    const {args, kwargs} = node;
    return Array.isArray(args) && isJson(kwargs)
      ? {args: args.map(modernTensors), kwargs: modernTensors(kwargs) as Record<string, unknown>}
      : undefined;
  }
  if (!Array.isArray(node)) {
    return undefined;
  }
  // Operations of Keras 2 have one entry without a list around it.
  const parts = (typeof node[0] === 'string' ? [node] : node) as unknown[];
  const [first, ...more] = parts.map(argument => historyOf(argument) ?? constantOf(argument));
  const options = Array.isArray(parts[0]) ? (parts[0] as unknown[])[3] : undefined;
  if (first === undefined || more.includes(undefined)) {
    return undefined;
  }
  const kwargs = Object.entries(isJson(options) ? options : {}).map(([key, value]) => [key, historyOf(value) ?? value]);
  return {
    args: [more.length === 0 ? first : [first, ...more]],
    kwargs: Object.fromEntries(kwargs) as Record<string, unknown>,
  };
}

/** The number that replaces a tensor in a call of Keras 2. */
function constantOf(argument: unknown): unknown {
  const [mark, , value] = Array.isArray(argument) ? (argument as unknown[]) : [];
  return mark === '_CONSTANT_VALUE' ? value : undefined;
}

/** `[layer, node, index]` as Keras writes it; `undefined` for anything else. */
export function historyOf(value: unknown, shape?: unknown): KerasTensor | undefined {
  const [layer, node, index] = Array.isArray(value) ? (value as unknown[]) : [];
  const isPlace = (number: unknown): number is number => Number.isSafeInteger(number) && (number as number) >= 0;
  return typeof layer === 'string' && isPlace(node) && isPlace(index)
    ? {layer, node, index, shape: Array.isArray(shape) ? shape : undefined}
    : undefined;
}

/** Whether something is a tensor in a call. */
export function isTensor(value: unknown): value is KerasTensor {
  return isJson(value) && typeof value.layer === 'string' && typeof value.node === 'number';
}

/** Keras 3 marks tensors anywhere in the arguments. */
function modernTensors(value: unknown): unknown {
  if (Array.isArray(value)) {
    return value.map(modernTensors);
  }
  if (!isJson(value)) {
    return value;
  }
  if (value.class_name === '__keras_tensor__' && isJson(value.config)) {
    return historyOf(value.config.keras_history, value.config.shape) ?? value;
  }
  return Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, modernTensors(entry)]));
}

/** The tensors of an ordinary call: one, or a list of them. `other` describes anything else in it for a fault. */
export function tensorsOf(
  {args, kwargs}: KerasCall,
  isKeras3: boolean,
): {tensors: KerasTensor[]; other: string | undefined} {
  const [firstArg, ...more] = args;
  const list = Array.isArray(firstArg) ? (firstArg as unknown[]) : [firstArg];
  const tensors = list.filter(isTensor);
  const nonTensors = [...list.filter(value => !isTensor(value)), ...more].map(brief);
  // Keras 3 overrides the `training` argument of calls in `fit` and `predict`; Keras 2 does in `fit`.
  const isIdle = ([key, value]: [string, unknown]) =>
    value == null || (key === 'training' && (value === false || isKeras3));
  const named = Object.entries(kwargs).flatMap(entry => (isIdle(entry) ? [] : [`${entry[0]}=${brief(entry[1])}`]));
  const all = [...nonTensors, ...named];
  return {tensors, other: all.length === 0 ? undefined : all.join(', ')};
}
