import {type Architecture, type GateName, HUB_ACTIVATIONS, HUB_GATES, nameOf} from '../architecture';
import {pooledClassifier} from './encoder';
import {encoderHead, maskedWords} from './encoderHeads';
import {rotaryOf} from './llamaRotary';
import {fileNameOf} from '../net';

/**
 * Nomic's BERT: rotary places, gated feed-forward, no biases. Its older files, which have queries, keys and values in
 * one tensor, are read too. (Nussbaum et al., arXiv 2402.01613.)
 */
export const nomicBert: Architecture = {
  prefix: 'nomic_bert',
  classes: {
    NomicBertModel: 'none',
    NomicBertForSequenceClassification: 'classes',
    NomicBertForTokenClassification: 'tokenClasses',
    NomicBertForMaskedLM: 'tokens',
  },
  commonNames: {},
  renamed: name =>
    name
      .replace(/^encoder\.layers\./, 'layers.')
      .replace(/^emb_ln\./, 'embeddings.LayerNorm.')
      .replace(/^(layers\.\d+)\.attn\./, '$1.self_attn.')
      .replace('.self_attn.out_proj.', '.self_attn.o_proj.')
      .replace('.mlp.fc11.', '.mlp.up_proj.')
      .replace('.mlp.fc12.', '.mlp.gate_proj.')
      .replace('.mlp.fc2.', '.mlp.down_proj.')
      .replace(/^(layers\.\d+)\.norm1\./, '$1.post_attention_layernorm.')
      .replace(/^(layers\.\d+)\.norm2\./, '$1.post_mlp_layernorm.'),
  blocks: config => config.count('num_hidden_layers', 12),
  vocabulary: config => config.count('vocab_size', 30528),
  places: config => config.count('max_position_embeddings', 2048),
  build: (net, config, {ids, mask, types}, purpose) => {
    const width = config.count('hidden_size', 768);
    const heads = config.count('num_attention_heads', 12);
    const size = config.countOr('head_dim', Math.floor(width / heads));
    const inner = config.count('intermediate_size', 3072);
    const epsilon = config.number('layer_norm_eps', 1e-12);
    const gate = config.choice<GateName>('hidden_act', HUB_GATES, 'silu');
    const rotary = rotaryOf(config, {size, isPlan: net.isPlan}, 1000);
    const root = purpose.head === 'none' ? '' : 'nomic_bert';
    const embeddings = nameOf(root, 'embeddings');
    const words = nameOf(embeddings, 'word_embeddings');
    const vocabulary = config.count('vocab_size', 30528);
    let x = net.embedding(words, vocabulary, width, ids);
    const typeCount = config.count('type_vocab_size', 2);
    const typed = purpose.tokenTypes ? [x, types] : [x];
    x = net.types(nameOf(embeddings, 'token_type_embeddings'), typeCount, width, typed);
    x = net.layerNorm(nameOf(embeddings, 'LayerNorm'), width, epsilon, [x]);
    const plain = {bias: false};
    const count = config.count('num_hidden_layers', 12);
    for (let i = 0; i < count; i++) {
      const layer = nameOf(root, 'layers', i);
      x = net.block({name: `${layer}/block`, index: i, count}, [x, mask], ([input = null, seen = null]) => {
        const self = nameOf(layer, 'self_attn');
        const joined = fileNameOf(nameOf(self, 'Wqkv'), 'weight');
        const inputs = ['q_proj', 'k_proj', 'v_proj'].map((name, index) => {
          const older = {orElse: joined, part: {index, of: 3}};
          return net.dense(nameOf(self, name), [width, heads * size], input, {...plain, ...older});
        });
        const attended = net.attention(self, [...inputs, seen], {heads, rotary});
        const projected = net.dense(nameOf(self, 'o_proj'), [heads * size, width], attended, plain);
        const middle = net.layerNorm(nameOf(layer, 'post_attention_layernorm'), width, epsilon, [projected, input]);
        const mlp = nameOf(layer, 'mlp');
        const up = ['gate_proj', 'up_proj'].map(name => net.dense(nameOf(mlp, name), [width, inner], middle, plain));
        const gated = net.gate(nameOf(mlp, 'act_fn'), gate, up);
        const narrow = net.dense(nameOf(mlp, 'down_proj'), [inner, width], gated, plain);
        return net.layerNorm(nameOf(layer, 'post_mlp_layernorm'), width, epsilon, [narrow, middle]);
      });
    }
    const deviation = config.number('initializer_range', 0.02, 1);
    const {head, pooling} = purpose;
    const started = {...purpose, deviation};
    switch (head) {
      case 'none':
        break;
      case 'classes':
        return pooledClassifier(net, x, root, width, started);
      case 'tokens': {
        const at = 'cls/predictions';
        const names = {transform: `${at}/transform/dense`, norm: `${at}/transform/layer_norm`};
        const decoder = {decoder: `${at}/decoder`, bias: 'cls.predictions.bias'};
        const activation = config.choice('hidden_act', HUB_ACTIVATIONS, 'silu');
        return maskedWords(net, config, x, {...names, ...decoder, activation, epsilon, width, vocabulary, words});
      }
      default:
        return encoderHead(net, x, {...started, width, pooled: () => null});
    }
    if (pooling === 'pooler') {
      config.fault("Nomic's BERT has no pooler. Choose another pooling: 'mean', 'first' or 'last'.");
    }
    return pooling === 'none' || pooling === 'pooler' ? x : net.pool('pooling', pooling, [x, mask]);
  },
};
