import {brief, showShape} from '../../../platform/errors';
import type {MetadataValue} from './headerReader';
import {oneOf, type Settings} from './settings';

export interface Family {
  /** The hub's module names by those in the file: of the model, and of each block. */
  readonly modules: Readonly<Record<string, string>>;
  readonly blockModules: Readonly<Record<string, string>>;
  /** The hub's prefix of the blocks. */
  readonly blocks: string;
  /** Which rows have another order: those of queries and keys, by rotated pairs; or all three, part by part. */
  readonly rows?: 'pairs' | 'parts';
  /** Whether normalization weights include the 1 that the hub's models add. */
  readonly addedOne?: boolean;
  /** The config in the hub's form. */
  config(settings: Settings): Record<string, unknown>;
  /** Settings that change nothing in this family. */
  readonly harmless?: RegExp;
  /** Tensors whose values are part of the config. */
  readonly configTensors?: readonly string[];
}

const LLAMA_MODULES = {token_embd: 'model.embed_tokens', output_norm: 'model.norm', output: 'lm_head'};
const ATTENTION_AND_GATES = {
  attn_q: 'self_attn.q_proj',
  attn_k: 'self_attn.k_proj',
  attn_v: 'self_attn.v_proj',
  attn_output: 'self_attn.o_proj',
  ffn_gate: 'mlp.gate_proj',
  ffn_up: 'mlp.up_proj',
  ffn_down: 'mlp.down_proj',
};
const LLAMA_BLOCK = {
  ...ATTENTION_AND_GATES,
  attn_norm: 'input_layernorm',
  ffn_norm: 'post_attention_layernorm',
};
const LLAMA_3_FACTORS = 'rope_freqs.weight';
const LONG_ROPE = ['rope_factors_long.weight', 'rope_factors_short.weight'];
const NORMED_HEADS = {attn_q_norm: 'self_attn.q_norm', attn_k_norm: 'self_attn.k_norm'};
const NORMS_AROUND = {
  post_attention_norm: 'post_attention_layernorm',
  ffn_norm: 'pre_feedforward_layernorm',
  post_ffw_norm: 'post_feedforward_layernorm',
};
const OLMO_BLOCK = {
  ...ATTENTION_AND_GATES,
  ...NORMED_HEADS,
  post_attention_norm: 'post_attention_layernorm',
  post_ffw_norm: 'post_feedforward_layernorm',
};
const LLAMA_LIKE = {modules: LLAMA_MODULES, blockModules: LLAMA_BLOCK, blocks: 'model.layers'};

/** Settings that decoders built like Llama share, except for RoPE scaling. */
function decoderConfig(type: string, className: string, settings: Settings): Record<string, unknown> {
  const {get, need} = settings;
  const heads = oneOf(need('attention.head_count'));
  return {
    model_type: type,
    architectures: [`${className}ForCausalLM`],
    hidden_size: need('embedding_length'),
    num_hidden_layers: need('block_count'),
    num_attention_heads: heads,
    num_key_value_heads: oneOf(get('attention.head_count_kv')) ?? heads,
    head_dim: headSize(settings, type === 'phi3'),
    intermediate_size: oneOf(need('feed_forward_length')),
    rms_norm_eps: need('attention.layer_norm_rms_epsilon'),
    max_position_embeddings: need('context_length'),
    rope_theta: get('rope.freq_base') ?? 10_000,
    attention_bias: settings.has('blk.0.attn_q.bias'),
  };
}

/** A setting of Gemma that no file contains. Only in the model of 27B, which has most `blocks`, it differs. */
function queryScale(config: Record<string, unknown>, blocks: number): unknown {
  const {num_hidden_layers: count, hidden_size: width, num_attention_heads: heads, head_dim: size} = config;
  return count === blocks ? Number(width) / Number(heads) : size;
}

/**
 * Returns the size of query heads, which must equal that of keys and values.
 *
 * @param isFixed whether the width determines it, and only a part of a head may be rotated.
 */
function headSize({get, refuse, tensor, faults}: Settings, isFixed: boolean): number {
  const usual = Math.floor(Number(get('embedding_length')) / Number(oneOf(get('attention.head_count'))));
  const size = Number((isFixed ? undefined : get('attention.key_length')) ?? usual);
  for (const name of ['attention.key_length', 'attention.value_length', ...(isFixed ? [] : ['rope.dimension_count'])]) {
    if (Number(get(name) ?? (name.startsWith('attention') ? usual : size)) !== size) {
      refuse(name, `with a head size of ${size}`);
    }
  }
  const pairs = Number(get('rope.dimension_count') ?? size) / 2;
  for (const name of [LLAMA_3_FACTORS, ...LONG_ROPE]) {
    const shape = tensor(name)?.shape ?? [pairs];
    if (shape.length !== 1 || shape[0] !== pairs) {
      faults.push(
        `${name} of the GGUF file has shape ${showShape(shape)}, expected [${pairs}], a factor for each pair.`,
      );
    }
  }
  return size;
}

/** The factor of linear RoPE scaling, as llama.cpp reads it; 1 for none. */
function stretchOf({get, refuse}: Settings, types: readonly string[], refusal?: string): MetadataValue {
  const [type = 'linear', factor, older] = ['rope.scaling.type', 'rope.scaling.factor', 'rope.scale_linear'].map(get);
  if (!['none', 'linear', ...types].includes(type as string)) {
    refuse('rope.scaling.type');
  }
  const by = factor ?? older ?? 0;
  if (type === 'none' || by === 0 || by === 1) {
    return 1;
  }
  if (refusal !== undefined) {
    refuse(factor === undefined ? 'rope.scale_linear' : 'rope.scaling.factor', refusal);
  }
  return by;
}

function linearScaling(settings: Settings): Record<string, unknown> {
  const factor = stretchOf(settings, [], settings.has(LLAMA_3_FACTORS) ? `beside ${LLAMA_3_FACTORS}` : undefined);
  return factor === 1 ? {} : {rope_scaling: {rope_type: 'linear', factor}};
}

/** Settings that decoders with layer normalizations and partly rotated heads share. */
function plainConfig(type: string, className: string, settings: Settings): Record<string, unknown> {
  const {need, get, refuse} = settings;
  const heads = oneOf(need('attention.head_count'));
  if (type !== 'phi' && ![undefined, heads].includes(oneOf(get('attention.head_count_kv')))) {
    refuse('attention.head_count_kv', `with ${brief(heads)} query heads`);
  }
  stretchOf(settings, [], `in ${type}`);
  return {
    model_type: type,
    architectures: [`${className}ForCausalLM`],
    hidden_size: need('embedding_length'),
    num_hidden_layers: need('block_count'),
    num_attention_heads: heads,
    intermediate_size: oneOf(need('feed_forward_length')),
    layer_norm_eps: need('attention.layer_norm_epsilon'),
    max_position_embeddings: need('context_length'),
  };
}

function rotatedPart(settings: Settings): number {
  const size = headSize(settings, true);
  return Number(settings.get('rope.dimension_count') ?? size) / size;
}

/** The families by the names of architectures in GGUF files. */
export const FAMILIES: Readonly<Record<string, Family>> = {
  llama: {
    ...LLAMA_LIKE,
    rows: 'pairs',
    configTensors: [LLAMA_3_FACTORS],
    config: settings => ({
      ...decoderConfig('llama', 'Llama', settings),
      mlp_bias: settings.has('blk.0.ffn_gate.bias'),
      ...linearScaling(settings),
    }),
  },
  qwen2: {
    ...LLAMA_LIKE,
    config: settings => ({...decoderConfig('qwen2', 'Qwen2', settings), ...linearScaling(settings)}),
  },
  qwen3: {
    ...LLAMA_LIKE,
    blockModules: {...LLAMA_BLOCK, ...NORMED_HEADS},
    config: settings => ({...decoderConfig('qwen3', 'Qwen3', settings), ...linearScaling(settings)}),
  },
  gemma3: {
    ...LLAMA_LIKE,
    blockModules: {...LLAMA_BLOCK, ...NORMED_HEADS, ...NORMS_AROUND},
    addedOne: true,
    config: settings => {
      const {get} = settings;
      const config = decoderConfig('gemma3_text', 'Gemma3', settings);
      const window = get('attention.sliding_window');
      const period = get('attention.sliding_window_pattern') ?? 6;
      return {
        ...config,
        query_pre_attn_scalar: queryScale(config, 62),
        ...(window === undefined || window === 0
          ? {sliding_window_pattern: 1}
          : {sliding_window: window, sliding_window_pattern: period}),
        rope_local_base_freq: get('rope.freq_base_swa') ?? 10_000,
        ...linearScaling(settings),
      };
    },
  },
  gemma: {
    ...LLAMA_LIKE,
    addedOne: true,
    config: settings => ({...decoderConfig('gemma', 'Gemma', settings), ...linearScaling(settings)}),
  },
  gemma2: {
    ...LLAMA_LIKE,
    blockModules: {...LLAMA_BLOCK, ...NORMS_AROUND},
    addedOne: true,
    config: settings => {
      const {get} = settings;
      const config = decoderConfig('gemma2', 'Gemma2', settings);
      return {
        ...config,
        query_pre_attn_scalar: queryScale(config, 46),
        sliding_window: get('attention.sliding_window'),
        attn_logit_softcapping: get('attn_logit_softcapping'),
        final_logit_softcapping: get('final_logit_softcapping'),
        ...linearScaling(settings),
      };
    },
  },
  olmo2: {
    ...LLAMA_LIKE,
    blockModules: OLMO_BLOCK,
    config: settings => {
      const {get} = settings;
      const window = get('attention.sliding_window');
      const hasWindow = window !== undefined && window !== 0;
      const {head_dim: _, ...config} = decoderConfig(
        hasWindow ? 'olmo3' : 'olmo2',
        hasWindow ? 'Olmo3' : 'Olmo2',
        settings,
      );
      headSize(settings, true);
      const pattern = get('attention.sliding_window_pattern');
      return {
        ...config,
        ...(hasWindow && {sliding_window: window}),
        ...(hasWindow &&
          Array.isArray(pattern) && {
            layer_types: pattern.map(isWindowed => (isWindowed === true ? 'sliding_attention' : 'full_attention')),
          }),
        ...linearScaling(settings),
      };
    },
  },
  phi3: {
    ...LLAMA_LIKE,
    blockModules: {...LLAMA_BLOCK, attn_qkv: 'self_attn.qkv_proj', ffn_up: 'mlp.gate_up_proj'},
    configTensors: LONG_ROPE,
    config: settings => {
      const {get, refuse, faults} = settings;
      const {head_dim: size, attention_bias: _, ...config} = decoderConfig('phi3', 'Phi3', settings);
      const window = get('attention.sliding_window');
      const attention = get('rope.scaling.attn_factor') ?? 1;
      const tensors = LONG_ROPE.filter(settings.has);
      stretchOf(settings, ['longrope'], 'in phi3');
      if (tensors.length === 1) {
        faults.push(`The GGUF file has ${tensors.join()} alone, where ${LONG_ROPE.join(' and ')} belong together.`);
      }
      if (tensors.length === 0 && get('rope.scaling.type') === 'longrope') {
        refuse('rope.scaling.type', `without ${LONG_ROPE.join(' and ')}`);
      }
      if (tensors.length === 0 && attention !== 1) {
        refuse('rope.scaling.attn_factor', `without ${LONG_ROPE.join(' and ')}`);
      }
      return {
        ...config,
        original_max_position_embeddings: get('rope.scaling.original_context_length') ?? get('context_length'),
        partial_rotary_factor: Number(get('rope.dimension_count') ?? size) / Number(size),
        sliding_window: window === undefined || window === 0 ? null : window,
        pad_token_id: 0,
        ...(tensors.length > 0 && {rope_scaling: {attention_factor: attention}}),
      };
    },
  },
  lfm2: {
    modules: {token_embd: 'model.embed_tokens', token_embd_norm: 'model.embedding_norm', output: 'lm_head'},
    blocks: 'model.layers',
    blockModules: {
      attn_norm: 'operator_norm',
      attn_q: 'self_attn.q_proj',
      attn_k: 'self_attn.k_proj',
      attn_v: 'self_attn.v_proj',
      attn_output: 'self_attn.out_proj',
      attn_q_norm: 'self_attn.q_layernorm',
      attn_k_norm: 'self_attn.k_layernorm',
      'shortconv.in_proj': 'conv.in_proj',
      'shortconv.conv': 'conv.conv',
      'shortconv.out_proj': 'conv.out_proj',
      ffn_norm: 'ffn_norm',
      ffn_gate: 'feed_forward.w1',
      ffn_up: 'feed_forward.w3',
      ffn_down: 'feed_forward.w2',
    },
    config: settings => {
      const {rms_norm_eps, attention_bias: _, ...config} = decoderConfig('lfm2', 'Lfm2', settings);
      // A number for each block, 0 for those with a convolution; or one for all.
      const keyValueHeads = config.num_key_value_heads;
      const counts = typeof keyValueHeads === 'object' ? Array.from(keyValueHeads as ArrayLike<unknown>) : undefined;
      const [heads, ...otherCounts] = new Set(counts?.filter(count => count !== 0) ?? [keyValueHeads]);
      if (otherCounts.length > 0) {
        settings.refuse('attention.head_count_kv');
      }
      return {
        ...config,
        num_key_value_heads: heads,
        ...(counts && {layer_types: counts.map(count => (count === 0 ? 'conv' : 'full_attention'))}),
        norm_eps: rms_norm_eps,
        conv_L_cache: settings.need('shortconv.l_cache'),
        block_auto_adjust_ff_dim: false,
        ...linearScaling(settings),
      };
    },
  },
  phi2: {
    modules: {...LLAMA_MODULES, output_norm: 'model.final_layernorm'},
    blocks: 'model.layers',
    blockModules: {
      attn_norm: 'input_layernorm',
      attn_q: 'self_attn.q_proj',
      attn_k: 'self_attn.k_proj',
      attn_v: 'self_attn.v_proj',
      attn_output: 'self_attn.dense',
      ffn_up: 'mlp.fc1',
      ffn_down: 'mlp.fc2',
    },
    config: settings => ({
      ...plainConfig('phi', 'Phi', settings),
      num_key_value_heads:
        oneOf(settings.get('attention.head_count_kv')) ?? oneOf(settings.get('attention.head_count')),
      rope_theta: settings.get('rope.freq_base') ?? 10_000,
      partial_rotary_factor: rotatedPart(settings),
    }),
  },
  gptneox: {
    rows: 'parts',
    modules: {token_embd: 'gpt_neox.embed_in', output_norm: 'gpt_neox.final_layer_norm', output: 'lm_head'},
    blocks: 'gpt_neox.layers',
    blockModules: {
      attn_norm: 'input_layernorm',
      attn_qkv: 'attention.query_key_value',
      attn_output: 'attention.dense',
      ffn_norm: 'post_attention_layernorm',
      ffn_up: 'mlp.dense_h_to_4h',
      ffn_down: 'mlp.dense_4h_to_h',
    },
    config: settings => ({
      ...plainConfig('gpt_neox', 'GPTNeoX', settings),
      use_parallel_residual: settings.need('use_parallel_residual'),
      rotary_emb_base: settings.get('rope.freq_base') ?? 10_000,
      rotary_pct: rotatedPart(settings),
    }),
  },
  gpt2: {
    harmless: /^rope\./,
    modules: {
      token_embd: 'transformer.wte',
      position_embd: 'transformer.wpe',
      output_norm: 'transformer.ln_f',
      output: 'lm_head',
    },
    blocks: 'transformer.h',
    blockModules: {
      attn_norm: 'ln_1',
      attn_qkv: 'attn.c_attn',
      attn_output: 'attn.c_proj',
      ffn_norm: 'ln_2',
      ffn_up: 'mlp.c_fc',
      ffn_down: 'mlp.c_proj',
    },
    config: settings => {
      const {get, need, refuse} = settings;
      const heads = oneOf(need('attention.head_count'));
      if (![undefined, heads].includes(oneOf(get('attention.head_count_kv')))) {
        refuse('attention.head_count_kv', `with ${brief(heads)} query heads`);
      }
      headSize(settings, true);
      return {
        model_type: 'gpt2',
        architectures: ['GPT2LMHeadModel'],
        n_embd: need('embedding_length'),
        n_layer: need('block_count'),
        n_head: heads,
        n_inner: oneOf(need('feed_forward_length')),
        n_positions: need('context_length'),
        layer_norm_epsilon: need('attention.layer_norm_epsilon'),
      };
    },
  },
};
