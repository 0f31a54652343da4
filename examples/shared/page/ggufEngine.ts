import * as tf from '@tensorflow/tfjs';
import {applyLoRA, disposeModel, exportPEFT, loadAdapter} from 'tfjs-lora';
import {exportGGUF, type LoadedGGUF, loadGGUF} from 'tfjs-lora/language';
import {startWasm} from '../wasm';
import {AdapterEngine} from './engine';
import type {Size} from './results';

/** No adapter of such a model is nearly as large. */
const MAX_BYTES = 2 ** 27;

/** How much of a model is loaded. */
export interface LoadingNews {
  kind: 'loading';
  done: number;
  total: number;
}

/**
 * A language model of a GGUF file and its adapter. A method that fails gives a message for the visitor, and has changed
 * nothing.
 */
export abstract class GGUFEngine<News> extends AdapterEngine<News | LoadingNews> {
  private base: LoadedGGUF | undefined;
  protected stopping = new AbortController();

  /**
   * Loads the model from its file or a URL. A file may stay on the disk. Forgets the adapter of another model.
   *
   * @returns its size in memory.
   */
  async start(source: string | Blob, isStreamed = false): Promise<{bytes: number}> {
    const former = this.base?.model;
    if (former === undefined) {
      await startWasm();
    }
    this.base = await loadGGUF(source, {
      ...{gradientCheckpointing: true, weights: isStreamed ? 'streamed' : 'memory'},
      onProgress: ({done, total}) => this.tell({kind: 'loading', done, total}),
    });
    await this.forget();
    if (former !== undefined) {
      disposeModel(former);
    }
    return {bytes: tf.memory().numBytes};
  }

  /** Ends training, or text generation. */
  override stop(): Promise<void> {
    this.stopping.abort();
    return super.stop();
  }

  /** The two files of PEFT. */
  async peft(): Promise<{config: Blob; weights: Blob}> {
    return this.learning.withAdapter(async (adapter, model) => {
      const {config, weights} = await exportPEFT(model, {adapter});
      return {config: new Blob([JSON.stringify(config, null, 2)]), weights: new Blob([weights])};
    });
  }

  /** The file for llama.cpp. */
  async gguf(): Promise<Blob> {
    return this.learning.withAdapter(async (_, model) => new Blob([await exportGGUF(model)]));
  }

  /** Opens the adapter in a file of `file`. */
  async open(file: Blob): Promise<Size> {
    if (file.size > MAX_BYTES) {
      throw new Error(`The file has ${(file.size / 1e6).toFixed(0)} MB, more than any adapter of this model.`);
    }
    const adapter = await loadAdapter(new Uint8Array(await file.arrayBuffer()));
    try {
      return await this.takeOn(applyLoRA(this.loaded().model, adapter));
    } finally {
      adapter.dispose();
    }
  }

  /** Replaces the adapted model. */
  protected takeOn(model: tf.LayersModel): Promise<Size> {
    return this.learning.takeOn(model);
  }

  /** The adapted model, or the base. */
  protected answering(learned: boolean): tf.LayersModel {
    return (learned ? this.learning.model : undefined) ?? this.loaded().model;
  }

  /** Collects pieces of text. Returns what there was until the visitor stopped it. */
  protected async written(
    pieces: () => AsyncIterable<string>,
    onPiece: (piece: string) => void = () => undefined,
  ): Promise<string> {
    let all = '';
    const {signal} = this.stopping;
    try {
      for await (const piece of pieces()) {
        all += piece;
        onPiece(piece);
      }
    } catch (error) {
      if (!signal.aborted) {
        throw error;
      }
    }
    return all;
  }

  protected loaded(): LoadedGGUF {
    if (this.base === undefined) {
      throw new Error('The model is not loaded yet.');
    }
    return this.base;
  }
}
