import * as tf from '@tensorflow/tfjs';
import type {NamedFile} from '../../../shared/files';

/**
 * A model as the two files of `model.save('downloads://…')`. Only a page can start a download, so the worker returns
 * them.
 */
export async function mergedModelFiles(model: tf.LayersModel, name: string): Promise<NamedFile[]> {
  let files: NamedFile[] = [];
  await model.save(
    tf.io.withSaveHandler(artifacts => {
      const {weightData, weightSpecs = [], ...rest} = artifacts;
      const weightsName = `${name}.weights.bin`;
      const json = {...rest, weightsManifest: [{paths: [`./${weightsName}`], weights: weightSpecs}]};
      files = [
        {name: `${name}.json`, content: new Blob([JSON.stringify(json)], {type: 'application/json'})},
        {name: weightsName, content: new Blob([tf.io.CompositeArrayBuffer.join(weightData)])},
      ];
      return Promise.resolve({modelArtifactsInfo: tf.io.getModelArtifactsInfoForJSON(artifacts)});
    }),
  );
  return files;
}
