import {type Architecture, nameOf} from './architecture';
import {decoderHead} from './decoderHead';
import {rotaryOf} from './llamaRotary';
import type {NetTensor} from './net';

const LLAMA_GATES = {silu: 'silu', swish: 'silu', gelu: 'gelu', gelu_pytorch_tanh: 'gelu_tanh'} as const;

/**
 * Llama: normalizations by the root mean square, rotary places, shared keys and values, gated feed-forward. (Touvron et
 * al., arXiv 2302.13971.)
 */
export const llama: Architecture = {
  prefix: 'model',
  classes: {
    LlamaModel: 'none',
    LlamaForCausalLM: 'tokens',
    LlamaForSequenceClassification: 'classes',
    LlamaForTokenClassification: 'tokenClasses',
  },
  commonNames: {},
  blocks: config => config.count('num_hidden_layers'),
  vocabulary: config => config.count('vocab_size'),
  places: config => config.count('max_position_embeddings', 2048),
  build: (net, config, {ids, mask}, purpose) => {
    const width = config.count('hidden_size');
    const heads = config.count('num_attention_heads');
    const keyValueHeads = config.countOr('num_key_value_heads', heads);
    const size = config.countOr('head_dim', Math.floor(width / heads));
    const inner = config.count('intermediate_size');
    const epsilon = config.number('rms_norm_eps', 1e-6);
    const gate = config.choice<(typeof LLAMA_GATES)[keyof typeof LLAMA_GATES]>('hidden_act', LLAMA_GATES, 'silu');
    const bias = config.flag('attention_bias', false);
    const wideBias = {bias: config.flag('mlp_bias', false)};
    const causal = config.flag('is_causal', true);
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
          net.dense(nameOf(self, name), [width, number * size], first, {bias});
        const inputs = [project('q_proj', heads), project('k_proj', keyValueHeads), project('v_proj', keyValueHeads)];
        const attended = net.attention(self, [...inputs, seen], {heads, keyValueHeads, causal, rotary});
        const projected = net.dense(nameOf(self, 'o_proj'), [heads * size, width], attended, {bias});
        const middle = net.add(nameOf(self, 'sum'), [input, projected]);
        const second = net.rmsNorm(nameOf(layer, 'post_attention_layernorm'), width, epsilon, [middle]);
        const mlp = nameOf(layer, 'mlp');
        const up = ['gate_proj', 'up_proj'].map(name => net.dense(nameOf(mlp, name), [width, inner], second, wideBias));
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
