import * as tf from '@tensorflow/tfjs';
import {showShape, unsupportedError} from '../errors';
import {fieldsOf} from './fields';

/** The weights of a layer by their names in it, in an order that does not depend on which of them train. */
export function namedWeights(layer: tf.layers.Layer): Map<string, tf.LayerVariable> {
  const named = new Map<string, tf.LayerVariable>();
  for (const weight of [...layer.weights].sort((one, other) => one.id - other.id)) {
    // The scope is the layer's name, which may contain slashes, or the name of the TimeDistributed around it.
    const prefix = `${layer.name}/`;
    const local = weight.originalName.startsWith(prefix)
      ? weight.originalName.slice(prefix.length)
      : weight.originalName.replace(/^[^/]*\//, '');
    // A custom layer may use a name twice.
    let name = local;
    for (let copy = 2; named.has(name); copy++) {
      name = `${local}_${copy}`;
    }
    named.set(name, weight);
  }
  return named;
}

/** A variable with packed values: it holds more parameters than values. */
export interface PackedVariable extends tf.LayerVariable {
  parameters?: number;
  /** How many bytes of its value stay in a file. */
  bytesInFile?(): number;
}

/** How many parameters variables hold. Counts a repeated variable once. */
export function countNumbers(variables: Iterable<PackedVariable>): number {
  return [...new Set(variables)].reduce((sum, variable) => sum + (variable.parameters ?? variable.read().size), 0);
}

/** The additive weights of a layer: biases, and the shifts of normalizations. */
export function biasesOf(layer: tf.layers.Layer): Map<string, tf.LayerVariable> {
  return new Map([...namedWeights(layer)].filter(([name]) => /(?:^|\/)(?:bias|beta)$/.test(name)));
}

/** Gives `to` the values of `from`, weight by weight, sharing their buffers. */
export function shareWeights(from: tf.layers.Layer, to: tf.layers.Layer): void {
  const sources = [...namedWeights(from).values()];
  const targets = [...namedWeights(to).values()];
  if (sources.length !== targets.length || sources.some((source, i) => !sameShape(source, targets[i]))) {
    throw unsupportedError(
      `Layer "${from.name}" (${from.getClassName()}) has different weights when it is rebuilt from its config: ` +
        `${shapes(sources)} before, ${shapes(targets)} after. Its getConfig() must hold all that its weights ` +
        'depend on.',
    );
  }
  sources.forEach((source, i) => replaceValue(targets[i] as tf.LayerVariable, source.read()));
}

/**
 * Gives a variable of a layer another value, of another shape too, without a copy. The value comes in as it is, while
 * `write` would put it under the constraint that the variable trains under.
 */
export function replaceValue(variable: tf.LayerVariable, value: tf.Tensor): void {
  const current = variable.read() as tf.Variable;
  if (tf.util.arraysEqual(current.shape, value.shape)) {
    if (current !== value) {
      current.assign(value);
    }
    return;
  }
  // `assign` takes one shape only. Disposing first gives the name free, by which optimizers find the variable.
  const {trainable, name} = current;
  current.dispose();
  const fields = variable as unknown as VariableFields;
  fields.val = tf.variable(value, trainable, name);
  fields.shape = value.shape;
}

/** Whether a variable of a layer was disposed; reading it would throw. */
export function isDisposed(variable: tf.LayerVariable): boolean {
  return (variable as unknown as {val: tf.Variable}).val.isDisposed;
}

/** Lets a layer's variables take any value: tfjs's constraints change what is written and loaded. */
export function liftConstraints(layer: tf.layers.Layer): void {
  for (const weight of layer.weights) {
    (weight as unknown as {constraint: unknown}).constraint = null;
  }
}

/** Runs `f` while variables read as other tensors. Whatever happens, they read as themselves afterwards. */
export function withValues<T>(values: readonly (readonly [tf.LayerVariable, tf.Tensor])[], f: () => T): T {
  const swaps = values.map(([variable, value]) => {
    const fields = variable as unknown as {val: tf.Tensor};
    return {fields, value, original: fields.val};
  });
  try {
    swaps.forEach(({fields, value}) => (fields.val = value));
    return f();
  } finally {
    swaps.forEach(({fields, original}) => (fields.val = original));
  }
}

/** Fields of a layer and its variables that tfjs declares private. */
interface LayerFields {
  _trainableWeights: tf.LayerVariable[];
  _nonTrainableWeights: tf.LayerVariable[];
  _addedWeightNames: string[];
}
interface VariableFields {
  val: tf.Variable;
  shape: tf.Shape;
  originalName: string;
}

/** Takes a weight from a layer and frees its value. Until it is restored, reading it for training throws. */
export function withdrawWeight(
  layer: tf.layers.Layer,
  name: string,
  variable: tf.LayerVariable,
  refusal: string,
): void {
  variable.read().dispose();
  variable.read = () => {
    throw unsupportedError(refusal);
  };
  const fields = fieldsOf<LayerFields>(layer);
  fields._trainableWeights = fields._trainableWeights.filter(other => other !== variable);
  fields._nonTrainableWeights = fields._nonTrainableWeights.filter(other => other !== variable);
  fields._addedWeightNames = fields._addedWeightNames.filter(other => other !== name);
}

/** Returns a withdrawn weight to its layer, with a value. */
export function restoreWeight(
  layer: tf.layers.Layer,
  name: string,
  variable: tf.LayerVariable,
  value: tf.Tensor,
): void {
  Reflect.deleteProperty(variable, 'read');
  const fields = variable as unknown as VariableFields;
  fields.val = tf.variable(value, variable.trainable, variable.name);
  fields.shape = value.shape;
  const lists = fieldsOf<LayerFields>(layer);
  (variable.trainable ? lists._trainableWeights : lists._nonTrainableWeights).push(variable);
  lists._addedWeightNames.push(name);
}

export function renameWeight(variable: tf.LayerVariable, name: string): void {
  (variable as unknown as VariableFields).originalName = name;
}

/** Runs `f` while variables of layers keep their values, whatever writes to them. */
export function withoutWrites<T>(variables: readonly tf.LayerVariable[], f: () => T): T {
  // One call may be inside another.
  const open = variables.filter(variable => !Object.hasOwn(variable, 'write'));
  open.forEach(variable => (variable.write = () => variable));
  try {
    return f();
  } finally {
    open.forEach(variable => Reflect.deleteProperty(variable, 'write'));
  }
}

function sameShape(one: tf.LayerVariable, other: tf.LayerVariable | undefined): boolean {
  return other !== undefined && tf.util.arraysEqual(one.read().shape, other.read().shape);
}

function shapes(weights: tf.LayerVariable[]): string {
  return weights.length === 0 ? 'none' : weights.map(({shape}) => showShape(shape)).join(', ');
}
