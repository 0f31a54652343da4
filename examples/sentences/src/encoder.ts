import * as tf from '@tensorflow/tfjs';
import {Tokenizer} from '@huggingface/tokenizers';
import {
  adam,
  type Adapter,
  applyLoRA,
  compileModel,
  disposeModel,
  learningRateSchedule,
  loadAdapter,
  type LoRAConfig,
} from 'tfjs-lora';
import {embed, encodeTexts, loadTransformer} from 'tfjs-lora/transformers';
import {counted} from '../../shared/counted';
import {AdapterEngine} from '../../shared/page/engine';
import {fetched} from '../../shared/page/fetched';
import type {Size} from '../../shared/page/results';
import {startWasm} from '../../shared/wasm';
import {inPlane} from './plane';

/** A sentence and the name of the group that it belongs to. */
export interface Labelled {
  text: string;
  group: string;
}

/** Where sentences are. */
export interface Places {
  /** In a plane, each coordinate from −1 to 1. */
  points: [x: number, y: number][];
  /** The cosine of the angle between each two. */
  cosines: number[][];
}

interface Learned extends Size {
  seconds: number;
  isStopped: boolean;
}

/** News: how far the encoder is loaded, or a step of training. */
export type News =
  {kind: 'loading'; done: number; total: number} | {kind: 'step'; step: number; steps: number; loss: number};

/** The layer that classifies the groups. It trains in full, and the map does not need it. */
const HEAD = 'groups';
/** Queries, values and both feed-forward layers; the head has the groups for outputs. */
const LORA: LoRAConfig = {
  rank: 4,
  seed: 1,
  targets: [/attention\/self\/(query|value)$/, /(intermediate|output)\/dense$/],
  trainInFull: [HEAD],
};
/** No adapter of this encoder is nearly as large. */
const MAX_BYTES = 2 ** 26;
/** Longer sentences are truncated, in tokens. */
const PLACES = 48;
const BATCH = 8;

/** The encoder and its adapter. A method that fails gives a message for the visitor, and has changed nothing. */
export class SentenceEngine extends AdapterEngine<News> {
  private body: tf.LayersModel | undefined;
  private tokenizer: Tokenizer | undefined;

  /** Loads the encoder from the files under a URL. */
  async start(url: string): Promise<{parameters: number}> {
    await startWasm();
    const json = async (file: string) => (await fetched(`${url}/${file}`)).json() as Promise<Record<string, unknown>>;
    const [config, tokenizer, tokenizerConfig] = await Promise.all(
      ['config.json', 'tokenizer.json', 'tokenizer_config.json'].map(json),
    );
    this.tokenizer = new Tokenizer(tokenizer!, tokenizerConfig!);
    const file = await fetched(`${url}/model.safetensors`);
    const weights = counted(file, (done, total) => this.tell({kind: 'loading', done, total}));
    this.body = (await loadTransformer({config: config!, weights: await weights.blob(), pooling: 'mean'})).model;
    return {parameters: this.body.countParams()};
  }

  /** Places sentences, with or without the adapter. */
  async place(texts: readonly string[], learned: boolean): Promise<Places> {
    const {body, tokenizer} = this.loaded();
    const adapted = learned ? this.learning.model : undefined;
    const model = adapted === undefined ? body : this.adaptedBody(adapted);
    const vectors = await embed(model, tokenizer, texts, {maxLength: PLACES});
    const values = await vectors.array();
    vectors.dispose();
    const rows = values.map(row => Float32Array.from(row));
    const cosines = rows.map(one => rows.map(other => one.reduce((sum, value, i) => sum + value * other[i]!, 0)));
    return {points: inPlane(rows), cosines};
  }

  /** Trains a new adapter on sentences and their groups. */
  async learn(examples: readonly Labelled[], epochs: number): Promise<Learned> {
    const {tokenizer} = this.loaded();
    const groups = [...new Set(examples.map(({group}) => group))];
    if (groups.length < 2) {
      throw new Error('Put sentences into at least two groups.');
    }
    const model = this.withHead(groups.length, classifier => applyLoRA(classifier, LORA));
    compileModel(model, {optimizer: adam({learningRate: 3e-3})});
    this.isStopped = false;
    const begin = performance.now();
    const texts = examples.map(({text}) => text);
    const {inputs, tokenTypeIds} = encodeTexts(model, tokenizer, texts, {maxLength: PLACES});
    const labels = tf.tensor1d(examples.map(({group}) => groups.indexOf(group)));
    const steps = epochs * Math.ceil(examples.length / BATCH);
    let step = 0;
    try {
      await model.fit(inputs, labels, {
        epochs,
        batchSize: BATCH,
        shuffle: false, // the same sentences give the same result
        verbose: 0,
        yieldEvery: 'never',
        callbacks: [
          learningRateSchedule({warmup: 0.1}),
          new tf.CustomCallback({
            onBatchEnd: (_, logs) => {
              this.tell({kind: 'step', step: ++step, steps, loss: Number(logs?.loss)});
              model.stopTraining = this.isStopped;
            },
          }),
        ],
      });
    } catch (error) {
      disposeModel(model);
      throw error;
    } finally {
      tf.dispose([inputs, tokenTypeIds, labels]);
    }
    const seconds = (performance.now() - begin) / 1000;
    return {...(await this.learning.takeOn(model)), seconds, isStopped: this.isStopped};
  }

  /** Opens the adapter in a file of `file`, or in the two files of an adapter that PEFT saved. */
  async open(files: readonly File[]): Promise<Size> {
    const {body} = this.loaded();
    const names = files.map(({name}) => name).join(' and ');
    if (files.reduce((sum, {size}) => sum + size, 0) > MAX_BYTES) {
      throw new Error(`${names}: too large for an adapter of this encoder.`);
    }
    let adapter: Adapter | undefined;
    try {
      adapter =
        files.length === 1
          ? await loadAdapter(new Uint8Array(await files[0]!.arrayBuffer()))
          : await loadAdapter([...files], {model: body});
      const read = adapter;
      const units = read.tensors[`${HEAD}/bias`]?.size;
      const adapted = units === undefined ? applyLoRA(body, read) : this.withHead(units, base => applyLoRA(base, read));
      return await this.learning.takeOn(adapted);
    } catch (error) {
      throw new Error(`${names}: ${(error as Error).message}`, {cause: error});
    } finally {
      adapter?.dispose();
    }
  }

  /** Puts an untrained head on the encoder and adapts that. The encoder stays as it is. */
  private withHead(units: number, adapt: (classifier: tf.LayersModel) => tf.LayersModel): tf.LayersModel {
    const {body} = this.loaded();
    const kernelInitializer = tf.initializers.randomNormal({stddev: 0.02, seed: 1});
    const head = tf.layers.dense({name: HEAD, units, kernelInitializer});
    try {
      return adapt(tf.model({inputs: body.inputs, outputs: head.apply(body.outputs[0]!) as tf.SymbolicTensor}));
    } finally {
      head.dispose(); // the adapted model has its own
    }
  }

  /** The adapted encoder without its head. It has the adapted model's layers. */
  private adaptedBody(adapted: tf.LayersModel): tf.LayersModel {
    return tf.model({inputs: adapted.inputs, outputs: adapted.getLayer('pooling').output});
  }

  private loaded(): {body: tf.LayersModel; tokenizer: Tokenizer} {
    if (this.body === undefined || this.tokenizer === undefined) {
      throw new Error('The encoder is not loaded.');
    }
    return {body: this.body, tokenizer: this.tokenizer};
  }
}
