import * as tf from '@tensorflow/tfjs';

/** What configs name by a class name beside layers, and a class of tfjs of each kind. */
const EXAMPLES = {initializer: 'Zeros', regularizer: 'L1L2', constraint: 'NonNeg', activation: 'linear'} as const;

/** A kind of what configs name by a class name. */
export type ConfigKind = keyof typeof EXAMPLES;

type Class = abstract new (...args: never[]) => object;

/** The class that is registered under a name. */
export function registeredClass(className: string): Class | undefined {
  const {classNameMap} = tf.serialization.SerializationMap.getMap();
  return Object.hasOwn(classNameMap, className) ? classNameMap[className]?.[0] : undefined;
}

/** Whether a name is that of a registered class of a kind, one of tfjs or one's own. */
export function isClassOf(kind: ConfigKind, className: string): boolean {
  const found = registeredClass(className);
  const base = Object.getPrototypeOf(registeredClass(EXAMPLES[kind])?.prototype as object) as object;
  return found !== undefined && Object.prototype.isPrototypeOf.call(base, found.prototype as object);
}

/** Whether a name is that of a registered class of models: layers that hold a graph of others. */
export function isModelClass(className: string): boolean {
  return registeredClass(className)?.prototype instanceof tf.LayersModel || className === 'Model';
}
