import type * as tf from '@tensorflow/tfjs';
import {LoRAError} from '../../../platform/errors';
import type {JSONObject} from './hubFolder';
import type {ChatTemplate} from './peers';
import type {Tokenizer} from './tokenizer';

/** A transformer of the hub. */
export interface LoadedTransformer<T = Tokenizer> {
  /** The model, with the weights of the files. */
  model: tf.LayersModel;
  /**
   * The tokenizer, with the chat template of the model, if it has one. If it cannot be loaded, reading this property
   * throws a `LoRAError` that says what is missing: a file, or the package `@huggingface/tokenizers`.
   */
  readonly tokenizer: T & {readonly chatTemplate?: ChatTemplate};
  /** The content of `config.json` for the loaded class, with its labels. */
  config: JSONObject;
}

/** The result of a promise, or the error with which it was rejected. */
export async function attempted<T>(f: () => Promise<T>): Promise<T | LoRAError> {
  try {
    return await f();
  } catch (error) {
    if (error instanceof LoRAError && error.code !== 'ERR_ABORTED') {
      return error;
    }
    throw error;
  }
}

/** A loaded model with its tokenizer, or with the error that says why it has none, thrown when it is read. */
export function withTokenizer<T>(
  loaded: Omit<LoadedTransformer<T>, 'tokenizer'>,
  tokenizer: LoadedTransformer<T>['tokenizer'] | LoRAError,
): LoadedTransformer<T> {
  if (!(tokenizer instanceof LoRAError)) {
    return {...loaded, tokenizer};
  }
  // Not enumerable, so that copies and logs do not read it.
  return Object.defineProperty(loaded, 'tokenizer', {
    get: () => {
      throw tokenizer;
    },
  }) as LoadedTransformer<T>;
}
