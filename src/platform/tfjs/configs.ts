import * as tf from '@tensorflow/tfjs';
import {asLoRAError, damagedError, listed, messageOf, show, unsupportedError} from '../errors';
import {fieldsOf} from './fields';
import type {LayerInternals, SeparableLayer} from './layerFields';

/** The constructor arguments of a layer that replaces `layer`: its own. */
export function standInArgs(
  layer: tf.layers.Layer,
  name = layer.name,
  trainable = true,
): NonNullable<ConstructorParameters<typeof tf.layers.Layer>[0]> {
  const {batchInputShape, dtype} = layer as Partial<tf.layers.Layer>;
  // A Sequential makes its input from these.
  return {name, trainable, ...(batchInputShape && {batchInputShape}), ...(dtype && {dtype})};
}

/** A copy of a layer's class name and config. */
export function entryOf(layer: tf.layers.Layer): LayerEntry {
  return completedEntry(layer, {className: layer.getClassName(), config: cloneConfig(layer.getConfig())});
}

/** What stock layers omit from their configs, or write wrongly, and need to be rebuilt. */
const COMPLETED: Readonly<Record<string, (layer: tf.layers.Layer) => tf.serialization.ConfigDict>> = {
  // tfjs writes the regularizer instead.
  DepthwiseConv2D: layer => {
    const constraint = fieldsOf<{depthwiseConstraint: tf.serialization.Serializable | null}>(layer).depthwiseConstraint;
    const entry = constraint && {className: constraint.getClassName(), config: constraint.getConfig()};
    return {depthwiseConstraint: entry};
  },
  SeparableConv2D: layer => ({depthMultiplier: fieldsOf<SeparableLayer>(layer).depthMultiplier}),
};

/** Corrects the entry of a layer whose class omits settings from its config or writes them wrongly. */
export function completedEntry(layer: tf.layers.Layer, {className, config}: LayerEntry): LayerEntry {
  const complete = Object.hasOwn(COMPLETED, className) ? COMPLETED[className] : undefined;
  return {className, config: {...config, name: layer.name, ...complete?.(layer)}};
}

/** A class that tfjs makes objects of from configs. */
type Registrable = Parameters<typeof tf.serialization.registerClass>[0];

/** The name of a class of this library without its entry point; any other name unchanged. */
export function shortName(className: string): string {
  return className.replace(/^tfjs-lora[^>]*>/, '');
}

/**
 * Registers a class of this library under its `className`: the entry point that has it, and a name, as in
 * `tfjs-lora/transformers>Scaling`. Users and Keras have a `Scaling` too, which stays what it is, whichever is imported
 * first. Earlier versions wrote the short name into files; it stands for the class where no other has it.
 */
export function registerOwn(ownClass: Registrable): void {
  tf.serialization.registerClass(ownClass);
  tf.serialization.SerializationMap.getMap().classNameMap[shortName(ownClass.className)] ??= [ownClass, fromFormer];
  const {prototype} = ownClass as Partial<typeof tf.layers.Layer>;
  if (prototype instanceof tf.layers.Layer) {
    // tfjs makes automatic names, such as `scaling_1`, from the name of the class.
    prototype.getClassName = function (this: Partial<tf.layers.Layer>) {
      const {className} = this.constructor as unknown as Registrable;
      return this.name === undefined || isPrintingSummary ? shortName(className) : className;
    };
  }
}

/** Whether a model prints its summary, whose columns are too narrow for class names with an entry point. */
let isPrintingSummary = false;

const models = tf.LayersModel.prototype as unknown as {summary: (this: unknown, ...args: unknown[]) => void};
const {summary} = models;
models.summary = function (...args) {
  isPrintingSummary = true;
  try {
    summary.apply(this, args);
  } finally {
    isPrintingSummary = false;
  }
};

/** Makes an object from a config under the short name of its class, which another class may have too. */
const fromFormer: Registrable['fromConfig'] = (ownClass, config, ...more: unknown[]) => {
  const {className, fromConfig} = ownClass;
  try {
    const made = (fromConfig as (...args: unknown[]) => tf.serialization.Serializable)(ownClass, config, ...more);
    const layerConfig = {...made.getConfig(), dtype: '', customObjects: {}}; // tfjs reads the one and adds the other
    const isForeign = (key: string) => config[key] != null && config[key] !== false && !Object.hasOwn(layerConfig, key);
    const foreign = Object.keys(config).filter(isForeign);
    if (foreign.length > 0) {
      throw damagedError(`it has no ${listed(foreign)}.`);
    }
    return made;
  } catch (error) {
    const name = shortName(className);
    throw damagedError(
      `${show(config.name ?? name)} is read as ${className}, which earlier versions called ${name}: ` +
        `${messageOf(error)} If it is of another class, call tf.serialization.registerClass with that before the ` +
        'model is loaded.',
      {cause: error},
    );
  }
};

/**
 * Makes a layer from its class name and config, as tfjs does when it loads a model.
 *
 * @throws LoRAError if no class of that name is registered, or it takes no such config.
 */
export function layerFromEntry({className, config}: LayerEntry): tf.layers.Layer {
  const registered = isRegistered(className) && tf.serialization.SerializationMap.getMap().classNameMap[className];
  if (!registered) {
    const [, entry] = /^(tfjs-lora[^>]*)>/.exec(className) ?? [];
    const way = entry
      ? `Import it first: import '${entry}'.`
      : `Call tf.serialization.registerClass(${className}) first, or import the part of tfjs-lora that has it, such ` +
        "as 'tfjs-lora/graph'.";
    throw unsupportedError(`Layer "${config.name as string}" is a ${className}, which is not registered. ${way}`);
  }
  const [layerClass, fromConfig] = registered;
  try {
    // tfjs writes into the configs that it reads.
    return named(fromConfig(layerClass, cloneConfig(config)) as tf.layers.Layer, config);
  } catch (error) {
    throw asLoRAError(
      error,
      `Layer "${config.name as string}" (${className}) cannot be made from its config`,
      'ERR_DAMAGED',
    );
  }
}

/** Whether tfjs can make layers of a class from a file. */
export function isRegistered(className: string): boolean {
  return Object.hasOwn(tf.serialization.SerializationMap.getMap().classNameMap, className);
}

/**
 * A copy of a config: arrays and plain objects are copied, everything else is shared.
 *
 * @param replace returns the replacement of an entry. Default: the entry.
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

/** A layer's entry without constraints of weights, also in its cells and inner layers. */
export function withoutConstraints(entry: LayerEntry): LayerEntry {
  return cloneConfig(entry, (key, value) =>
    key.endsWith('Constraint') && typeof (value as Partial<LayerEntry> | null)?.className === 'string' ? null : value,
  );
}

/** A layer's class name and config, as tfjs nests them in wrappers. */
export interface LayerEntry {
  className: string;
  config: tf.serialization.ConfigDict;
}

/**
 * The entry of the layer inside another, from the outer layer's config.
 *
 * @throws LoRAError if it is not an entry: the config may come from a damaged file.
 */
export function innerEntry(value: unknown, owner: unknown): LayerEntry {
  const {className, config} = (value ?? {}) as Partial<Record<keyof LayerEntry, unknown>>;
  if (typeof className !== 'string' || typeof config !== 'object' || config === null) {
    throw damagedError(
      `The config of layer ${show(owner)} must hold the layer that it wraps: {layer: {className, config}}.`,
    );
  }
  return value as LayerEntry;
}

/** Gives a layer its config's name. A class whose constructor ignores its config gets a new name each time. */
export function named<T>(made: T, config: unknown): T {
  const {name} = (config ?? {}) as {name?: unknown};
  if (made instanceof tf.layers.Layer && typeof name === 'string' && made.name !== name) {
    made.name = name;
  }
  return made;
}

/** What configs name by class besides layers, with a class of tfjs of each kind. */
const EXAMPLES = {initializer: 'Zeros', regularizer: 'L1L2', constraint: 'NonNeg', activation: 'linear'} as const;

/** A kind of object that configs name by class. */
export type ConfigKind = keyof typeof EXAMPLES;

type Class = (abstract new (...args: never[]) => object) & {className: string};

export function registeredClass(className: string): Class | undefined {
  const {classNameMap} = tf.serialization.SerializationMap.getMap();
  return Object.hasOwn(classNameMap, className) ? classNameMap[className]?.[0] : undefined;
}

/** The name of a registered class itself: one of this library may also be found under a former name. */
export function registeredName(className: string): string | undefined {
  return registeredClass(className)?.className;
}

/** Whether a name is that of a registered class of a kind, of tfjs or custom. */
export function isClassOf(kind: ConfigKind, className: string): boolean {
  const cls = registeredClass(className);
  const base = Object.getPrototypeOf(registeredClass(EXAMPLES[kind])?.prototype as object) as object;
  return cls !== undefined && Object.prototype.isPrototypeOf.call(base, cls.prototype as object);
}

/** Whether a name is that of a registered class of models: layers that hold a graph of others. */
export function isModelClass(className: string): boolean {
  return registeredClass(className)?.prototype instanceof tf.LayersModel || className === 'Model';
}

/** Whether a name is that of a registered class of layers, or of cells of recurrent layers, which are layers too. */
export function isLayerClass(className: string): boolean {
  return registeredClass(className)?.prototype instanceof tf.layers.Layer;
}

/** A layer from an entry, built for inputs of some shape, in no model. */
export function builtLayer(entry: LayerEntry, shape: tf.Shape | tf.Shape[]): tf.layers.Layer {
  const layer = layerFromEntry(entry);
  // A symbolic input builds it under its own name; the node that this leaves would make `layer.output` ambiguous.
  layer.apply(symbolicInputs(shape));
  layer.inboundNodes.length = 0;
  fieldsOf<LayerInternals>(layer)._refCount = null;
  return layer;
}

/** Symbolic inputs of a shape, or of each of several. */
function symbolicInputs(shape: tf.Shape | tf.Shape[]): tf.SymbolicTensor | tf.SymbolicTensor[] {
  return Array.isArray(shape[0])
    ? (shape as tf.Shape[]).map(batchShape => tf.input({batchShape}))
    : tf.input({batchShape: shape as tf.Shape});
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

type Fields = Record<string, unknown>;

/** The plain fields (numbers, strings, flags, lists) that differ in two layers: what `getConfig` forgets. */
export function differingFields(one: tf.layers.Layer, other: tf.layers.Layer): string[] {
  const fields = fieldsOf<Fields>(one);
  const counterparts = fieldsOf<Fields>(other);
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

/** Gives a copy of a layer the plain fields that its class's `getConfig` forgets, and tells which. */
export function carryFields(from: tf.layers.Layer, to: tf.layers.Layer): string[] {
  const forgotten = differingFields(from, to);
  const [fields, counterparts] = [from, to].map(layer => fieldsOf<Fields>(layer)) as [Fields, Fields];
  forgotten.forEach(key => (counterparts[key] = structuredClone(fields[key])));
  return forgotten;
}

function isPlain(value: unknown): boolean {
  return Array.isArray(value)
    ? value.length > 0 && value.every(isPlain)
    : ['number', 'string', 'boolean'].includes(typeof value);
}
