import type * as tf from '@tensorflow/tfjs';
import type {HeadConfig} from '../adapter/adapter';
import type {Site} from '../rewire/walk';

/** Whether a layer is one of a new head, or inside one. */
export function isInHead(head: HeadConfig | undefined, {layer, ancestors}: Site): boolean {
  const {name} = ancestors[0] ?? layer;
  return head?.layers.some(({config}) => config.name === name) ?? false;
}

/** The heads of models that `replaceHead` made. */
const heads = new WeakMap<tf.LayersModel, HeadConfig>();

/** The new head of a model that `replaceHead` made. */
export function headOf(model: tf.LayersModel): HeadConfig | undefined {
  return heads.get(model);
}

/** Makes known that a model has a new head, if it has one. */
export function markHead(model: tf.LayersModel, head: HeadConfig | undefined): void {
  if (head !== undefined) {
    heads.set(model, head);
  }
}
