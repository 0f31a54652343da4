import type * as tf from '@tensorflow/tfjs';

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

/** The plain fields (numbers, strings, flags, lists) that differ in two layers: what `getConfig` forgets. */
export function differingFields(one: tf.layers.Layer, other: tf.layers.Layer): string[] {
  const fields = fieldsOf(one);
  const counterparts = fieldsOf(other);
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
  const [fields, counterparts] = [fieldsOf(from), fieldsOf(to)];
  forgotten.forEach(key => (counterparts[key] = structuredClone(fields[key])));
  return forgotten;
}

function isPlain(value: unknown): boolean {
  return Array.isArray(value)
    ? value.length > 0 && value.every(isPlain)
    : ['number', 'string', 'boolean'].includes(typeof value);
}

function fieldsOf(layer: tf.layers.Layer): Record<string, unknown> {
  return layer as unknown as Record<string, unknown>;
}
