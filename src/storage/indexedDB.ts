import * as tf from '@tensorflow/tfjs';
import {absence, LoRAError, messageOf} from '../errors';

// The database, its stores and its entries are those of tfjs, so that `tf.io.listModels`, `tf.io.removeModel` and the
// handler of tfjs find what is saved here. That one saves in two transactions and takes a save for done before they
// are: one that fails may then be told as a success, leave half of an entry, or never settle.
const DATABASE = 'tensorflowjs';
const VERSION = 1;
const MODELS = 'models_store';
const INFOS = 'model_info_store';

interface Entry {
  modelPath: string;
  modelArtifacts: tf.io.ModelArtifacts;
  modelArtifactsInfo: tf.io.ModelArtifactsInfo;
}

/**
 * Saves to IndexedDB and loads from there, where tfjs does. A save is one transaction, which replaces all of an earlier
 * entry or nothing, and is over when the browser has completed it.
 *
 * @param path the name of the entry, as behind `indexeddb://`.
 */
export function indexedDBHandler(path: string): tf.io.IOHandler {
  return {
    async save(artifacts) {
      const weightData = tf.io.CompositeArrayBuffer.join(artifacts.weightData);
      const modelArtifacts = {...artifacts, weightData};
      const modelArtifactsInfo = tf.io.getModelArtifactsInfoForJSON(modelArtifacts);
      const entry: Entry = {modelPath: path, modelArtifacts, modelArtifactsInfo};
      try {
        await transact('readwrite', transaction => {
          transaction.objectStore(INFOS).put({modelPath: path, modelArtifactsInfo});
          return transaction.objectStore(MODELS).put(entry);
        });
      } catch (error) {
        throw new LoRAError(
          `Cannot save "${path}" to IndexedDB: ${messageOf(error)} What was there before is still there.`,
          {cause: error},
        );
      }
      return {modelArtifactsInfo};
    },
    async load() {
      let entry: Entry | undefined;
      try {
        entry = (await transact('readonly', transaction => transaction.objectStore(MODELS).get(path))) as typeof entry;
      } catch (error) {
        throw new LoRAError(`Cannot load "${path}" from IndexedDB: ${messageOf(error)}`, {cause: error});
      }
      if (entry === undefined) {
        throw absence(`There is no "${path}" in IndexedDB. tf.io.listModels() says what there is.`);
      }
      return entry.modelArtifacts;
    },
  };
}

/** Runs `work` in a transaction, and gives what its request gave when the transaction is complete. */
async function transact(mode: IDBTransactionMode, work: (transaction: IDBTransaction) => IDBRequest): Promise<unknown> {
  const database = await openDatabase();
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

function openDatabase(): Promise<IDBDatabase> {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(DATABASE, VERSION);
    request.onupgradeneeded = () => {
      request.result.createObjectStore(MODELS, {keyPath: 'modelPath'});
      request.result.createObjectStore(INFOS, {keyPath: 'modelPath'});
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error('The database cannot be opened.'));
  });
}
