import type * as tf from '@tensorflow/tfjs';

/** The key of a model's metadata under which it names layers that did not come with its pretrained weights. */
const NEW_LAYERS = 'newLayers';

/** Metadata that says which layers of a model start random. Adapted, they train in full. */
export function newLayersEntry(names: readonly string[]): object {
  return names.length > 0 ? {[NEW_LAYERS]: names} : {};
}

/** The paths of the layers of a model that started random, as its metadata says. */
export function newLayersOf(model: tf.LayersModel): ReadonlySet<unknown> {
  const {[NEW_LAYERS]: names} = {...(model.getUserDefinedMetadata() as Record<string, unknown> | undefined)};
  return new Set(Array.isArray(names) ? (names as unknown[]) : []);
}
