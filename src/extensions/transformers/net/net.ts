import * as tf from '@tensorflow/tfjs';
import {CONV1D} from './conv1d';
import {PositionEmbedding, TypeEmbedding} from '../layers/addedEmbeddings';
import {Attention, type AttentionArgs} from '../layers/attention';
import {ChoiceRows, ChoiceScores} from '../layers/choices';
import {CheckpointedBlock} from '../layers/checkpointedBlock';
import {GatedActivation, Gelu} from '../layers/gates';
import {QuickGelu} from '../layers/visionLayers';
import {RelativeBias} from '../layers/relativeBias';
import {FusedLayerNormalization, RMSNormalization} from '../layers/rowNormalization';
import {Scaling, SoftCap} from '../layers/scaling';
import {type PoolingMode, SequencePooling} from '../layers/sequencePooling';
import {TiedDense} from '../layers/tiedDense';
import type {Expected, NetSources, RowSlice, StockArgs} from './netSources';

/** A tensor of the graph; `null` while a model is only planned. */
export type NetTensor = tf.SymbolicTensor | null;

export type ActivationName = 'gelu' | 'gelu_tanh' | 'quick_gelu' | 'relu' | 'relu6' | 'sigmoid' | 'silu' | 'tanh';

/** Whether training recomputes the tensors of blocks: of all, or of all but the last quarter. */
export type GradientCheckpointing = boolean | 'most';

/** The file name of a weight without its own module, after its module's name, and its shape. */
export type InFile = [name: string, shape: number[]];

/** How a linear layer is stored: as PyTorch's `Linear`, `[out, in]`, or as GPT-2's `Conv1D`, `[in, out]`. */
interface DenseOptions {
  bias?: boolean;
  conv1d?: boolean;
  /** Starts from N(0, deviation) instead of a file. */
  fresh?: number;
  /** Weights of the file to use instead if these names are missing. */
  orElse?: string | undefined;
  biasOrElse?: string | undefined;
  /** Which part of those to use. */
  rowSlice?: RowSlice | undefined;
}

/**
 * Builds models from architectures. Each method adds a layer under the name of a module of the hub. A model is first
 * planned, without tensors, to compare its weights with the files, and then built. A repeated name is the same layer.
 */
export class Net {
  readonly expected: Expected[] = [];
  readonly layers = new Map<string, tf.layers.Layer>();
  /** The names of layers whose weights are not in the files, once they are built. */
  readonly newLayers: string[] = [];
  private readonly expectedNames = new Set<string>();
  private readonly checkpointed = new Map<string, CheckpointedBlock>();
  /** The bytes of kernels that are not in the files. */
  newBytes = 0;
  /** The features of stages, by their names. */
  readonly stages = new Map<string, NetTensor>();
  /** The stages that are outputs; nothing is added after the last of them. */
  private wanted: readonly string[] | undefined;

  private constructor(
    /** Whether this is the plan, which makes nothing. Sizes in the config are not yet compared with the files. */
    readonly isPlan: boolean,
    private readonly gradientCheckpointing: GradientCheckpointing,
    private readonly sources: NetSources,
  ) {}

  static plan(sources: NetSources): Net {
    return new Net(true, false, sources);
  }

  static build({gradientCheckpointing, ...sources}: NetSources & {gradientCheckpointing: GradientCheckpointing}): Net {
    return new Net(false, gradientCheckpointing, sources);
  }

  /** An input of integers, by default for each position, `[batch, positions]`. */
  integers(name: string, shape: tf.Shape = [null]): NetTensor {
    return this.isPlan ? null : tf.input({shape, dtype: 'int32', name});
  }

  floats(name: string, shape: tf.Shape): NetTensor {
    return this.isPlan ? null : tf.input({shape, name});
  }

  hasLinear(name: string): boolean {
    return this.sources.has(fileNameOf(name, 'weight'));
  }

  choiceRows(name: string, x: NetTensor): NetTensor {
    return this.apply(name, [x], () => new ChoiceRows({name}));
  }

  /** Inputs are the logits and the tokens. */
  choiceScores(name: string, inputs: NetTensor[]): NetTensor {
    return this.apply(name, inputs, () => new ChoiceScores({name}));
  }

  embedding(name: string, rows: number, width: number, ids: NetTensor): NetTensor {
    this.expect(name, 'weight', [rows, width], 'embeddings');
    const args = {inputDim: rows, outputDim: width, name};
    return this.apply(name, [ids], () => this.made(name, 'Embedding', args) ?? tf.layers.embedding(args));
  }

  /**
   * Inputs are the states, and with `padding` also the tokens. The `offset` is by default the row after that of
   * `padding`.
   */
  positions(
    name: string,
    {rows, width, padding, offset}: {rows: number; width: number; padding?: number | undefined; offset?: number},
    inputs: NetTensor[],
  ): NetTensor {
    this.expect(name, 'weight', [rows, width], 'embeddings');
    const start = padding === undefined ? {} : {padding, offset: offset ?? padding + 1};
    return this.apply(name, inputs, () => new PositionEmbedding({rows, ...start, name}));
  }

  types(name: string, rows: number, width: number, inputs: NetTensor[]): NetTensor {
    this.expect(name, 'weight', [rows, width], 'embeddings');
    return this.apply(name, inputs, () => new TypeEmbedding({rows, name}));
  }

  layerNorm(
    name: string,
    width: number,
    epsilon: number,
    inputs: NetTensor[],
    {bias = true, fresh = false, eachHead = false}: {bias?: boolean; fresh?: boolean; eachHead?: boolean} = {},
  ): NetTensor {
    const size = eachHead ? {size: width} : {};
    if (!fresh) {
      this.expect(name, 'weight', [width], 'gamma');
    }
    if (!fresh && bias) {
      this.expect(name, 'bias', [width], 'beta');
    }
    return this.apply(name, inputs, () => new FusedLayerNormalization({epsilon, bias, ...size, name}), !fresh);
  }

  rmsNorm(
    name: string,
    width: number,
    epsilon: number,
    inputs: NetTensor[],
    {addsOne = false}: {addsOne?: boolean} = {},
  ): NetTensor {
    this.expect(name, 'weight', [width], 'gamma');
    return this.apply(name, inputs, () => new RMSNormalization({epsilon, addsOne, name}));
  }

  /** Normalizes each head of `size` values separately. */
  headNorm(
    name: string,
    size: number,
    epsilon: number,
    x: NetTensor,
    {addsOne = false}: {addsOne?: boolean} = {},
  ): NetTensor {
    this.expect(name, 'weight', [size], 'gamma');
    return this.apply(name, [x], () => new RMSNormalization({epsilon, size, addsOne, name}));
  }

  /** Multiplies by a factor, unless it is missing or 1. */
  scale(name: string, factor: number | undefined, x: NetTensor): NetTensor {
    return factor === undefined || factor === 1 ? x : this.apply(name, [x], () => new Scaling({factor, name}));
  }

  /** Bounds by a soft cap, if there is one. */
  softCap(name: string, cap: number | null, x: NetTensor): NetTensor {
    return cap === null ? x : this.apply(name, [x], () => new SoftCap({cap, name}));
  }

  dense(name: string, [from, to]: [from: number, to: number], x: NetTensor, options: DenseOptions = {}): NetTensor {
    const {bias = true, conv1d = false, fresh, orElse, biasOrElse, rowSlice} = options;
    if (fresh === undefined) {
      const shape = conv1d ? [from, to] : [to, from];
      this.expect(name, 'weight', shape, 'kernel', {...(!conv1d && {axes: [1, 0]}), orElse, rowSlice});
      if (bias) {
        this.expect(name, 'bias', [to], 'bias', {orElse: biasOrElse, rowSlice});
      }
    } else {
      this.newBytes += 4 * from * to;
    }
    const random = fresh === undefined ? {} : {kernelInitializer: tf.initializers.randomNormal({stddev: fresh})};
    const start = conv1d ? CONV1D : random;
    const args = {units: to, useBias: bias, name};
    const make = () => this.made(name, 'Dense', args) ?? tf.layers.dense({...args, ...start});
    return this.apply(name, [x], make, fresh === undefined);
  }

  /** An output head tied to the token embedding; a `Dense` if the files have a weight for it, or heads are not tied. */
  tied(
    name: string,
    table: string,
    [from, to]: [from: number, to: number],
    x: NetTensor,
    {bias = false, biasOrElse}: Pick<DenseOptions, 'bias' | 'biasOrElse'> = {},
  ): NetTensor {
    if (!this.sources.tied || this.hasLinear(name)) {
      return this.dense(name, [from, to], x, {bias, orElse: fileNameOf(table, 'weight'), biasOrElse});
    }
    if (bias) {
      this.expect(name, 'bias', [to], 'bias', {orElse: biasOrElse});
    }
    return this.apply(name, [x], () => new TiedDense({table: {name: table}, useBias: bias, name}));
  }

  /** Adds a bias for distances to attention scores. The input is a sequence. */
  relativeBias(
    name: string,
    [buckets, heads]: [buckets: number, heads: number],
    x: NetTensor,
    {maxDistance = 128}: {maxDistance?: number} = {},
  ): NetTensor {
    this.expect(name, 'weight', [buckets, heads], 'embeddings');
    return this.apply(name, [x], () => new RelativeBias({heads, buckets, maxDistance, name}));
  }

  attention(name: string, inputs: NetTensor[], args: AttentionArgs): NetTensor {
    return this.apply(name, inputs, () => new Attention({...args, name}));
  }

  /** Orders a tensor that has several parts for each head part by part, `[.., heads · parts · size]`. */
  byParts(name: string, {heads, parts, size}: {heads: number; parts: number; size: number}, x: NetTensor): NetTensor {
    const shaped = (step: string, targetShape: (number | null)[], y: NetTensor) =>
      this.apply(`${name}/${step}`, [y], () => tf.layers.reshape({targetShape, name: `${name}/${step}`}));
    const apart = shaped('apart', [null, heads, parts, size], x);
    const dims = [1, 3, 2, 4];
    const permuted = this.apply(`${name}/order`, [apart], () => tf.layers.permute({dims, name: `${name}/order`}));
    return shaped('joined', [null, heads * parts * size], permuted);
  }

  activation(name: string, kind: ActivationName, x: NetTensor): NetTensor {
    return this.apply(name, [x], () => {
      switch (kind) {
        case 'gelu':
          return new Gelu({name});
        case 'gelu_tanh':
          return new Gelu({approximate: true, name});
        case 'quick_gelu':
          return new QuickGelu({name});
        case 'silu':
          return tf.layers.activation({activation: 'swish', name});
        case 'relu':
        case 'relu6':
        case 'sigmoid':
        case 'tanh':
          return tf.layers.activation({activation: kind, name});
      }
    });
  }

  /** Names features for `outputs`: `stage1` and so on. */
  stage(number: number, x: NetTensor): void {
    if (!this.isDone()) {
      this.stages.set(`stage${number}`, x);
    }
  }

  /** Leaves out what comes after the last of these stages. */
  end(wanted: readonly string[] | undefined): this {
    this.wanted = wanted;
    return this;
  }

  private isDone(): boolean {
    return this.wanted?.every(name => this.stages.has(name)) === true;
  }

  /** Inputs are the gate and the values, or one tensor with both, the gate last if it is so. */
  gate(name: string, kind: 'silu' | 'gelu' | 'gelu_tanh', inputs: NetTensor[], gateLast = false): NetTensor {
    const packed = inputs.length === 1;
    const args = kind === 'silu' ? {} : {activation: 'gelu' as const, approximate: kind === 'gelu_tanh'};
    return this.apply(name, inputs, () => new GatedActivation({...args, packed, gateLast, name}));
  }

  /** Concatenates inputs along the last axis. */
  concatenate(name: string, inputs: NetTensor[]): NetTensor {
    return this.apply(name, inputs, () => tf.layers.concatenate({name}));
  }

  average(name: string, inputs: NetTensor[]): NetTensor {
    return this.apply(name, inputs, () => tf.layers.average({name}));
  }

  add(name: string, inputs: [NetTensor, NetTensor]): NetTensor {
    return this.apply(name, inputs, () => tf.layers.add({name}));
  }

  /** Inputs are the states and a mask, and with `padding` also the tokens. The first `skip` positions do not count. */
  pool(
    name: string,
    mode: PoolingMode,
    inputs: NetTensor[],
    options: {padding?: number; skip?: number} = {},
  ): NetTensor {
    return this.apply(name, inputs, () => new SequencePooling({mode, ...options, name}));
  }

  /**
   * One of several equal blocks. With gradient checkpointing the backward pass computes its tensors again. With
   * `'most'` the last quarter of the blocks keeps them, which the backward pass frees first. A language model has them
   * beside its logits until then.
   */
  block(
    {name, index, count}: {name: string; index: number; count: number},
    inputs: NetTensor[],
    body: (inputs: NetTensor[]) => NetTensor,
  ): NetTensor {
    const existing = this.checkpointed.get(name);
    if (
      !this.gradientCheckpointing ||
      this.isDone() ||
      (existing === undefined && this.gradientCheckpointing === 'most' && index >= count - Math.floor(count / 4))
    ) {
      return body(inputs);
    }
    const outer = inputs as tf.SymbolicTensor[];
    if (existing !== undefined) {
      return existing.apply(outer) as tf.SymbolicTensor;
    }
    const inner = outer.map(({shape, dtype}, i) =>
      tf.input({batchShape: shape, dtype, name: `${name}/input_${['states', 'mask', 'bias'][i]}`}),
    );
    const model = new CheckpointedBlock({inputs: inner, outputs: body(inner) as tf.SymbolicTensor, name});
    this.checkpointed.set(name, model);
    return model.apply(outer) as tf.SymbolicTensor;
  }

  /**
   * Blocks one after another, `root/0`, `root/1`, and so on. Inputs are the states, and what all blocks have besides;
   * `part` adds the layers of a block.
   */
  blocks(
    root: string,
    count: number,
    [states = null, ...shared]: NetTensor[],
    part: (layer: string, inputs: NetTensor[], index: number) => NetTensor,
  ): NetTensor {
    let x = states;
    for (let index = 0; index < count; index++) {
      const layer = `${root}/${index}`;
      x = this.block({name: `${layer}/block`, index, count}, [x, ...shared], inputs => part(layer, inputs, index));
    }
    return x;
  }

  /**
   * Declares that the files have a weight of a layer, by its names in the file and the layer. The first declaration
   * counts.
   */
  expect(
    layer: string,
    torchName: string,
    shape: number[],
    weight: string,
    {fileName = fileNameOf(layer, torchName), axes, orElse, rowSlice}: Partial<Expected> = {},
  ): void {
    const weightKey = `${layer}:${weight}`;
    if (!this.expectedNames.has(weightKey) && !this.isDone()) {
      this.expectedNames.add(weightKey);
      this.expected.push({fileName, orElse, shape, layer, weight, axes, rowSlice});
    }
  }

  private made(name: string, className: 'Dense' | 'Embedding', args: StockArgs): tf.layers.Layer | undefined {
    return this.sources.make?.(fileNameOf(name, 'weight'), className, args);
  }

  /** Applies the layer of a name, or makes it. If the files have its weights, they are not drawn at random. */
  apply(name: string, inputs: NetTensor[], make: () => tf.layers.Layer, fromFile = true): NetTensor {
    if (this.isPlan || this.isDone()) {
      return inputs[0] ?? null;
    }
    const existing = this.layers.get(name);
    const layer = existing ?? make();
    if (existing === undefined && fromFile) {
      layer.setFastWeightInitDuringBuild(true); // the values come from the file
    }
    if (existing === undefined && !fromFile) {
      this.newLayers.push(name);
    }
    this.layers.set(name, layer);
    const symbolicInputs = inputs as tf.SymbolicTensor[];
    return layer.apply(
      symbolicInputs.length === 1 ? (symbolicInputs[0] as tf.SymbolicTensor) : symbolicInputs,
    ) as tf.SymbolicTensor;
  }
}

export function fileNameOf(layer: string, torchName: string): string {
  return `${layer.replaceAll('/', '.')}.${torchName}`;
}
