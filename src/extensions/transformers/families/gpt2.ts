import {HUB_ACTIVATIONS, type Architecture, nameOf} from '../net/architecture';
import {decoderHead} from './decoderHead';

/**
 * GPT-2: normalizations before each part, learned positions, and one layer for queries, keys and values. (Radford et
 * al., 2019.)
 */
export const gpt2: Architecture = {
  prefix: 'transformer',
  classes: {
    GPT2Model: 'none',
    GPT2LMHeadModel: 'tokens',
    GPT2ForSequenceClassification: 'classes',
    GPT2ForTokenClassification: 'tokenClasses',
    GPT2ForQuestionAnswering: 'spans',
  },
  commonNames: {
    n_embd: 'hidden_size',
    n_head: 'num_attention_heads',
    n_layer: 'num_hidden_layers',
    n_positions: 'max_position_embeddings',
  },
  blocks: config => config.count('n_layer'),
  vocabulary: config => config.count('vocab_size'),
  positions: config => config.count('n_positions', 1024),
  build: (net, config, {ids, mask}, purpose) => {
    const width = config.count('n_embd');
    const heads = config.count('n_head');
    const inner = config.countOr('n_inner', 4 * width);
    const epsilon = config.number('layer_norm_epsilon', 1e-5);
    const activation = config.choice('activation_function', HUB_ACTIVATIONS, 'gelu_new');
    const causal = config.flag('is_causal', true);
    const scale = config.flag('scale_attn_weights', true) ? 1 / Math.sqrt(width / heads) : 1;
    const scalesByBlock = config.flag('scale_attn_by_inverse_layer_idx', false);
    config.expect('add_cross_attention', false);
    if (width % heads !== 0) {
      config.fault(`n_embd must be a multiple of n_head (${heads}), got ${width}.`);
    }
    const root = purpose.head === 'none' ? '' : 'transformer';
    const tokenEmbedding = nameOf(root, 'wte');
    const vocabulary = config.count('vocab_size');
    let x = net.embedding(tokenEmbedding, vocabulary, width, ids);
    x = net.positions(nameOf(root, 'wpe'), {rows: config.count('n_positions', 1024), width}, [x]);
    const stored = {conv1d: true};
    const count = config.count('n_layer');
    for (let i = 0; i < count; i++) {
      const layer = nameOf(root, 'h', i);
      x = net.block({name: `${layer}/block`, index: i, count}, [x, mask], ([input = null, seen = null]) => {
        const first = net.layerNorm(nameOf(layer, 'ln_1'), width, epsilon, [input]);
        const packed = net.dense(nameOf(layer, 'attn/c_attn'), [width, 3 * width], first, stored);
        const settings = {heads, causal, packed: true, scale: scalesByBlock ? scale / (i + 1) : scale};
        const attended = net.attention(nameOf(layer, 'attn'), [packed, seen], settings);
        const projected = net.dense(nameOf(layer, 'attn/c_proj'), [width, width], attended, stored);
        const middle = net.add(nameOf(layer, 'attn/sum'), [input, projected]);
        const second = net.layerNorm(nameOf(layer, 'ln_2'), width, epsilon, [middle]);
        const wide = net.dense(nameOf(layer, 'mlp/c_fc'), [width, inner], second, stored);
        const active = net.activation(nameOf(layer, 'mlp/act'), activation, wide);
        const narrow = net.dense(nameOf(layer, 'mlp/c_proj'), [inner, width], active, stored);
        return net.add(nameOf(layer, 'mlp/sum'), [middle, narrow]);
      });
    }
    x = net.layerNorm(nameOf(root, 'ln_f'), width, epsilon, [x]);
    return decoderHead(
      net,
      config,
      {states: x, ids, mask},
      {
        ...purpose,
        ...{width, vocabulary, tokenEmbedding},
        isTied: true,
        tokenHead: 'classifier',
      },
    );
  },
};
