import * as tf from '@tensorflow/tfjs';
import {LoRAError, show, showShape} from '../errors';
import {checkModel, sitesOf} from '../rewire/walk';
import {type Decoding, whileDecoding} from '../transformers/decoding';
import {Attention} from '../transformers/layers/attention';

/** A language model in two parts, so that scores are made of the places alone that are asked for. */
export interface LanguageParts {
  /** `[tokens, mask]` → states `[batch, places, width]`. */
  readonly states: (inputs: [ids: tf.Tensor2D, mask: tf.Tensor2D]) => tf.Tensor3D;
  /** States → scores `[batch, places, words]`. */
  readonly scores: (states: tf.Tensor3D) => tf.Tensor3D;
  /** How many words there are. */
  readonly words: number;
}

/** @throws LoRAError if it is no model that takes tokens and a mask, and gives a score for each word at each place. */
export function languageParts(model: tf.LayersModel): LanguageParts {
  checkModel(model);
  const [output, ...others] = model.outputs;
  const [ids, mask, ...more] = model.inputs;
  const isLanguage =
    output?.shape.length === 3 && others.length === 0 && mask?.shape.length === 2 && ids?.shape.length === 2;
  const words = output?.shape[2];
  if (!isLanguage || more.length > 0 || words == null) {
    throw new LoRAError(
      'A language model is needed, which takes tokens and a mask and gives scores [batch, places, words], such as ' +
        'loadGGUF and loadTransformer give; this model gives ' +
        `${model.outputs.map(({shape}) => showShape(shape)).join(', ')}.`,
    );
  }
  const {sourceLayer: head, inputs} = output;
  const body = tf.model({inputs: model.inputs, outputs: inputs});
  return {
    states: given => body.apply(given) as tf.Tensor3D,
    scores: states => head.apply(states) as tf.Tensor3D,
    words,
  };
}

/** @throws LoRAError if a tokenizer gives numbers that a model of so many words does not have. */
export function checkTokens(ids: readonly number[], words: number): void {
  const wrong = ids.find(id => !Number.isInteger(id) || id < 0 || id >= words);
  if (wrong !== undefined) {
    throw new LoRAError(
      `The tokenizer does not fit the model: it gives the number ${show(wrong)}, and there are ${words} words.`,
    );
  }
}

/** Writing texts with a model, of which each pass computes the new places alone. All end at the same place. */
export class WritingSession implements Decoding {
  private readonly parts: LanguageParts;
  private readonly kept = new Map<tf.layers.Layer, [tf.Tensor3D, tf.Tensor3D]>();
  /** Of each text all tokens so far, padding in front. */
  private readonly rows: number[][];
  /** How much padding each text has. */
  private readonly padding: readonly number[];
  /** From how many places on angles are others, so that what was kept no longer serves. */
  private readonly longer: number;
  places!: tf.Tensor2D;
  private done = 0;

  /** @param texts the tokens that each text begins with, at least one. */
  constructor(model: tf.LayersModel, texts: readonly (readonly number[])[]) {
    this.parts = languageParts(model);
    const longest = Math.max(...texts.map(({length}) => length));
    this.padding = texts.map(({length}) => longest - length);
    this.rows = texts.map((text, i) => [...new Array<number>(this.padding[i] as number).fill(0), ...text]);
    const attentions = sitesOf(model).flatMap(({layer}) => (layer instanceof Attention ? [layer] : []));
    this.longer = Math.min(...attentions.map(({longerFrom}) => longerFrom));
    texts.forEach(ids => {
      checkTokens(ids, this.parts.words);
    });
  }

  get total(): number {
    return this.rows[0]?.length ?? 0;
  }

  pastOf(layer: tf.layers.Layer): readonly [tf.Tensor3D, tf.Tensor3D] | undefined {
    return this.kept.get(layer);
  }

  keep(layer: tf.layers.Layer, keys: tf.Tensor3D, values: tf.Tensor3D): void {
    tf.dispose(this.kept.get(layer));
    this.kept.set(layer, [tf.keep(tf.clone(keys)), tf.keep(tf.clone(values))]);
  }

  /** Goes on with a token for each text. */
  add(tokens: readonly number[]): void {
    this.rows.forEach((row, i) => row.push(tokens[i] as number));
  }

  /** The scores of all words for the next token of each text. */
  async scores(): Promise<Float32Array[]> {
    if (this.done > 0 && this.done <= this.longer && this.total > this.longer) {
      this.forget();
    }
    const scores = tf.tidy(() => {
      const {rows, padding, done: from, total, parts} = this;
      const tensor = (numberAt: (row: number[], place: number, pad: number) => number, first: number) =>
        tf.tensor2d(
          rows.flatMap((row, i) => row.slice(first).map((_, j) => numberAt(row, first + j, padding[i] as number))),
          [rows.length, total - first],
          'int32',
        );
      const ids = tensor((row, place) => row[place] as number, from);
      const mask = tensor((_, place, pad) => (place < pad ? 0 : 1), 0);
      this.places = tensor((_, place, pad) => Math.max(0, place - pad), from);
      return whileDecoding(this, () => {
        const states = parts.states([ids, mask]);
        const [batch, count, width] = states.shape;
        return parts.scores(tf.slice3d(states, [0, count - 1, 0], [batch, 1, width]));
      });
    });
    this.done = this.total;
    const values = await scores.data<'float32'>();
    scores.dispose();
    const {words} = this.parts;
    return this.rows.map((_, i) => values.slice(i * words, (i + 1) * words));
  }

  private forget(): void {
    tf.dispose([...this.kept.values()].flat());
    this.kept.clear();
    this.done = 0;
  }

  dispose(): void {
    this.forget();
  }
}
