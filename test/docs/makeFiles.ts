import * as tf from '@tensorflow/tfjs';
import {artifactsOf} from '../extensions/graph/graphs';

// What pages find in the web or in their folder.

/** The files of a model, in a folder: a JSON and its weights. */
export async function modelFiles(
  folder: string,
  model: Pick<tf.LayersModel | tf.GraphModel, 'save'>,
): Promise<Record<string, string | Uint8Array>> {
  const {weightSpecs, weightData, ...topology} = await artifactsOf(model);
  const weightsManifest = [{paths: ['weights.bin'], weights: weightSpecs}];
  return {
    [`${folder}/model.json`]: JSON.stringify({...topology, weightsManifest}),
    [`${folder}/weights.bin`]: new Uint8Array(tf.io.CompositeArrayBuffer.join(weightData)),
  };
}
