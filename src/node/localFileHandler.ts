import * as tf from '@tensorflow/tfjs';
import {join} from 'node:path';
import {unsupportedError} from '../platform/errors';
import {safetensorsArtifacts, safetensorsOf} from '../core/storage/storage';
import {checkPath, pathOf, read, replaceFile} from './files';
import {loadModelFiles, saveModelFiles} from './modelFiles';

/** The handler of a path: `fileHandler` in Node. */
export function localFileHandler(path: string): tf.io.IOHandler {
  checkPath(path);
  const target = pathOf(path);
  checkPath(target);
  // `saveAdapter` sees by the path which format is wanted, as it does with handlers of tfjs.
  return Object.assign(handlerFor(target), {path: target});
}

function handlerFor(target: string): tf.io.IOHandler {
  if (/\.safetensors$/i.test(target)) {
    return {
      load: async () => safetensorsArtifacts(await read(target, 'Check the path; it must be a saved adapter.')),
      save: artifacts => saveSafetensors(target, artifacts),
    };
  }
  const json = target.endsWith('.json') ? target : join(target, 'model.json');
  return {load: () => loadModelFiles(json), save: artifacts => saveModelFiles(json, artifacts)};
}

async function saveSafetensors(file: string, artifacts: tf.io.ModelArtifacts): Promise<tf.io.SaveResult> {
  const bytes = safetensorsOf(artifacts);
  if (bytes === undefined) {
    throw unsupportedError(
      `${file} can hold an adapter in the format safetensors and nothing else. Use saveAdapter(model, ` +
        'fileHandler(path)) for an adapter, and a folder for a model.',
    );
  }
  await replaceFile(file, bytes);
  return {modelArtifactsInfo: tf.io.getModelArtifactsInfoForJSON(artifacts)};
}
