import * as tf from '@tensorflow/tfjs';
import {LoRAError, misfitError, show, showShape, throwFaults, unsupportedError} from '../../../platform/errors';
import {joinedProducts} from '../../../backends/shared/jointProducts';
import {appendToCache, currentDecoding, type Decoding} from './decoding';
import {attention} from '../ops/attention';
import {rotate} from '../ops/rotary';
import {scoreFaults, scoreSettingsOf, type ScoreSettings} from '../kernels/scoreSettings';
import {type AttentionSettings, type RowKernels, transformerKernels} from '../kernels/transformer';
import {asFloat} from '../../../core/layers/forward';
import {anglesAt, anglesChange, anglesOf, frequenciesOf, type Rotary, rotaryFaults} from './rotaryAngles';
import type {DecodeStep} from './decodeStep';
import type {CallArgs} from '../../../core/layers/wrapperLayer';
import type {TargetedClass} from '../../../core/model/linearTargets';
import {shapesOf} from '../../../platform/tfjs/inputs';
import {registerOwn} from '../../../platform/tfjs/configs';

/** Arguments of {@link Attention}. */
export interface AttentionArgs extends ScoreSettings {
  /** How many heads the queries have. */
  heads: number;
  /** How many heads keys and values have. Each serves `heads / keyValueHeads` heads of queries. Default: `heads`. */
  keyValueHeads?: number;
  /** Whether a query attends only to keys up to its own position; the last ones align. Default: false. */
  causal?: boolean;
  /** A query attends only to keys less than this many positions away, its own included. Default: all. */
  window?: number | null;
  /** Whether one tensor has queries, keys and values, `[.., (heads + 2·keyValueHeads)·size]`. Default: false. */
  packed?: boolean;
  /** Whether earlier keys and values are two more inputs, and those of all positions two outputs. Default: false. */
  cache?: boolean;
  /** Rotates queries and keys by the angles of their positions (RoPE). Default: no rotation. */
  rotary?: Rotary | null;
  /** A factor for the products of queries and keys. Default: `1/√size`. */
  scale?: number | null;
  /**
   * Whether the last input is added to these products, `[examples, heads, queries, keys]`, such as the output of
   * `RelativeBias` or `DistanceScores`. Cannot be combined with `packed`. Default: false.
   */
  bias?: boolean;
  /** The name of the layer. Default: one that tfjs makes. */
  name?: string;
}

/** The inputs of a layer by their roles. */
interface Parts<T> {
  queries: T[]; // one packed tensor, or queries, keys and values
  mask: T | undefined;
  past: T[]; // none, or keys and values
  bias: T | undefined;
}

/** What queries attend to. */
interface Appended {
  q: tf.Tensor3D;
  keys: tf.Tensor3D;
  values: tf.Tensor3D;
}

interface Rotation {
  /** How many values a head has. */
  size: number;
  /** The position of the first query or key. */
  from: number;
  mask: tf.Tensor | undefined;
  /** Only the first heads are rotated. Default: all. */
  rotatedHeads?: number;
}

/**
 * Multi-head attention without weights: `softmax(q·kᵀ·scale + bias)·v` for each head. Projections are separate layers,
 * such as `Dense`.
 *
 *     // [batch, n, heads·size], [batch, m, keyValueHeads·size] twice → [batch, n, heads·size]
 *     attention.apply([queries, keys, values])
 *     // mask [batch, m]: 0 for keys that no query attends to. If rows hold several examples, [batch, 2·m]: followed by
 *     // the number of each key's example, whose queries alone attend to it
 *     attention.apply([queries, keys, values, mask])
 *     // with `bias`, [examples, heads, n, m]: `examples` divides the batch, and is repeated for it
 *     attention.apply([queries, keys, values, mask, bias])
 *     // with `cache`: → [y, keys, values], all positions so far
 *     attention.apply([queries, keys, values, mask, pastKeys, pastValues])
 *
 * The backward pass computes the attention weights again instead of keeping them. A query that may not attend to any
 * key returns zeros, as in PyTorch's `scaled_dot_product_attention`. (Vaswani et al., arXiv 1706.03762; shared keys and
 * values: Ainslie et al., arXiv 2305.13245.)
 *
 * @throws LoRAError if a setting is out of range, or the shapes of the inputs do not match.
 * @experimental
 */
export class Attention extends tf.layers.Layer {
  static readonly className = 'tfjs-lora/transformers>Attention';
  /** In models with attention, usually only the linear layers are adapted. @internal */
  static readonly usualTargets: TargetedClass['usualTargets'] = 'linear';
  private readonly heads: number;
  private readonly keyValueHeads: number;
  /** Whether a query attends only to keys up to its own position. */
  readonly causal: boolean;
  private readonly window: number | null;
  private readonly packed: boolean;
  private readonly cache: boolean;
  private readonly rotary: Rotary | null;
  private readonly scale: number | null;
  private readonly scores: ScoreSettings;
  private readonly bias: boolean;

  constructor(args: AttentionArgs) {
    const {heads, causal = false, packed = false, cache = false, rotary = null, scale = null, ...optionalArgs} = args;
    const {keyValueHeads = heads, window = null, bias = false, ...layerArgs} = optionalArgs;
    checkAttention({...args, keyValueHeads});
    super(layerArgs);
    this.heads = heads;
    this.keyValueHeads = keyValueHeads;
    this.causal = causal;
    this.window = window;
    this.packed = packed;
    this.cache = cache;
    this.rotary = rotary;
    this.scale = scale;
    this.scores = scoreSettingsOf(args);
    this.bias = bias;
    if (bias && (packed || cache)) {
      throw new LoRAError('Attention with a bias cannot have packed inputs or a cache. Leave out packed and cache.');
    }
  }

  override build(inputShape: tf.Shape | tf.Shape[]): void {
    this.sizeOf(this.partsOf(shapesOf(inputShape)));
    this.built = true;
  }

  override computeOutputShape(inputShape: tf.Shape | tf.Shape[]): tf.Shape | tf.Shape[] {
    const {queries, past} = this.partsOf(shapesOf(inputShape));
    const size = this.sizeOf({queries});
    const [batch = null, positions = null] = queries[0] as tf.Shape;
    const result = [batch, positions, size * this.heads];
    const former = past[0]?.[1];
    const all = [batch, former == null || positions === null ? null : former + positions, size * this.keyValueHeads];
    return this.cache ? [result, all, [...all]] : result;
  }

  override call(inputs: tf.Tensor | tf.Tensor[], kwargs: CallArgs): tf.Tensor | tf.Tensor[] {
    return tf.tidy(() => {
      this.invokeCallHook(inputs, kwargs);
      const {queries, mask, past, bias} = this.partsOf([inputs].flat().map(asFloat));
      const size = this.sizeOf({queries: queries.map(({shape}) => shape)});
      const {heads, keyValueHeads} = this;
      const settings = this.settingsFor(size);
      const decoding = this.decoding();
      const packed = bias === undefined && !this.cache ? this.packedInputs(queries, decoding) : undefined;
      if (packed !== undefined && decoding === undefined) {
        this.checkKeys(packed, packed, mask, packed.shape[1]);
        const all = heads + 2 * keyValueHeads;
        const rotation = {size, from: 0, mask, rotatedHeads: heads + keyValueHeads};
        return attention({packed: this.rotated(packed, all, rotation)}, mask ?? null, settings);
      }
      const from = decoding?.from ?? past[0]?.shape[1] ?? 0;
      const {q, keys, values} =
        (packed && decoding && this.rotateAndAppendPacked(packed, {size, from, mask}, decoding)) ??
        this.appended(this.unpack(packed ?? queries, size), {size, from, mask}, past);
      this.checkKeys(keys, values, mask, q.shape[1]);
      this.checkBias(bias, q.shape, keys.shape[1]);
      const y = attention({q, k: keys, v: values, ...(bias && {bias})}, mask ?? null, settings);
      return this.cache ? [y, keys, values] : y;
    });
  }

  /** @internal */
  decodeStep(kernels: RowKernels, widths: readonly number[]): DecodeStep | undefined {
    const {heads, keyValueHeads, causal, packed, rotary} = this;
    if (!causal || this.cache || this.bias || rotary?.longer !== undefined) {
      return undefined;
    }
    const size = (widths[0] ?? 0) / (packed ? heads + 2 * keyValueHeads : heads);
    const width = size * keyValueHeads;
    const settings = this.settingsFor(size);
    const frequencies = rotary && frequenciesOf(rotary, size);
    return (addresses, to, state) => {
      const {position, begins} = state;
      const offset = 4 * width * position;
      const {keys, values, step} = state.cacheOf(this, width);
      const angles = frequencies && anglesAt(position, frequencies, rotary);
      for (const [row, begin] of begins.entries()) {
        const inputs = addresses.map((address, i) => address + 4 * (widths[i] as number) * row);
        const [first = 0] = inputs;
        const fromKeys = first + 4 * heads * size;
        const [q, k, v] = (packed ? [first, fromKeys, fromKeys + 4 * width] : inputs) as [number, number, number];
        const [rowKeys, rowValues, rowTo] = [keys + step * row, values + step * row, to + 4 * heads * size * row];
        kernels.copy(v, rowValues + offset, width);
        if (angles === null) {
          kernels.copy(k, rowKeys + offset, width);
        } else {
          const {interleaved = false} = rotary as Rotary;
          kernels.rotate(k, angles, {heads: keyValueHeads, size, interleaved}, rowKeys + offset);
          kernels.rotate(q, angles, {heads, size, interleaved}, rowTo);
        }
        const hidden = 4 * width * begin;
        kernels.attend(
          {q: angles === null ? q : rowTo, k: rowKeys + hidden, v: rowValues + hidden},
          {keys: position + 1 - begin, size},
          settings,
          rowTo,
        );
      }
    };
  }

  /** Read by name where the layer is written as ONNX. @internal */
  get softCap(): number | null {
    return this.scores.softCap ?? null;
  }

  private settingsFor(size: number): AttentionSettings {
    const {heads, keyValueHeads, causal, window, scores} = this;
    return {heads, keyValueHeads, causal, window, ...scores, scale: this.scale ?? 1 / Math.sqrt(size)};
  }

  /** Queries, keys and values in one tensor, if they are in one or the layer computes faster with it. */
  private packedInputs(queries: tf.Tensor[], decoding: Decoding | undefined): tf.Tensor3D | undefined {
    const {rotatesSomeHeads = false, rotateAndAppend} = transformerKernels() ?? {};
    const isTaken =
      decoding === undefined ? this.rotary === null || rotatesSomeHeads : this.rotary !== null && rotateAndAppend;
    return isTaken ? ((this.packed ? queries[0] : joinedProducts(queries)) as tf.Tensor3D | undefined) : undefined;
  }

  /** The state to continue. Only causal attention has earlier keys and values to cache. */
  private decoding(): Decoding | undefined {
    return this.causal ? currentDecoding() : undefined;
  }

  /** Rotated queries, and the keys and values of all positions. */
  private appended(parts: tf.Tensor[], rotation: Rotation, past: tf.Tensor[]): Appended {
    const [q, k, v] = parts as [tf.Tensor3D, tf.Tensor3D, tf.Tensor3D];
    const rotatedK = this.rotated(k, this.keyValueHeads, rotation);
    const [keys, values] = this.decoding()?.extended(this, ({cached, count}) => [
      appendToCache(cached?.[0], count, rotatedK),
      appendToCache(cached?.[1], count, v),
    ]) ?? [joinedTo(past[0], rotatedK), joinedTo(past[1], v)];
    return {q: this.rotated(q, this.heads, rotation), keys, values};
  }

  /** The same in one launch of packed ones; `undefined` where each text of a batch has its own angles. */
  private rotateAndAppendPacked(
    packed: tf.Tensor3D,
    {size, from, mask}: Rotation,
    decoding: Decoding,
  ): Appended | undefined {
    const {rotary, heads, keyValueHeads} = this;
    const append = transformerKernels()?.rotateAndAppend;
    const count = packed.shape[1];
    if (rotary === null || append === undefined || (mask && anglesChange(rotary, 0, from + count))) {
      return undefined;
    }
    const {interleaved = false} = rotary;
    const angles = anglesOf(rotary, {size, from, count}, null);
    let q = packed;
    const [keys, values] = decoding.extended(this, past => {
      const [queries, ...keysAndValues] = append(packed, angles, past, {heads, keyValueHeads, interleaved});
      q = queries;
      return keysAndValues;
    });
    return {q, keys, values};
  }

  /** Whether cached keys of a text become invalid when it grows from `before` to `now` positions. @internal */
  anglesChange(before: number, now: number): boolean {
    return this.rotary !== null && anglesChange(this.rotary, before, now);
  }

  /** Queries or keys with their first `rotatedHeads` heads rotated by the angles of their positions. */
  private rotated(x: tf.Tensor3D, heads: number, {size, from, mask, rotatedHeads = heads}: Rotation): tf.Tensor3D {
    if (this.rotary === null) {
      return x;
    }
    const {rotary} = this;
    const {interleaved = false} = rotary;
    const count = x.shape[1];
    const shown = anglesChange(rotary, 0, from + count) ? (mask ?? null) : null;
    if (shown !== null && shown.shape[1] === 2 * count) {
      throw unsupportedError(
        `Attention "${this.name}" has other angles for texts of ${from + count} positions. Examples of one row would ` +
          "be rotated by the row's length; take shorter rows.",
      );
    }
    const settings = {heads, rotatedHeads, interleaved};
    return rotate(x, ofTexts => anglesOf(rotary, {size, from, count}, ofTexts), settings, shown);
  }

  private unpack(queries: tf.Tensor | tf.Tensor[], size: number): tf.Tensor[] {
    const {heads, keyValueHeads} = this;
    const [x, ...keysAndValues] = [queries].flat() as [tf.Tensor, ...tf.Tensor[]];
    return keysAndValues.length > 0
      ? [x, ...keysAndValues]
      : tf.split(x, [heads * size, keyValueHeads * size, keyValueHeads * size], 2);
  }

  private partsOf<T>(all: readonly T[]): Parts<T> {
    const inputs = this.bias ? all.slice(0, -1) : all;
    const projections = this.packed ? 1 : 3;
    const extraInputs = inputs.length - projections;
    const former = this.cache && extraInputs >= 2 ? 2 : 0;
    if (extraInputs - former !== 0 && extraInputs - former !== 1) {
      const more = this.bias ? ', bias' : '';
      const wanted = this.packed ? '[packed], [packed, mask]' : `[q, k, v${more}], [q, k, v, mask${more}]`;
      throw misfitError(
        `Attention "${this.name}" takes ${wanted}${this.cache ? ', followed by the past keys and values' : ''}; ` +
          `got ${all.length} inputs.`,
      );
    }
    return {
      queries: inputs.slice(0, projections),
      mask: extraInputs - former === 1 ? inputs[projections] : undefined,
      past: inputs.slice(inputs.length - former),
      bias: this.bias ? all.at(-1) : undefined,
    };
  }

  private sizeOf({queries}: Pick<Parts<tf.Shape>, 'queries'>): number {
    const {heads, keyValueHeads, packed} = this;
    const wrong = () =>
      misfitError(
        `Attention "${this.name}" has ${heads} heads of queries and ${keyValueHeads} of keys and values. Inputs of ` +
          `shape ${queries.map(shape => showShape(shape)).join(', ')} do not match.`,
      );
    if (queries.some(shape => shape.length !== 3)) {
      throw wrong();
    }
    const [first, ofKeys, ofValues] = queries.map(shape => shape[2] ?? 0);
    const size = (first ?? 0) / (packed ? heads + 2 * keyValueHeads : heads);
    const fits = packed || (ofKeys === size * keyValueHeads && ofValues === ofKeys);
    if (!Number.isInteger(size) || size === 0 || !fits) {
      throw wrong();
    }
    const faults = this.rotary === null ? [] : rotaryFaults(this.rotary, size);
    throwFaults(
      faults.map(fault => `Attention "${this.name}": ${fault}`),
      'ERR_MISFIT',
    );
    return size;
  }

  private checkKeys(keys: tf.Tensor3D, values: tf.Tensor3D, mask: tf.Tensor | undefined, queries: number): void {
    const [batch, count] = keys.shape;
    const widths = queries === count ? [count, 2 * count] : [count];
    const fits = mask === undefined || widths.some(width => tf.util.arraysEqual(mask.shape, [batch, width]));
    if (values.shape[1] !== count || !fits) {
      throw misfitError(
        `Attention "${this.name}" has keys ${showShape(keys.shape)}, values ` +
          `${showShape(values.shape)}${mask ? ` and a mask ${showShape(mask.shape)}` : ''}. They must have the same ` +
          'number of positions, and the mask the shape [batch, positions].',
      );
    }
  }

  private checkBias(bias: tf.Tensor | undefined, [batch, queries]: tf.Tensor3D['shape'], keys: number): void {
    const [count = 0, ...exampleShape] = bias?.shape ?? [1];
    const wanted = [this.heads, queries, keys];
    if (bias !== undefined && (batch % count !== 0 || !tf.util.arraysEqual(exampleShape, wanted))) {
      throw misfitError(
        `The bias of attention "${this.name}" must have the shape [n, ${wanted.join(', ')}], where n divides the batch, ` +
          `${batch}, got ${showShape(bias.shape)}.`,
      );
    }
  }

  override getConfig(): tf.serialization.ConfigDict {
    const {heads, keyValueHeads, causal, packed, cache, scale} = this;
    const rotary = this.rotary && {...this.rotary};
    const {window, scores, bias} = this;
    // Without a window, settings of the scores or a bias the config is the same as in earlier versions.
    return {
      ...super.getConfig(),
      ...{heads, keyValueHeads, causal, packed, cache, rotary, scale},
      ...(window !== null && {window}),
      ...scores,
      ...(bias && {bias}),
    };
  }
}
registerOwn(Attention);

function joinedTo(past: tf.Tensor | undefined, x: tf.Tensor3D): tf.Tensor3D {
  return past === undefined || past.size === 0 ? x : tf.concat([past as tf.Tensor3D, x], 1);
}

function checkAttention({heads, keyValueHeads, rotary, scale, window, ...scores}: AttentionArgs): void {
  const isCount = (value: unknown) => Number.isInteger(value) && (value as number) > 0;
  throwFaults([
    ...(isCount(heads) ? [] : [`heads must be a positive integer, got ${show(heads)}.`]),
    ...(isCount(keyValueHeads) && heads % (keyValueHeads as number) === 0
      ? []
      : [`keyValueHeads must divide heads, ${show(heads)}, got ${show(keyValueHeads)}.`]),
    ...(window == null || isCount(window) ? [] : [`window must be a positive integer, got ${show(window)}.`]),
    ...(scale == null || Number.isFinite(scale) ? [] : [`scale must be a number, got ${show(scale)}.`]),
    ...scoreFaults(scores),
    ...(rotary == null ? [] : rotaryFaults(rotary)),
  ]);
}
