import type * as tf from '@tensorflow/tfjs';
import type {HeadConfig} from '../adapter/adapter';
import type {Site} from '../rewire/walk';
import type {HeadPlace} from './headPlace';

/** Whether a layer is one of a new head, or inside one. */
export function isInHead(head: HeadConfig | undefined, {layer, ancestors}: Site): boolean {
  const {name} = ancestors[0] ?? layer;
  return head?.layers.some(({config}) => config.name === name) ?? false;
}

/** The new head of a model, and the place in the model after which it was put. */
interface PlacedHead {
  head: HeadConfig;
  /** Unknown of a model that was restored. */
  place?: HeadPlace;
}

/** The heads of models that `replaceHead` made. */
const heads = new WeakMap<tf.LayersModel, PlacedHead>();

/** The new head of a model that `replaceHead` made. */
export function headOf(model: tf.LayersModel): HeadConfig | undefined {
  return heads.get(model)?.head;
}

/** Where `replaceHead` put the new head of a model, and why. */
export function placeOf(model: tf.LayersModel): HeadPlace | undefined {
  return heads.get(model)?.place;
}

/** Makes known that a model has a new head, if it has one. */
export function markHead(model: tf.LayersModel, head: HeadConfig | undefined, place?: HeadPlace): void {
  if (head !== undefined) {
    heads.set(model, {head, ...(place && {place})});
  }
}
