import type * as tf from '@tensorflow/tfjs';
import {type Adapter, disposeModel, getAdapter, loadAdapter, toSafetensors, trainableVariables} from 'tfjs-lora';

/** The adapted model of a page, if there is one. */
export class Learning {
  private adapted: tf.LayersModel | undefined;

  /** The adapted model, if there is one. */
  get model(): tf.LayersModel | undefined {
    return this.adapted;
  }

  /** The adapted model. @throws Error for the visitor if there is none. */
  get learned(): tf.LayersModel {
    if (this.adapted === undefined) {
      throw new Error('Nothing has been learned yet.');
    }
    return this.adapted;
  }

  /** Replaces the adapted model. Returns the parameters of its adapter, and the bytes of its file. */
  async takeOn(model: tf.LayersModel): Promise<{parameters: number; bytes: number}> {
    this.forget();
    this.adapted = model;
    const parameters = trainableVariables(model).reduce((sum, variable) => sum + variable.size, 0);
    const {size: bytes} = await this.file();
    return {parameters, bytes};
  }

  forget(): void {
    if (this.adapted !== undefined) {
      disposeModel(this.adapted);
    }
    this.adapted = undefined;
  }

  /** Does something with the adapter, and frees it. */
  async withAdapter<T>(f: (adapter: Adapter, model: tf.LayersModel) => Promise<T>): Promise<T> {
    const model = this.learned;
    const adapter = getAdapter(model);
    try {
      return await f(adapter, model);
    } finally {
      adapter.dispose();
    }
  }

  /** The adapter as a safetensors file. */
  file(): Promise<Blob> {
    return this.withAdapter(async adapter => new Blob([await toSafetensors(adapter)]));
  }
}

/**
 * Does something with the adapter in a file that a visitor chose, and frees it.
 *
 * @throws Error for the visitor, which names the file, if it is too large, no adapter, or cannot be used.
 */
export async function withAdapterIn<T>(file: File, mostBytes: number, f: (adapter: Adapter) => Promise<T>): Promise<T> {
  if (file.size > mostBytes) {
    throw new Error(`${file.name}: too large for an adapter of this model.`);
  }
  try {
    const adapter = await loadAdapter(new Uint8Array(await file.arrayBuffer()));
    try {
      return await f(adapter);
    } finally {
      adapter.dispose();
    }
  } catch (error) {
    throw new Error(`${file.name}: ${(error as Error).message}`, {cause: error});
  }
}
