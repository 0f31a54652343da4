import * as tf from '@tensorflow/tfjs';

/**
 * A larger MobileNetV2 (1.4), a GraphModel with 8-bit weights in `nsfwjs`: `[n, 224, 224, 3]`, values from
 * 0 to 1. For a model at a URL, use `tf.loadGraphModel(url)`.
 */
export async function loadGraph(): Promise<tf.GraphModel> {
  const {MobileNetV2MidModel} = await import('nsfwjs/models/mobilenet_v2_mid');
  const {modelTopology, weightsManifest} = (await MobileNetV2MidModel.modelJson()).default;
  const shards = await Promise.all(MobileNetV2MidModel.weightBundles.map(load => load()));
  const weights = shards.map(({default: base64}) => Uint8Array.from(atob(base64), byte => byte.charCodeAt(0)));
  return tf.loadGraphModel(
    tf.io.fromMemory({
      modelTopology,
      weightSpecs: weightsManifest.flatMap(group => group.weights),
      weightData: await new Blob(weights).arrayBuffer(),
    }),
  );
}
