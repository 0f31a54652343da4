import * as tf from '@tensorflow/tfjs';

/** Width and height of a picture, in pixels, as the base takes it: `[n, SIZE, SIZE, 3]`, values from 0 to 1. */
export const SIZE = 224;

/**
 * A MobileNetV2 that knows photographs. The npm package `nsfwjs` brings it with its weights, as an NSFW classifier; of
 * that nothing but the body is used here. For a model that is files at an address, this is `tf.loadLayersModel(url)`.
 */
export async function loadBase(): Promise<tf.LayersModel> {
  const {MobileNetV2Model} = await import('nsfwjs/models/mobilenet_v2');
  const {modelTopology, weightsManifest} = (await MobileNetV2Model.modelJson()).default;
  const weights = (await MobileNetV2Model.weightBundles[0]!()).default; // base64
  return tf.loadLayersModel(
    tf.io.fromMemory({
      modelTopology,
      weightSpecs: weightsManifest.flatMap(group => group.weights),
      weightData: Uint8Array.from(atob(weights), byte => byte.charCodeAt(0)).buffer,
    }),
  );
}
