import * as tf from '@tensorflow/tfjs';
import {kindOf, LoRAError, misfitError, show, showShape, throwFaults} from '../../platform/errors';
import {isTensorOfOtherCopy, OTHER_COPY} from '../../platform/tfjs/copies';
import {replaceValue} from '../../platform/tfjs/weights';

/** Says which weight of a layer a foreign name means; `null` skips it. */
export type NameMapping = (name: string) => string | null;

/** How names, or named tensors, compare with the weights of a layer. */
export interface WeightsReport {
  /** Names of weights that were given. */
  matched: string[];
  /** Given names that are no weight of the layer. */
  unmatched: string[];
  /** Names of weights that were not given. */
  missing: string[];
}

/** The result of loading named tensors into a layer. */
export interface LoadReport extends WeightsReport {
  /** Weights that were given in another shape or type: `kernel: shape [2, 3], expected [3, 2]`. */
  mismatched: string[];
}

/** Compares names with the names of weights. Names that `mapping` maps to `null` count as not given. */
export function matchNames(
  names: readonly string[],
  weights: ReadonlyMap<string, tf.LayerVariable>,
  mapping?: NameMapping | null,
): WeightsReport & {pairs: Map<string, string>} {
  const list: unknown = names;
  if (!Array.isArray(list)) {
    throw new LoRAError(`Expected a list of weight names, got ${show(list)}.`);
  }
  const pairs = new Map<string, string>();
  const unmatched: string[] = [];
  for (const name of names) {
    const target = mapping ? mapping(name) : name;
    if (target === null) {
      continue;
    }
    if (weights.has(target) && !pairs.has(target)) {
      pairs.set(target, name);
    } else {
      unmatched.push(name);
    }
  }
  const matched = [...pairs.keys()];
  return {matched, unmatched, missing: [...weights.keys()].filter(name => !pairs.has(name)), pairs};
}

/**
 * Sets weights by name.
 *
 * @throws LoRAError if strict and the tensors are not exactly the weights. Then nothing is changed.
 */
export function loadNamedWeights(
  owner: string,
  weights: ReadonlyMap<string, tf.LayerVariable>,
  tensors: Readonly<Record<string, tf.Tensor>>,
  {mapping, strict}: {mapping: NameMapping | null | undefined; strict: boolean},
): LoadReport {
  checkTensors(owner, tensors);
  const {unmatched, missing, pairs} = matchNames(Object.keys(tensors), weights, mapping);
  const fitting = new Map<string, [tf.LayerVariable, tf.Tensor]>();
  const mismatched: string[] = [];
  for (const [target, name] of pairs) {
    const weight = weights.get(target);
    const tensor = tensors[name];
    if (weight === undefined || tensor === undefined) {
      continue;
    }
    if (!tf.util.arraysEqual(tensor.shape, weight.read().shape)) {
      mismatched.push(`${target}: shape ${showShape(tensor.shape)}, expected ${showShape(weight.shape)}`);
    } else if (tensor.dtype !== weight.dtype) {
      mismatched.push(`${target}: of type ${tensor.dtype}, expected ${weight.dtype}`);
    } else {
      fitting.set(target, [weight, tensor]);
    }
  }
  const faults = [
    ...mismatched,
    ...unmatched.map(name => `${name}: not a weight of the layer, which has ${[...weights.keys()].join(', ')}`),
    ...missing.map(name => `${name}: not among the weights given`),
  ];
  throwFaults(strict ? faults : [], 'ERR_MISFIT', `The weights do not fit ${owner}:`);
  fitting.forEach(([weight, tensor]) => replaceValue(weight, tensor));
  return {matched: [...fitting.keys()], unmatched, missing, mismatched};
}

/**
 * Sets one weight of a layer.
 *
 * @throws LoRAError if no weight has that name, or its shape or type differs.
 */
export function setNamedWeight(
  layerName: string,
  weights: ReadonlyMap<string, tf.LayerVariable>,
  name: string,
  value: tf.Tensor,
): void {
  const how = {mapping: undefined, strict: false};
  const {unmatched, mismatched} = loadNamedWeights(`layer "${layerName}"`, weights, {[name]: value}, how);
  if (unmatched.length > 0) {
    throw misfitError(`Layer "${layerName}" has no weight "${name}". It has ${[...weights.keys()].join(', ')}.`);
  }
  if (mismatched.length > 0) {
    throw misfitError(`Layer "${layerName}": ${mismatched.join('')}.`);
  }
}

/** @throws LoRAError with a line for each value that is no tensor which can be set. */
function checkTensors(owner: string, tensors: unknown): void {
  if (typeof tensors !== 'object' || tensors === null) {
    throw new LoRAError(`The weights of ${owner} must be tensors by name, {kernel: …}, got ${kindOf(tensors)}.`);
  }
  const faults = Object.entries(tensors).flatMap(([name, tensor]: [string, unknown]) => {
    if (isTensorOfOtherCopy(tensor)) {
      return [`${name} is ${OTHER_COPY}`];
    }
    if (!(tensor instanceof tf.Tensor)) {
      return [`${name} must be a tensor, got ${kindOf(tensor)}.`];
    }
    return tensor.isDisposed ? [`${name} was disposed.`] : [];
  });
  throwFaults(faults);
}
