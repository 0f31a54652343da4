import * as tf from '@tensorflow/tfjs';
import {misfitError, show, showShape, tooLargeError} from '../../platform/errors';
import {baseOf} from '../../core/layers/layerMarks';
import {PerBackend} from '../../backends/shared/capabilities';
import {sitesOf} from '../../core/rewire/walk';
import {checkModel} from '../../platform/tfjs/checkModel';
import {isRecording} from '../../platform/tfjs/engine';
import {bringHere} from '../../platform/tfjs/move';
import {type QuantizedActivations, withQuantizedActivations} from '../quantized/kernels/activations';
import {type EarlierPositions, transformerKernels} from '../transformers/kernels/transformer';
import {type Decoding, type KeysAndValues, RecentPositions, whileDecoding} from '../transformers/layers/decoding';
import type {DecodeState} from '../transformers/layers/decodeStep';
import {directPass} from './directPass';
import {outputHead} from '../transformers/losses/outputHead';
import type {Head} from '../transformers/ops/headInChunks';
import {positionLimitOf} from '../transformers/net/positionLimit';
import {isAttention} from '../transformers/load/isDecoder';
import type {Attention} from '../transformers/layers/attention';
import {DecodePass} from './decodePass';
import {type Candidates, candidatesIn} from './sampling';

/** A cache that has to grow gets room for this many positions, and then for twice as many each time. */
const LEAST_ROOM = 64;

/** On webgpu each candidate costs a pass over the logits. */
const MAX_CANDIDATES = 64;

/** A language model in two parts, so that logits are computed only for the positions that need them. */
export interface LanguageParts {
  /** `[tokens, mask]` → states `[batch, positions, width]`. */
  readonly states: (inputs: [ids: tf.Tensor2D, mask: tf.Tensor2D]) => tf.Tensor3D;
  readonly body: tf.LayersModel;
  /** States → logits `[batch, positions, vocabulary]`. */
  readonly logits: (states: tf.Tensor3D) => tf.Tensor3D;
  /** The same, for logits in chunks of positions. */
  readonly head: Head;
  /** The vocabulary size. */
  readonly vocabulary: number;
  /** The most positions of a text; `Infinity` if no table limits them. */
  readonly maxPositions: number;
}

/**
 * @throws LoRAError if the model does not map tokens and a mask to logits at each position, or attends to later tokens.
 */
export function languageParts(model: tf.LayersModel): LanguageParts {
  checkModel(model);
  const [output, ...laterOutputs] = model.outputs;
  const [ids, mask, ...more] = model.inputs;
  const isLanguage =
    output?.shape.length === 3 && laterOutputs.length === 0 && mask?.shape.length === 2 && ids?.shape.length === 2;
  const vocabulary = output?.shape[2];
  if (!isLanguage || more.length > 0 || vocabulary == null) {
    throw misfitError(
      'The model must map tokens and a mask to logits [batch, positions, vocabulary], as those of loadGGUF ' +
        `and loadTransformer do; this model returns ${model.outputs.map(({shape}) => showShape(shape)).join(', ')}.`,
    );
  }
  const layers = sitesOf(model).map(({layer}) => baseOf(layer));
  const bidirectional = layers.find(layer => isAttention(layer) && !layer.causal);
  if (bidirectional !== undefined) {
    throw misfitError(
      `The model must be causal, but "${bidirectional.name}" attends to later tokens too, as in BERT or a ` +
        'bidirectional Gemma 3.',
    );
  }
  const {sourceLayer, inputs} = output;
  const head = outputHead(model) ?? {
    ...{states: inputs, classes: vocabulary, leastPositions: 1, dropouts: []},
    apply: (states: tf.Tensor3D) => sourceLayer.apply(states) as tf.Tensor3D,
  };
  const body = tf.model({inputs: model.inputs, outputs: head.states});
  const pass = directPass(body);
  return {
    states: newTokens => pass(newTokens) as tf.Tensor3D,
    body,
    logits: states => head.apply(states, false),
    head,
    vocabulary,
    maxPositions: Math.min(...layers.map(layer => positionLimitOf(layer) ?? Infinity)),
  };
}

/** @throws LoRAError if a tokenizer returns ids outside the vocabulary. */
export function checkTokens(ids: readonly number[], vocabulary: number): void {
  const at = ids.findIndex(id => !Number.isInteger(id) || id < 0 || id >= vocabulary);
  if (at >= 0) {
    throw misfitError(
      `The tokenizer does not fit the model: id ${show(ids[at])} is not in the vocabulary of ${vocabulary} tokens.`,
    );
  }
}

/** How many leading entries two lists have in common. */
export function commonStart<T>(one: readonly T[], other: readonly T[]): number {
  const first = one.findIndex((entry, i) => entry !== other[i]);
  return first < 0 ? one.length : first;
}

/**
 * The cache length is a multiple of this on backends that compile for each shape, so that not every token needs new
 * programs. Default: any length.
 */
const positionsAtOnce = new PerBackend<number>();
positionsAtOnce.supply('webgl', () => 64);

/** Decodes texts with a model. Each pass computes only the new positions. All texts end at the same position. */
export class DecodingSession implements Decoding, DecodeState {
  private readonly parts: LanguageParts;
  /** The keys and values of each layer, `[batch, room, width]`: the first `filled` positions are there. */
  private readonly cache = new Map<tf.layers.Layer, KeysAndValues>();
  readonly recent = new RecentPositions();
  private filled = 0;
  private decodePass: DecodePass | undefined;
  /** How quantized layers multiply in passes of this session. Default: as in others. */
  quantizedActivations: QuantizedActivations | undefined;
  /** All tokens of each text so far, padded on the left. */
  private rows: number[][];
  /** The position of each text's first token; greater for shorter texts. */
  begins: readonly number[];
  /** The position of the rows' first entry; negative if all of them begin with padding. */
  private first = 0;
  private readonly attentions: readonly Attention[];
  positions!: tf.Tensor2D;
  /** How many entries of the rows are computed. */
  private done = 0;

  /**
   * @param texts the initial tokens of each text, at least one.
   * @throws LoRAError as `languageParts`, or if a text does not fit the model.
   */
  constructor(
    model: tf.LayersModel,
    texts: readonly (readonly number[])[],
    private readonly atOnce = positionsAtOnce.current() ?? 1,
  ) {
    this.parts = languageParts(model);
    const longest = Math.max(...texts.map(({length}) => length));
    this.begins = texts.map(({length}) => longest - length);
    texts.forEach(ids => this.check(ids));
    this.rows = texts.map((text, i) => [...new Array<number>(this.begins[i] as number).fill(0), ...text]);
    this.fit();
    this.attentions = sitesOf(model).flatMap(({layer}) => (isAttention(layer) ? [layer] : []));
  }

  private check(ids: readonly number[]): void {
    checkTokens(ids, this.parts.vocabulary);
    if (ids.length > this.maxPositions) {
      throw tooLargeError(
        `The text has ${ids.length} tokens, but the model only ${this.maxPositions} positions. Pass a shorter text.`,
      );
    }
  }

  /** The most tokens of a text whose next token can be predicted. */
  get maxPositions(): number {
    return this.parts.maxPositions;
  }

  get vocabulary(): number {
    return this.parts.vocabulary;
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

  extended(layer: tf.layers.Layer, append: (past: EarlierPositions) => KeysAndValues): KeysAndValues {
    const had = this.cache.get(layer);
    const cached = had?.map(tensor => firstPositions(tensor, this.filled)) as KeysAndValues | undefined;
    // As many as the rows have now with their padding on the left.
    const all = append({cached, count: cached === undefined ? 0 : this.done});
    tf.dispose(had);
    this.cache.set(layer, [tf.keep(tf.clone(all[0])), tf.keep(tf.clone(all[1]))]);
    return all;
  }

  get position(): number {
    return this.from;
  }

  cacheOf(layer: tf.layers.Layer, width: number): {keys: number; values: number; step: number} {
    const {length, filled, parts, rows} = this;
    let cached = this.cache.get(layer);
    if (cached === undefined || cached[0].shape[1] < length) {
      const had = cached;
      const room = Math.max(length, Math.min(Math.max(LEAST_ROOM, 2 * length), parts.maxPositions));
      const grown = (i: 0 | 1) =>
        tf.tidy(() => {
          const past = had === undefined ? [] : [firstPositions(had[i], filled)];
          return tf.keep(tf.concat([...past, tf.zeros<tf.Rank.R3>([rows.length, room - filled, width])], 1));
        });
      cached = [grown(0), grown(1)];
      tf.dispose(had);
      this.cache.set(layer, cached);
    }
    const {kernels} = this.decodePass as DecodePass;
    return {keys: kernels.at(cached[0]), values: kernels.at(cached[1]), step: 4 * width * cached[0].shape[1]};
  }

  /** Appends a token to each text. */
  add(tokens: readonly number[]): void {
    this.rows.forEach((row, i) => row.push(tokens[i] as number));
    this.fit();
  }

  /**
   * Replaces the text of a session with one text. Keeps the cache of the common leading tokens, if the layers can.
   *
   * @throws LoRAError if the text does not fit the model; then nothing is changed.
   */
  replace(text: readonly number[]): void {
    this.check(text);
    const [row = []] = this.rows;
    const padding = -this.first;
    const computed = Math.max(0, this.done - padding);
    // Recomputes the last token, since its logits are not cached.
    const reused = Math.min(commonStart(row.slice(padding), text), text.length - 1, computed);
    const dropped = computed - reused;
    const keepsAll =
      this.recent.tensors.length === 0 && !this.attentions.some(attention => attention.anglesChange(0, computed));
    if (reused === 0 || (dropped > 0 && !keepsAll)) {
      this.clear();
    } else {
      this.done -= dropped;
      this.filled -= dropped;
    }
    this.rows[0] = [...row.slice(0, padding), ...text];
    this.fit();
  }

  /** Continues with some of the texts, several times each or not at all. What is computed of them stays so. */
  select(texts: readonly number[]): void {
    const indices = tf.tensor1d(texts as number[], 'int32');
    const selected = (x: tf.Tensor3D): tf.Tensor3D => tf.tidy(() => tf.keep(tf.gather(x, indices)));
    for (const [layer, tensors] of this.cache) {
      this.cache.set(layer, [selected(tensors[0]), selected(tensors[1])]);
      tf.dispose(tensors);
    }
    this.recent.replace(selected);
    indices.dispose();
    this.decodePass?.dispose();
    this.decodePass = undefined;
    this.rows = texts.map(i => [...(this.rows[i] as number[])]);
    this.begins = texts.map(i => this.begins[i] as number);
  }

  /** Adds or removes padding on the left of all texts to make their length a multiple of `atOnce`. */
  private fit(): void {
    const more = Math.ceil(this.total / this.atOnce) * this.atOnce - this.length;
    const padding = new Array<number>(Math.max(0, more)).fill(0);
    this.rows.forEach(row => row.splice(0, Math.max(0, -more), ...padding));
    this.first -= more;
    this.done = this.done === 0 ? 0 : this.done + more;
  }

  /** Computes the logits for the next token of each text, `vocabulary` each. */
  async logits(): Promise<Float32Array[]> {
    const logits = await this.computed();
    const values = await logits.data<'float32'>();
    logits.dispose();
    const {vocabulary} = this.parts;
    return this.rows.map((_, i) => values.slice(i * vocabulary, (i + 1) * vocabulary));
  }

  /** Computes them, and returns the `count` tokens that have the highest; `undefined` without a program for it. */
  async candidates(count: number): Promise<Candidates[] | undefined> {
    const {largest} = transformerKernels() ?? {};
    if (largest === undefined || count > this.parts.vocabulary || count > MAX_CANDIDATES) {
      return undefined;
    }
    const logits = await this.computed();
    const largestLogits = tf.tidy(() => largest(tf.reshape(logits, [this.rows.length, -1]), count));
    const values = await largestLogits.data<'float32'>();
    tf.dispose([logits, largestLogits]);
    const size = values.length / this.rows.length;
    return this.rows.map((_, row) => candidatesIn(values.subarray(row * size, (row + 1) * size), count));
  }

  /** The logits for the next token of each text, `[batch, 1, vocabulary]`. */
  private async computed(): Promise<tf.Tensor3D> {
    const {from, total, begins, attentions} = this;
    if (
      this.done > 0 &&
      attentions.some(attention => begins.some(begin => attention.anglesChange(from - begin, total - begin)))
    ) {
      this.clear();
    }
    await bringHere([...this.cache.values(), ...this.recent.tensors].flat()); // the backend may have changed since
    const logits = withQuantizedActivations(this.quantizedActivations, () => tf.tidy(() => this.compute()));
    this.done = this.length;
    this.filled = this.length;
    return logits;
  }

  private compute(): tf.Tensor3D {
    const {rows, begins, done, first, length, parts} = this;
    const tensor = (valueAt: (row: number[], i: number, position: number) => number, from: number) =>
      tf.tensor2d(
        rows.flatMap((row, text) =>
          row.slice(from).map((_, i) => valueAt(row, from + i, first + from + i - (begins[text] as number))),
        ),
        [rows.length, length - from],
        'int32',
      );
    const ids = tensor((row, i) => row[i] as number, done);
    const mask = tensor((_row, _i, position) => (position < 0 ? 0 : 1), 0);
    const last = parts.maxPositions - 1;
    this.positions = tensor((_row, _i, position) => Math.min(Math.max(0, position), last), done);
    try {
      return whileDecoding(this, () => {
        const states = (this.pass()?.run([ids, mask], this) as tf.Tensor3D | undefined) ?? parts.states([ids, mask]);
        const [batch, count, width] = states.shape;
        return parts.logits(tf.slice3d(states, [0, count - 1, 0], [batch, 1, width]));
      });
    } catch (error) {
      this.clear(); // some layers have the new positions, others do not
      throw error;
    }
  }

  /** The pass that computes one new position of each text, where the backend has one. */
  private pass(): DecodePass | undefined {
    const {rows, first, done, filled, length} = this;
    const isNext = first === 0 && done > 0 && filled === done && length === done + 1;
    const kernels = isNext && !isRecording() ? transformerKernels()?.row : undefined;
    if (kernels !== this.decodePass?.kernels && kernels !== undefined) {
      this.decodePass?.dispose();
      this.decodePass = DecodePass.of(this.parts.body, kernels, rows.length);
    }
    return kernels && this.decodePass;
  }

  /** Frees the cache. The next pass computes all positions again. */
  clear(): void {
    tf.dispose([...this.cache.values()].flat());
    this.cache.clear();
    this.recent.clear();
    this.decodePass?.dispose();
    this.decodePass = undefined;
    this.done = 0;
    this.filled = 0;
  }
}

function firstPositions(x: tf.Tensor3D, count: number): tf.Tensor3D {
  const [batch, positions, width] = x.shape;
  return positions === count ? x : tf.slice3d(x, [0, 0, 0], [batch, count, width]);
}
