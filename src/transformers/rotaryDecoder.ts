import {show} from '../errors';
import {type Architecture, nameOf} from './architecture';
import {decoderHead} from './decoderHead';
import type {HubConfig} from './hubConfig';
import {rotaryOf} from './llamaRotary';
import type {NetTensor} from './net';

/** The activations of gates that configs name. */
export const GATES = {silu: 'silu', swish: 'silu', gelu: 'gelu', gelu_pytorch_tanh: 'gelu_tanh'} as const;

/** What differs between Llama and those that follow it. */
interface Variant {
  /** What the names of its classes begin with. */
  family: string;
  /**
   * Which linear layers have a bias: those that the config says, of attention alone or of the feed-forward part too;
   * those of queries, keys and values; or none.
   */
  biases: 'configured' | 'configured attention' | 'projections' | 'none';
  /** Whether each head of the queries and keys is normalized. Default: false. */
  normsHeads?: boolean;
  /** How many numbers a head has if the config does not say it. Default: the width over the heads. */
  headSize?: number;
  /** Whether a config has a window of tokens that one sees: always, or where it is switched on. Default: never. */
  windows?: 'always' | 'switched';
}

/**
 * Decoders built as Llama: normalizations by the root mean square, rotary places, shared keys and values, gated
 * feed-forward.
 */
export function rotaryDecoder({family, biases, normsHeads = false, headSize, windows}: Variant): Architecture {
  return {
    prefix: 'model',
    classes: {
      [`${family}Model`]: 'none',
      [`${family}ForCausalLM`]: 'tokens',
      [`${family}ForSequenceClassification`]: 'classes',
      [`${family}ForTokenClassification`]: 'tokenClasses',
    },
    commonNames: {},
    blocks: config => config.count('num_hidden_layers'),
    vocabulary: config => config.count('vocab_size'),
    places: config => config.count('max_position_embeddings', 2048),
    build: (net, config, {ids, mask}, purpose) => {
      const width = config.count('hidden_size');
      const heads = config.count('num_attention_heads');
      const keyValueHeads = config.countOr('num_key_value_heads', heads);
      const size = config.countOr('head_dim', headSize ?? Math.floor(width / heads));
      const inner = config.count('intermediate_size');
      const epsilon = config.number('rms_norm_eps', 1e-6);
      const gate = config.choice<(typeof GATES)[keyof typeof GATES]>('hidden_act', GATES, 'silu');
      const bias = biases.startsWith('configured') && config.flag('attention_bias', false);
      const ofProjections = {bias: bias || biases === 'projections'};
      const wideBias = {bias: biases === 'configured' && config.flag('mlp_bias', false)};
      const causal = config.flag('is_causal', true);
      refuseWindows(config, windows);
      if (heads % keyValueHeads !== 0) {
        config.fault(`num_key_value_heads ${keyValueHeads} does not divide num_attention_heads ${heads}.`);
      }
      if (size % 2 !== 0) {
        config.fault(`Heads of ${size} numbers have no pairs to turn.`);
      }
      // A plan makes no table: its sizes are not compared with the files yet.
      const rotary = rotaryOf(config, net.isPlan ? 2 : size);
      const root = purpose.head === 'none' ? '' : 'model';
      const words = nameOf(root, 'embed_tokens');
      const vocabulary = config.count('vocab_size');
      let x = net.embedding(words, vocabulary, width, ids);
      const count = config.count('num_hidden_layers');
      for (let i = 0; i < count; i++) {
        const layer = nameOf(root, 'layers', i);
        x = net.block({name: `${layer}/block`, index: i, count}, [x, mask], ([input = null, seen = null]) => {
          const first = net.rmsNorm(nameOf(layer, 'input_layernorm'), width, epsilon, [input]);
          const self = nameOf(layer, 'self_attn');
          const project = (name: string, number: number): NetTensor =>
            net.dense(nameOf(self, name), [width, number * size], first, ofProjections);
          const normed = (name: string, x: NetTensor): NetTensor =>
            normsHeads ? net.headNorm(nameOf(self, name), size, epsilon, x) : x;
          const inputs = [
            normed('q_norm', project('q_proj', heads)),
            normed('k_norm', project('k_proj', keyValueHeads)),
            project('v_proj', keyValueHeads),
          ];
          const attended = net.attention(self, [...inputs, seen], {heads, keyValueHeads, causal, rotary});
          const projected = net.dense(nameOf(self, 'o_proj'), [heads * size, width], attended, {bias});
          const middle = net.add(nameOf(self, 'sum'), [input, projected]);
          const second = net.rmsNorm(nameOf(layer, 'post_attention_layernorm'), width, epsilon, [middle]);
          const mlp = nameOf(layer, 'mlp');
          const up = ['gate_proj', 'up_proj'].map(name =>
            net.dense(nameOf(mlp, name), [width, inner], second, wideBias),
          );
          const gated = net.gate(nameOf(mlp, 'act_fn'), gate, up as [NetTensor, NetTensor]);
          const narrow = net.dense(nameOf(mlp, 'down_proj'), [inner, width], gated, wideBias);
          return net.add(nameOf(mlp, 'sum'), [middle, narrow]);
        });
      }
      x = net.rmsNorm(nameOf(root, 'norm'), width, epsilon, [x]);
      return decoderHead(
        net,
        config,
        {states: x, ids, mask},
        {
          ...purpose,
          ...{width, vocabulary, words},
          isTied: false,
          tokenHead: 'score',
        },
      );
    },
  };
}

/** Refuses windows: here each token sees all that stand before it. */
function refuseWindows(config: HubConfig, windows: Variant['windows']): void {
  if (windows === 'always' || (windows === 'switched' && config.flag('use_sliding_window', false))) {
    // Without the field transformers takes 4096.
    const window = config.get('sliding_window');
    if (window !== null) {
      config.fault(`sliding_window is ${show(window ?? 4096)}, for which there is no code here; it may be null.`);
    }
  }
}
