import * as tf from '@tensorflow/tfjs';
import {damagedError, ioError, LoRAError, messageOf, notFoundError, unsupportedError} from '../../platform/errors';
import {base64Of, bytesOfBase64} from '../../platform/formats/base64';
import {checksumOf} from '../../platform/formats/checksum';
import {openDatabase} from './openDatabase';
import {joinedWeights} from './weightBytes';

/** Browsers read what is downloaded some time after the click. */
const KEPT = 60_000;

/**
 * Downloads a safetensors file as one file of that name. The handler of tfjs would make a JSON and a file of weights of
 * it.
 *
 * @param name the name of the file, with its extension.
 */
export function downloadHandler(name: string): tf.io.IOHandler {
  return {
    save(artifacts) {
      const bytes = joinedWeights(artifacts.weightData);
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

// The database, its stores and its entries are those of tfjs, so that `tf.io.listModels`, `tf.io.removeModel` and the
// handler of tfjs find what is saved here. That one saves in two transactions and does not wait for their end: a save
// that fails may be reported as a success, leave half of an entry, or never settle.
const DATABASE = 'tensorflowjs';
const MODELS = 'models_store';
const INFOS = 'model_info_store';

interface StoredModel {
  modelPath: string;
  modelArtifacts: tf.io.ModelArtifacts;
  modelArtifactsInfo: tf.io.ModelArtifactsInfo;
}

/**
 * Saves to IndexedDB and loads from there, where tfjs does. A save is one transaction, which replaces all of an earlier
 * entry or nothing, and is over when the browser has completed it.
 *
 * @param path the name of the entry, as in `indexeddb://name`.
 */
export function indexedDBHandler(path: string): tf.io.IOHandler {
  return {
    async save(artifacts) {
      checkName(path);
      const weightData = joinedWeights(artifacts.weightData).buffer;
      const modelArtifacts = {...artifacts, weightData};
      const modelArtifactsInfo = tf.io.getModelArtifactsInfoForJSON(modelArtifacts);
      const entry: StoredModel = {modelPath: path, modelArtifacts, modelArtifactsInfo};
      try {
        await transact('readwrite', transaction => {
          transaction.objectStore(INFOS).put({modelPath: path, modelArtifactsInfo});
          return transaction.objectStore(MODELS).put(entry);
        });
      } catch (error) {
        throw ioError(`Cannot save "${path}" to IndexedDB: ${messageOf(error)} What was there before is still there.`, {
          cause: error,
        });
      }
      return {modelArtifactsInfo};
    },
    async load() {
      let entry: StoredModel | undefined;
      try {
        entry = (await transact('readonly', transaction => transaction.objectStore(MODELS).get(path))) as typeof entry;
      } catch (error) {
        throw ioError(`Cannot load "${path}" from IndexedDB: ${messageOf(error)}`, {cause: error});
      }
      if (entry === undefined) {
        throw notFoundError(`There is no "${path}" in IndexedDB. tf.io.listModels() lists what is stored.`);
      }
      return entry.modelArtifacts;
    },
  };
}

/** Runs `work` in a transaction, and gives what its request gave when the transaction is complete. */
async function transact(mode: IDBTransactionMode, work: (transaction: IDBTransaction) => IDBRequest): Promise<unknown> {
  const database = await openDatabase(DATABASE, created => {
    [MODELS, INFOS].forEach(store => created.createObjectStore(store, {keyPath: 'modelPath'}));
  });
  try {
    return await new Promise<unknown>((resolve, reject) => {
      const transaction = database.transaction([MODELS, INFOS], mode);
      let request: IDBRequest | undefined;
      // A request that fails aborts the transaction.
      transaction.onabort = () => reject(transaction.error ?? new Error('The transaction was aborted.'));
      transaction.oncomplete = () => resolve(request?.result);
      try {
        request = work(transaction);
      } catch (error) {
        transaction.abort();
        throw error;
      }
    });
  } finally {
    database.close();
  }
}

/** The entries of one model, behind its path, by tfjs's names and contents, so that tfjs finds what is saved here. */
const PARTS = ['weight_data', 'weight_specs', 'model_topology', 'model_metadata', 'info'] as const;
type Part = (typeof PARTS)[number];

/** tfjs's `model_metadata`, and our checksum, which shows entries of two saves, as when a tab is closed. */
interface Metadata extends tf.io.ModelArtifacts {
  checksum?: string;
}

/**
 * Saves to the local storage of a page and loads from there, where tfjs does. A save that fails puts back what was
 * there before, where the handler of tfjs removes it.
 *
 * @param path the name of the entry, as in `localstorage://name`.
 */
export function localStorageHandler(path: string): tf.io.IOHandler {
  const keyOf = (field: Part) => `tensorflowjs_models/${path}/${field}`;
  return {
    save(artifacts) {
      checkName(path);
      const localStorage = storageOfPage();
      const {modelTopology, weightSpecs, weightData, ...metadata} = artifacts;
      const modelArtifactsInfo = tf.io.getModelArtifactsInfoForJSON(artifacts);
      const texts = {
        weight_data: base64Of(joinedWeights(weightData)),
        weight_specs: JSON.stringify(weightSpecs),
        model_topology: JSON.stringify(modelTopology),
      };
      const entries: Record<Part, string> = {
        ...texts,
        model_metadata: JSON.stringify({...metadata, checksum: checksumOf(Object.values(texts).join('\n'))}),
        info: JSON.stringify(modelArtifactsInfo),
      };
      const before = PARTS.map(field => localStorage.getItem(keyOf(field)));
      try {
        PARTS.forEach(field => localStorage.setItem(keyOf(field), entries[field]));
      } catch (error) {
        // New entries are removed first, because the earlier ones may not fit in addition.
        PARTS.forEach(field => localStorage.removeItem(keyOf(field)));
        PARTS.forEach((field, i) => before[i] != null && localStorage.setItem(keyOf(field), before[i]));
        const bytes = Object.values(entries).reduce((sum, text) => sum + text.length, 0);
        throw ioError(
          `Cannot save "${path}" to local storage: ${messageOf(error)} It takes ${bytes.toLocaleString('en')} ` +
            'characters, and a page has some 5 million in all; indexeddb:// has room for more. ' +
            (before.every(text => text === null) ? 'Nothing was saved.' : 'What was there before is still there.'),
          {cause: error},
        );
      }
      return Promise.resolve({modelArtifactsInfo});
    },
    load() {
      const localStorage = storageOfPage();
      const [data, specs, topology, metadataText] = PARTS.map(field => localStorage.getItem(keyOf(field)));
      if (data == null || specs == null || topology == null) {
        throw notFoundError(`There is no "${path}" in local storage. tf.io.listModels() lists what is stored.`);
      }
      const {checksum, ...metadata} = parse<Metadata>(path, metadataText ?? '{}');
      if (checksum !== undefined && checksum !== checksumOf([data, specs, topology].join('\n'))) {
        throw damaged(path, 'its parts come from two saves');
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

/** @throws LoRAError if tfjs would not list an entry of this name. */
function checkName(path: string): void {
  if (path === '__proto__') {
    throw new LoRAError(`"${path}" cannot be saved: tf.io.listModels() would not list it. Choose another name.`);
  }
}

/** @throws LoRAError if the page has no local storage: in some web views it is null. */
function storageOfPage(): Storage {
  const {localStorage: storage} = globalThis as {localStorage?: Storage | null};
  if (storage == null) {
    throw unsupportedError('This page has no local storage. Use indexeddb:// instead.');
  }
  return storage;
}

function damaged(path: string, what: string): LoRAError {
  return damagedError(`"${path}" in local storage is damaged: ${what}. Save it again.`);
}

function parse<T>(path: string, text: string): T {
  try {
    return JSON.parse(text) as T;
  } catch (error) {
    throw damaged(path, messageOf(error));
  }
}

function fromBase64(path: string, text: string): ArrayBuffer {
  try {
    return bytesOfBase64(text).buffer;
  } catch {
    throw damaged(path, 'its weights are not in base 64');
  }
}
