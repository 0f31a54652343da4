import * as tf from '@tensorflow/tfjs';
import {misfitError, show, showShape, tooLargeError} from '../../platform/errors';
import {PerBackend} from '../../backends/shared/capabilities';
import {checkModel, sitesOf} from '../../core/rewire/walk';
import {bringHere} from '../../platform/tfjs/move';
import {type Decoding, whileDecoding} from '../transformers/layers/decoding';
import {PositionEmbedding} from '../transformers/layers/addedEmbeddings';
import {Attention} from '../transformers/layers/attention';

/** A language model in two parts, so that scores are made of the places alone that are asked for. */
export interface LanguageParts {
  /** `[tokens, mask]` → states `[batch, places, width]`. */
  readonly states: (inputs: [ids: tf.Tensor2D, mask: tf.Tensor2D]) => tf.Tensor3D;
  /** States → scores `[batch, places, words]`. */
  readonly scores: (states: tf.Tensor3D) => tf.Tensor3D;
  /** How many words there are. */
  readonly words: number;
  /** How many places a text may have. */
  readonly room: number;
}

/**
 * @throws LoRAError if it is no model that takes tokens and a mask, and gives a score for each word at each place, or
 *     one that sees what follows.
 */
export function languageParts(model: tf.LayersModel): LanguageParts {
  checkModel(model);
  const [output, ...others] = model.outputs;
  const [ids, mask, ...more] = model.inputs;
  const isLanguage =
    output?.shape.length === 3 && others.length === 0 && mask?.shape.length === 2 && ids?.shape.length === 2;
  const words = output?.shape[2];
  if (!isLanguage || more.length > 0 || words == null) {
    throw misfitError(
      'A language model is needed, which takes tokens and a mask and gives scores [batch, places, words], such as ' +
        'loadGGUF and loadTransformer give; this model gives ' +
        `${model.outputs.map(({shape}) => showShape(shape)).join(', ')}.`,
    );
  }
  const layers = sitesOf(model).map(({layer}) => layer);
  const seer = layers.find(layer => layer instanceof Attention && !layer.causal);
  if (seer !== undefined) {
    throw misfitError(
      `A language model is needed that tells each token from those before. In this one "${seer.name}" sees those that ` +
        'follow too, as in BERT or a bidirectional Gemma 3.',
    );
  }
  const {sourceLayer: head, inputs} = output;
  const body = tf.model({inputs: model.inputs, outputs: inputs});
  return {
    states: given => body.apply(given) as tf.Tensor3D,
    scores: states => head.apply(states) as tf.Tensor3D,
    words,
    room: Math.min(...layers.map(layer => (layer instanceof PositionEmbedding ? layer.places : Infinity))),
  };
}

/** @throws LoRAError if a tokenizer gives numbers that a model of so many words does not have. */
export function checkTokens(ids: readonly number[], words: number): void {
  const wrong = ids.find(id => !Number.isInteger(id) || id < 0 || id >= words);
  if (wrong !== undefined) {
    throw misfitError(
      `The tokenizer does not fit the model: it gives the number ${show(wrong)}, and there are ${words} words.`,
    );
  }
}

/**
 * Of how many places the number that is kept is a multiple, where a backend compiles a program for each shape. Without
 * it each token would have shapes of its own. Default: any number.
 */
const placesAtOnce = new PerBackend<number>();
placesAtOnce.supply('webgl', () => 64);

/** Writing texts with a model, of which each pass computes the new places alone. All end at the same place. */
export class WritingSession implements Decoding {
  private readonly parts: LanguageParts;
  private readonly kept = new Map<tf.layers.Layer, [tf.Tensor3D, tf.Tensor3D]>();
  /** Of each text all tokens so far, padding in front. */
  private readonly rows: number[][];
  /** Of each text the place of its first token: those of shorter ones are later. */
  private readonly begins: readonly number[];
  /** The place of what stands first in the rows: negative where that is padding of all texts. */
  private first = 0;
  private readonly attentions: readonly Attention[];
  places!: tf.Tensor2D;
  /** How many places of the rows were computed. */
  private done = 0;

  /**
   * @param texts the tokens that each text begins with, at least one.
   * @throws LoRAError as `languageParts`, or if a text does not fit the model.
   */
  constructor(
    model: tf.LayersModel,
    texts: readonly (readonly number[])[],
    private readonly atOnce = placesAtOnce.current() ?? 1,
  ) {
    this.parts = languageParts(model);
    const longest = Math.max(...texts.map(({length}) => length));
    this.begins = texts.map(({length}) => longest - length);
    this.rows = texts.map((text, i) => [...new Array<number>(this.begins[i] as number).fill(0), ...text]);
    this.fit();
    this.attentions = sitesOf(model).flatMap(({layer}) => (layer instanceof Attention ? [layer] : []));
    texts.forEach(ids => {
      checkTokens(ids, this.parts.words);
    });
    if (longest > this.room) {
      throw tooLargeError(`A text has ${longest} tokens, and the model ${this.room} places. Give a shorter one.`);
    }
  }

  /** How many tokens a text may have for the next one to be told. */
  get room(): number {
    return this.parts.room;
  }

  get from(): number {
    return this.first + this.done;
  }

  get total(): number {
    return this.first + this.length;
  }

  private get length(): number {
    return this.rows[0]?.length ?? 0;
  }

  extended(layer: tf.layers.Layer, keys: tf.Tensor3D, values: tf.Tensor3D): [tf.Tensor3D, tf.Tensor3D] {
    const past = this.kept.get(layer);
    const all: [tf.Tensor3D, tf.Tensor3D] =
      past === undefined ? [keys, values] : [this.joined(past[0], keys), this.joined(past[1], values)];
    tf.dispose(past);
    this.kept.set(layer, [tf.keep(tf.clone(all[0])), tf.keep(tf.clone(all[1]))]);
    return all;
  }

  /** What was kept of former places, without padding that is no longer there or with what was put in front, and `x`. */
  private joined(past: tf.Tensor3D, x: tf.Tensor3D): tf.Tensor3D {
    const [batch, had, width] = past.shape;
    const wanted = this.length - x.shape[1];
    const more = wanted > had ? [tf.zeros<tf.Rank.R3>([batch, wanted - had, width])] : [];
    const former = wanted < had ? tf.slice3d(past, [0, had - wanted, 0], [batch, wanted, width]) : past;
    return tf.concat([...more, former, x], 1);
  }

  /** Goes on with a token for each text. */
  add(tokens: readonly number[]): void {
    this.rows.forEach((row, i) => row.push(tokens[i] as number));
    this.fit();
  }

  /** Puts padding in front of all texts, or takes some away, so that there is a multiple of the places kept at once. */
  private fit(): void {
    const more = Math.ceil(this.total / this.atOnce) * this.atOnce - this.length;
    const padding = new Array<number>(Math.max(0, more)).fill(0);
    this.rows.forEach(row => row.splice(0, Math.max(0, -more), ...padding));
    this.first -= more;
    this.done = this.done === 0 ? 0 : this.done + more;
  }

  /** The scores of all words for the next token of each text. */
  async scores(): Promise<Float32Array[]> {
    const {from, total, begins, attentions} = this;
    if (this.done > 0 && attentions.some(each => begins.some(begin => each.turnsAnew(from - begin, total - begin)))) {
      this.forget();
    }
    await bringHere([...this.kept.values()].flat()); // the model may have moved since
    const scores = tf.tidy(() => {
      const {rows, begins, done, first, length, parts} = this;
      const tensor = (numberAt: (row: number[], i: number, place: number) => number, from: number) =>
        tf.tensor2d(
          rows.flatMap((row, text) =>
            row.slice(from).map((_, i) => numberAt(row, from + i, first + from + i - (begins[text] as number))),
          ),
          [rows.length, length - from],
          'int32',
        );
      const ids = tensor((row, i) => row[i] as number, done);
      const mask = tensor((_row, _i, place) => (place < 0 ? 0 : 1), 0);
      this.places = tensor((_row, _i, place) => Math.min(Math.max(0, place), parts.room - 1), done);
      return whileDecoding(this, () => {
        const states = parts.states([ids, mask]);
        const [batch, count, width] = states.shape;
        return parts.scores(tf.slice3d(states, [0, count - 1, 0], [batch, 1, width]));
      });
    });
    this.done = this.length;
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
