import * as tf from '@tensorflow/tfjs';
import type {LayerEntry} from '../config';
import {asLoRAError, LoRAError} from '../errors';

export type {LayerEntry};

// tfjs declares these fields of its layers protected or private. They have kept their names through all of tfjs 2, 3 and 4.

/** What a stock layer with a kernel holds. */
export interface KernelLayer {
  kernel: tf.LayerVariable;
  bias: tf.LayerVariable | null;
  activation: {apply(x: tf.Tensor): tf.Tensor; getClassName(): string};
}

/** What a stock `Dense` holds. */
export interface DenseLayer extends KernelLayer {
  units: number;
}

/** What a stock convolution holds. */
export interface ConvLayer extends KernelLayer {
  filters: number;
  kernelSize: number[];
  strides: number[];
  padding: 'valid' | 'same';
  dataFormat: 'channelsFirst' | 'channelsLast';
  dilationRate: number[];
}

/** What a stock `DepthwiseConv2D` holds. */
export interface DepthwiseLayer extends Omit<ConvLayer, 'kernel' | 'filters'> {
  depthwiseKernel: tf.LayerVariable;
  depthMultiplier: number;
}

/** What a stock `SeparableConv2D` holds. */
export interface SeparableLayer extends Omit<ConvLayer, 'kernel'> {
  depthwiseKernel: tf.LayerVariable;
  pointwiseKernel: tf.LayerVariable;
  depthMultiplier: number;
  useBias: boolean;
}

/** What a stock `Embedding` holds. */
export interface EmbeddingLayer {
  embeddings: tf.LayerVariable;
}

/** What a stock `BatchNormalization` holds. */
export interface BatchNormLayer {
  axis: number;
  epsilon: number;
  gamma?: tf.LayerVariable;
  beta?: tf.LayerVariable;
  movingMean: tf.LayerVariable;
  movingVariance: tf.LayerVariable;
}

/** Fields of every layer that a rebuild has to see. */
export interface LayerInternals {
  _refCount: number | null;
  initialWeights: tf.Tensor[] | null;
}

/** A layer as a view of its fields. The caller knows its class. */
export function fieldsOf<Fields>(layer: tf.layers.Layer): Fields {
  return layer as unknown as Fields;
}

/** The arguments for tfjs's constructor of a layer that shall stand where `layer` stood: its own. */
export function standInArgs(
  layer: tf.layers.Layer,
  name = layer.name,
  trainable = true,
): NonNullable<ConstructorParameters<typeof tf.layers.Layer>[0]> {
  const {batchInputShape, dtype} = layer as Partial<tf.layers.Layer>;
  // A Sequential makes its input from these.
  return {name, trainable, ...(batchInputShape && {batchInputShape}), ...(dtype && {dtype})};
}

/** The class name and config of a layer, in objects of their own. */
export function entryOf(layer: tf.layers.Layer): LayerEntry {
  return mendedEntry(layer, {className: layer.getClassName(), config: cloneConfig(layer.getConfig())});
}

/** What stock layers leave out of their configs, or get wrong in them, and without which they could not be rebuilt. */
const MENDED: Readonly<Record<string, (layer: tf.layers.Layer) => tf.serialization.ConfigDict>> = {
  // tfjs writes the regularizer in its place.
  DepthwiseConv2D: layer => {
    const constraint = fieldsOf<{depthwiseConstraint: tf.serialization.Serializable | null}>(layer).depthwiseConstraint;
    const entry = constraint && {className: constraint.getClassName(), config: constraint.getConfig()};
    return {depthwiseConstraint: entry};
  },
  SeparableConv2D: layer => ({depthMultiplier: fieldsOf<SeparableLayer>(layer).depthMultiplier}),
};

/** A layer's entry with what its class gets wrong in its config put right. */
export function mendedEntry(layer: tf.layers.Layer, {className, config}: LayerEntry): LayerEntry {
  const mend = Object.hasOwn(MENDED, className) ? MENDED[className] : undefined;
  return {className, config: {...config, ...mend?.(layer)}};
}

/** Classes of this library that only the entry for graphs registers. */
const OF_GRAPHS: ReadonlySet<string> = new Set(['GraphOp', 'FusedConv2D', 'FusedDepthwiseConv2D']);

/**
 * Makes a layer from its class name and config, as tfjs does when it loads a model.
 *
 * @throws LoRAError if no class of that name is registered, or it takes no such config.
 */
export function layerFromEntry({className, config}: LayerEntry): tf.layers.Layer {
  const registered = isRegistered(className) && tf.serialization.SerializationMap.getMap().classNameMap[className];
  if (!registered) {
    const way = OF_GRAPHS.has(className)
      ? "Import it first: import 'tfjs-lora/graph'."
      : `Call tf.serialization.registerClass(${className}) first.`;
    throw new LoRAError(`Layer "${config.name as string}" is a ${className}, which is not registered. ${way}`);
  }
  const [layerClass, fromConfig] = registered;
  try {
    // tfjs writes into the configs that it reads.
    return fromConfig(layerClass, cloneConfig(config)) as tf.layers.Layer;
  } catch (error) {
    throw asLoRAError(error, `Layer "${config.name as string}" (${className}) cannot be made from its config`);
  }
}

/** Whether tfjs can make layers of a class from a file. */
export function isRegistered(className: string): boolean {
  return Object.hasOwn(tf.serialization.SerializationMap.getMap().classNameMap, className);
}

/**
 * A copy of a config: arrays and plain objects anew, everything else as it is.
 *
 * @param replace what stands in the place of an entry. Default: the entry.
 */
export function cloneConfig<T>(value: T, replace = (_key: string, entry: unknown): unknown => entry): T {
  if (Array.isArray(value)) {
    return value.map(entry => cloneConfig<unknown>(entry, replace)) as T;
  }
  if (typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype) {
    const entries = Object.entries(value).map(([key, entry]) => [key, cloneConfig(replace(key, entry), replace)]);
    return Object.fromEntries(entries) as T;
  }
  return value;
}

/** The weights of a layer, in an order that does not depend on which of them train, under the names that the layer gave them. */
export function namedWeights(layer: tf.layers.Layer): Map<string, tf.LayerVariable> {
  const named = new Map<string, tf.LayerVariable>();
  for (const weight of [...layer.weights].sort((one, other) => one.id - other.id)) {
    // The scope is the layer's name, which may have slashes of its own, or the name of the TimeDistributed around it.
    const own = `${layer.name}/`;
    const local = weight.originalName.startsWith(own)
      ? weight.originalName.slice(own.length)
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

/** The weights of a layer that are added: biases, and the shifts of normalizations. */
export function biasesOf(layer: tf.layers.Layer): Map<string, tf.LayerVariable> {
  return new Map([...namedWeights(layer)].filter(([name]) => /(?:^|\/)(?:bias|beta)$/.test(name)));
}

/** Gives `to` the values of `from`, a weight each, sharing their buffers. */
export function shareWeights(from: tf.layers.Layer, to: tf.layers.Layer): void {
  const sources = [...namedWeights(from).values()];
  const targets = [...namedWeights(to).values()];
  if (sources.length !== targets.length || sources.some((source, i) => !sameShape(source, targets[i]))) {
    throw new LoRAError(
      `Layer "${from.name}" (${from.getClassName()}) has other weights when it is rebuilt from its config: ` +
        `${shapes(sources)} before, ${shapes(targets)} after. Its getConfig() must hold all that its weights depend on.`,
    );
  }
  sources.forEach((source, i) => replaceValue(targets[i] as tf.LayerVariable, source.read()));
}

/**
 * Gives a variable of a layer another value, of another shape too, without a copy. The value comes in as it is, while `write` would put
 * it under the constraint that the variable trains under.
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
  const fields = variable as unknown as {val: tf.Variable; shape: tf.Shape};
  fields.val = tf.variable(value, trainable, name);
  fields.shape = value.shape;
}

/** Runs `f` while variables of layers read as other tensors. Whatever happens in it, they read as themselves afterwards. */
export function withValues<T>(values: readonly (readonly [tf.LayerVariable, tf.Tensor])[], f: () => T): T {
  const swaps = values.map(([variable, value]) => {
    const fields = variable as unknown as {val: tf.Tensor};
    return {fields, value, own: fields.val};
  });
  try {
    swaps.forEach(({fields, value}) => (fields.val = value));
    return f();
  } finally {
    swaps.forEach(({fields, own}) => (fields.val = own));
  }
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

/** A shape as error messages show it: `[4, 8]`. */
export function showShape(shape: tf.Shape): string {
  return `[${shape.map(String).join(', ')}]`;
}

/** Fields that differ between a layer and its rebuilt copy without meaning anything. */
const BOOKKEEPING = new Set([
  'id',
  'name',
  '_refCount',
  '_built',
  'trainable_',
  '_trainable',
  'fastWeightInitDuringBuild',
  '_addedWeightNames',
]);

/**
 * The plain fields (numbers, texts, flags, and lists of these) in which two layers of a class differ: what the class's `getConfig`
 * forgets.
 */
export function differingFields(one: tf.layers.Layer, other: tf.layers.Layer): string[] {
  const fields = fieldsOf<Record<string, unknown>>(one);
  const counterparts = fieldsOf<Record<string, unknown>>(other);
  return Object.keys(fields).filter(key => {
    const value = fields[key];
    const counterpart = counterparts[key];
    return (
      !BOOKKEEPING.has(key) &&
      isPlain(value) &&
      (!isPlain(counterpart) || JSON.stringify(value) !== JSON.stringify(counterpart))
    );
  });
}

function isPlain(value: unknown): boolean {
  return Array.isArray(value)
    ? value.length > 0 && value.every(isPlain)
    : ['number', 'string', 'boolean'].includes(typeof value);
}

/** Whether a layer gives the same for the same input each time, in training too: it has no state and no dropout inside. */
export function isRepeatable(layer: tf.layers.Layer): boolean {
  const {config} = entryOf(layer);
  return !layer.stateful && !hasDropout(config);
}

function hasDropout(config: unknown): boolean {
  return (
    typeof config === 'object' &&
    config !== null &&
    Object.entries(config).some(([key, value]) => (/dropout$/i.test(key) && Number(value) > 0) || hasDropout(value))
  );
}
