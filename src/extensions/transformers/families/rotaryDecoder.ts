import {type Architecture, classesOf, DECODER_ENDS, type GateName, HUB_GATES, nameOf} from '../net/architecture';
import {decoderHead} from './decoderHead';
import type {HubConfig} from '../net/hubConfig';
import type {Rotary} from '../layers/rotaryAngles';
import {rotaryOf, type RotarySizes} from './llamaRotary';
import type {NetTensor} from '../net/net';

/** What the blocks of a decoder attend to, and how they rotate queries and keys. */
export interface Blocks {
  causal: boolean;
  /** How many positions back a block attends to, including its own; `null` for all. */
  windows: (number | null)[];
  /** How a block rotates queries and keys; `null` if it does not. */
  rotaries: (Rotary | null)[];
}

export interface BlockSizes extends RotarySizes {
  count: number;
  /** Whether the config makes positions attend only to earlier ones. */
  causal: boolean;
}

/** Factors at several points of the model. Default: 1. */
interface Multipliers {
  embeddings?: number;
  /** The output of each part of a block. */
  parts?: number;
  /** The products of queries and keys. Default: `1/√size`. */
  attention?: number;
  /** The states, before the language modelling head. */
  logits?: number;
}

/** Soft caps, `cap·tanh(x / cap)`; `null` for none. */
interface SoftCaps {
  /** The soft cap of the scaled products of queries and keys. */
  attention: number | null;
  /** The soft cap of the logits. */
  logits: number | null;
}

/** The differences of a model from Llama. */
export interface DecoderVariant {
  /** The classes of `transformers` and their heads, by the endings of their names. */
  classes: Architecture['classes'];
  /** The prefix of the body in a model with a head for spans. Default: `transformer`, once the name for all heads. */
  bodyOfSpans?: string;
  /** The defaults of the config. */
  defaults?: Readonly<Record<string, unknown>>;
  /**
   * Which linear layers have a bias: as configured, for attention only or also for the feed-forward part; queries, keys
   * and values; or none.
   */
  biases: 'configured' | 'configured attention' | 'projections' | 'none';
  /** Which of the head size and the number of key heads may be `null` in a config. Default: both. */
  mayOmit?: readonly ('head_dim' | 'num_key_value_heads')[];
  /** The field of the activation. Default: `hidden_act`. */
  activation?: string;
  /** Activations by their names in configs. Default: those of most families. */
  gates?: Readonly<Record<string, GateName>>;
  /** Whether one layer computes queries, keys and values, and another one gate and up. Default: false. */
  joined?: boolean;
  /**
   * How queries and keys are normalized: each head separately, or all heads of a position together. Default: not at
   * all.
   */
  normalizes?: 'heads' | 'positions';
  /** Where a part of a block is normalized. Default: before it. */
  norms?: 'before' | 'after' | 'around';
  /** Whether normalization weights are added to one. Default: false. */
  addsOne?: boolean;
  multipliers?(config: HubConfig): Multipliers;
  softCaps?(config: HubConfig): SoftCaps;
  /** Default: all blocks attend to all earlier positions and have the same rotary settings. */
  blocks?(config: HubConfig, sizes: BlockSizes): Blocks;
}

/** The classes of a decoder whose names end like this. Default: all. */
export function decoderClasses(family: string, ends = DECODER_ENDS): Architecture['classes'] {
  return classesOf(family, ends);
}

/** Decoders like Llama: RMS normalizations, rotary positions, grouped-query attention, gated feed-forward. */
export function rotaryDecoder(variant: DecoderVariant): Architecture {
  const {classes, biases, defaults = {}, activation = 'hidden_act', norms = 'before'} = variant;
  const {mayOmit = ['head_dim', 'num_key_value_heads'], joined = false, normalizes, addsOne = false} = variant;
  const {bodyOfSpans = 'transformer', gates = HUB_GATES} = variant;
  const complete = (config: HubConfig) => config.withDefaults({max_position_embeddings: 2048, ...defaults});
  return {
    prefix: 'model',
    renamed: name => name.replace(/^transformer\./, ''),
    classes,
    blocks: config => config.count('num_hidden_layers'),
    vocabulary: config => config.count('vocab_size'),
    positions: config => complete(config).count('max_position_embeddings'),
    build: (net, fileConfig, {ids, mask}, purpose) => {
      const config = complete(fileConfig);
      config.count('max_position_embeddings');
      const width = config.count('hidden_size');
      const heads = config.count('num_attention_heads');
      const counted = (field: (typeof mayOmit)[number], otherwise: number) =>
        mayOmit.includes(field) ? config.countOr(field, otherwise) : config.count(field, otherwise);
      const keyValueHeads = counted('num_key_value_heads', heads);
      const size = counted('head_dim', Math.floor(width / heads));
      const inner = config.count('intermediate_size');
      const epsilon = config.number('rms_norm_eps', 1e-6);
      const gate = config.choice<GateName>(activation, gates, 'silu');
      const bias = biases.startsWith('configured') && config.flag('attention_bias', false);
      const ofProjections = {bias: bias || biases === 'projections'};
      const wideBias = {bias: biases === 'configured' && config.flag('mlp_bias', false)};
      const multipliers = variant.multipliers?.(config) ?? {};
      const softCaps = variant.softCaps?.(config) ?? {attention: null, logits: null};
      config.expectMultiple(['num_attention_heads', heads], ['num_key_value_heads', keyValueHeads]);
      const count = config.count('num_hidden_layers');
      const sizes = {count, size, isPlan: net.isPlan, causal: config.flag('is_causal', true)};
      const {causal, windows, rotaries} = variant.blocks?.(config, sizes) ?? alike(config, sizes);
      if (purpose.head === 'tokenClasses') {
        config.expect('token_classification_bias', true);
      }
      const norm = (name: string, x: NetTensor, length = width) => net.rmsNorm(name, length, epsilon, [x], {addsOne});
      const before = (name: string, x: NetTensor) => (norms === 'after' ? x : norm(name, x));
      const after = (name: string, x: NetTensor) => (norms === 'before' ? x : norm(name, x));
      const beforeGates = norms === 'around' ? 'pre_feedforward_layernorm' : 'post_attention_layernorm';
      const body = purpose.head === 'spans' ? bodyOfSpans : 'model';
      const root = purpose.head === 'none' ? '' : body;
      const tokenEmbedding = nameOf(root, 'embed_tokens');
      const vocabulary = config.count('vocab_size');
      let x = net.embedding(tokenEmbedding, vocabulary, width, ids);
      x = net.scale(nameOf(tokenEmbedding, 'scale'), multipliers.embeddings, x);
      x = net.blocks(nameOf(root, 'layers'), count, [x, mask], (layer, [input = null, seen = null], i) => {
        const self = nameOf(layer, 'self_attn');
        const first = before(nameOf(layer, 'input_layernorm'), input);
        const project = (name: string, number: number): NetTensor =>
          net.dense(nameOf(self, name), [width, number * size], first, ofProjections);
        const normed = (name: string, number: number, x: NetTensor): NetTensor => {
          switch (normalizes) {
            case 'heads':
              return net.headNorm(nameOf(self, name), size, epsilon, x, {addsOne});
            case 'positions':
              return norm(nameOf(self, name), x, number * size);
            default:
              return x;
          }
        };
        const inputs = joined
          ? [project('qkv_proj', heads + 2 * keyValueHeads)]
          : [
              normed('q_norm', heads, project('q_proj', heads)),
              normed('k_norm', keyValueHeads, project('k_proj', keyValueHeads)),
              project('v_proj', keyValueHeads),
            ];
        const attended = net.attention(self, [...inputs, seen], {
          ...{heads, keyValueHeads, causal, packed: joined},
          ...{rotary: rotaries[i] ?? null, window: windows[i] ?? null, scale: multipliers.attention ?? null},
          softCap: softCaps.attention,
        });
        const projected = net.dense(nameOf(self, 'o_proj'), [heads * size, width], attended, {bias});
        const middle = added(self, after(nameOf(layer, 'post_attention_layernorm'), projected), input);
        const mlp = nameOf(layer, 'mlp');
        const second = before(nameOf(layer, beforeGates), middle);
        const up = (joined ? ['gate_up_proj'] : ['gate_proj', 'up_proj']).map(name =>
          net.dense(nameOf(mlp, name), [width, joined ? 2 * inner : inner], second, wideBias),
        );
        const gated = net.gate(nameOf(mlp, 'act_fn'), gate, up);
        const narrow = net.dense(nameOf(mlp, 'down_proj'), [inner, width], gated, wideBias);
        return added(mlp, after(nameOf(layer, 'post_feedforward_layernorm'), narrow), middle);
      });
      function added(module: string, x: NetTensor, to: NetTensor): NetTensor {
        return net.add(nameOf(module, 'sum'), [to, net.scale(nameOf(module, 'scale'), multipliers.parts, x)]);
      }
      x = norm(nameOf(root, 'norm'), x);
      if (purpose.head === 'tokens') {
        x = net.scale('scores/scale', multipliers.logits, x);
      }
      const sizesOfHead = {width, vocabulary, tokenEmbedding, isTied: false, tokenHead: 'score'};
      const outputs = decoderHead(net, config, {states: x, ids, mask}, {...purpose, ...sizesOfHead});
      return purpose.head === 'tokens' ? net.softCap('lm_head/soft_cap', softCaps.logits, outputs) : outputs;
    },
  };
}

/** Blocks with the same rotary settings. Those that are `windowed` have a sliding window. Default: none. */
export function alike(config: HubConfig, sizes: BlockSizes, windowed: readonly boolean[] = []): Blocks {
  const rotary = rotaryOf(config, sizes);
  const rotaries = new Array<Rotary>(sizes.count).fill(rotary);
  return {causal: sizes.causal, windows: windowsOf(config, sizes.causal, windowed), rotaries};
}

/** The windows of blocks in a config. In a bidirectional decoder a window reaches as far to both sides. */
export function windowsOf(config: HubConfig, causal: boolean, windowed: readonly boolean[]): (number | null)[] {
  const window = windowed.includes(true) ? config.count('sliding_window') + (causal ? 0 : 1) : null;
  return windowed.map(isWindowed => (isWindowed ? window : null));
}
