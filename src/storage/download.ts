import * as tf from '@tensorflow/tfjs';

/** Browsers read what is downloaded some time after the click. */
const KEPT = 60_000;

/**
 * Lets the visitor of a page download a safetensors file as one file of that name, where the handler of tfjs makes a
 * JSON and weights of it.
 *
 * @param name the name of the file, with its extension.
 */
export function downloadHandler(name: string): tf.io.IOHandler {
  return {
    save(artifacts) {
      const bytes = tf.io.CompositeArrayBuffer.join(artifacts.weightData);
      const url = URL.createObjectURL(new Blob([bytes], {type: 'application/octet-stream'}));
      const anchor = document.createElement('a');
      anchor.download = name;
      anchor.href = url;
      anchor.click();
      setTimeout(() => URL.revokeObjectURL(url), KEPT);
      return Promise.resolve({modelArtifactsInfo: tf.io.getModelArtifactsInfoForJSON(artifacts)});
    },
  };
}
