import * as tf from '@tensorflow/tfjs';

/** Width and height of the base's input, `[n, SIZE, SIZE, 3]` with values from 0 to 1. */
export const SIZE = 224;

/**
 * A MobileNetV2 that was trained on photos. The npm package `nsfwjs` includes it as an NSFW classifier, of which only
 * the body is used here. For a model at a URL, use `tf.loadLayersModel(url)`.
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
