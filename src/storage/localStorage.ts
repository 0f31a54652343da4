import * as tf from '@tensorflow/tfjs';
import {absence, LoRAError, messageOf} from '../errors';
import {bytesOfBase64} from '../formats/base64';
import {checksumOf} from '../formats/checksum';

/**
 * What the entries of one model are called behind its path. Names and contents are those of tfjs, so that it finds what
 * is saved here.
 */
const PARTS = ['weight_data', 'weight_specs', 'model_topology', 'model_metadata', 'info'] as const;
type Part = (typeof PARTS)[number];

/**
 * What tfjs keeps in `model_metadata`. The checksum is ours: it binds entries that a tab might be closed in the midst
 * of writing.
 */
interface Metadata extends tf.io.ModelArtifacts {
  checksum?: string;
}

/**
 * Saves to the local storage of a page and loads from there, where tfjs does. A save that fails puts back what was
 * there before, where the handler of tfjs removes it.
 *
 * @param path the name of the entry, as behind `localstorage://`.
 */
export function localStorageHandler(path: string): tf.io.IOHandler {
  const keyOf = (part: Part) => `tensorflowjs_models/${path}/${part}`;
  return {
    save(artifacts) {
      const {modelTopology, weightSpecs, weightData, ...metadata} = artifacts;
      const modelArtifactsInfo = tf.io.getModelArtifactsInfoForJSON(artifacts);
      const texts = {
        weight_data: toBase64(new Uint8Array(tf.io.CompositeArrayBuffer.join(weightData))),
        weight_specs: JSON.stringify(weightSpecs),
        model_topology: JSON.stringify(modelTopology),
      };
      const entries: Record<Part, string> = {
        ...texts,
        model_metadata: JSON.stringify({...metadata, checksum: checksumOf(Object.values(texts).join('\n'))}),
        info: JSON.stringify(modelArtifactsInfo),
      };
      const before = PARTS.map(part => localStorage.getItem(keyOf(part)));
      try {
        PARTS.forEach(part => localStorage.setItem(keyOf(part), entries[part]));
      } catch (error) {
        // First all that is new goes: what was there before may not fit beside it.
        PARTS.forEach(part => localStorage.removeItem(keyOf(part)));
        PARTS.forEach((part, i) => before[i] != null && localStorage.setItem(keyOf(part), before[i]));
        const bytes = Object.values(entries).reduce((sum, text) => sum + text.length, 0);
        throw new LoRAError(
          `Cannot save "${path}" to local storage: ${messageOf(error)} It takes ${bytes.toLocaleString('en')} ` +
            'characters, and a page has some 5 million in all; indexeddb:// has room for more. ' +
            (before.every(text => text === null) ? 'Nothing was saved.' : 'What was there before is still there.'),
          {cause: error},
        );
      }
      return Promise.resolve({modelArtifactsInfo});
    },
    load() {
      const [data, specs, topology, metadataText] = PARTS.map(part => localStorage.getItem(keyOf(part)));
      if (data == null || specs == null || topology == null) {
        throw absence(`There is no "${path}" in local storage. tf.io.listModels() says what there is.`);
      }
      const {checksum, ...metadata} = parse<Metadata>(path, metadataText ?? '{}');
      if (checksum !== undefined && checksum !== checksumOf([data, specs, topology].join('\n'))) {
        throw damaged(path, 'its parts are of two saves');
      }
      return Promise.resolve({
        ...metadata,
        modelTopology: parse<object>(path, topology),
        weightSpecs: parse<tf.io.WeightsManifestEntry[]>(path, specs),
        weightData: fromBase64(path, data),
      });
    },
  };
}

function damaged(path: string, what: string): LoRAError {
  return new LoRAError(`"${path}" in local storage is damaged: ${what}. Save it again.`);
}

function parse<T>(path: string, text: string): T {
  try {
    return JSON.parse(text) as T;
  } catch (error) {
    throw damaged(path, messageOf(error));
  }
}

function toBase64(bytes: Uint8Array): string {
  let text = '';
  for (let i = 0; i < bytes.length; i += 0x8000) {
    text += String.fromCharCode(...bytes.subarray(i, i + 0x8000));
  }
  return btoa(text);
}

function fromBase64(path: string, text: string): ArrayBuffer {
  try {
    return bytesOfBase64(text).buffer;
  } catch {
    throw damaged(path, 'its weights are not in base 64');
  }
}
