import {brief, listed, showShape, unsupportedError} from '../../../platform/errors';
import type {GGUFFile} from './ggufFile';
import type {MetadataValue} from './headerReader';
import {oneOf, type Settings, settingsOf} from './settings';

/** How GGUF files describe a model family. */
export interface Family {
  /** The hub's module names by those in the file: of the model, and of each block. */
  readonly modules: Readonly<Record<string, string>>;
  readonly blockModules: Readonly<Record<string, string>>;
  /** The hub's prefix of the blocks. */
  readonly blocks: string;
  /** Whether rows of queries and keys are ordered by rotated pairs. */
  readonly pairs?: boolean;
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
const LLAMA_BLOCK = {
  attn_norm: 'input_layernorm',
  attn_q: 'self_attn.q_proj',
  attn_k: 'self_attn.k_proj',
  attn_v: 'self_attn.v_proj',
  attn_output: 'self_attn.o_proj',
  ffn_norm: 'post_attention_layernorm',
  ffn_gate: 'mlp.gate_proj',
  ffn_up: 'mlp.up_proj',
  ffn_down: 'mlp.down_proj',
};
const LLAMA_3_FACTORS = 'rope_freqs.weight';
const LONG_ROPE = ['rope_factors_long.weight', 'rope_factors_short.weight'];
const NORMED_HEADS = {attn_q_norm: 'self_attn.q_norm', attn_k_norm: 'self_attn.k_norm'};
const LLAMA_LIKE = {modules: LLAMA_MODULES, blockModules: LLAMA_BLOCK, blocks: 'model.layers'};

/** What decoders built like Llama have in common, except for RoPE scaling. */
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

const FAMILIES: Readonly<Record<string, Family>> = {
  llama: {
    ...LLAMA_LIKE,
    pairs: true,
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
    blockModules: {
      ...LLAMA_BLOCK,
      ...NORMED_HEADS,
      post_attention_norm: 'post_attention_layernorm',
      ffn_norm: 'pre_feedforward_layernorm',
      post_ffw_norm: 'post_feedforward_layernorm',
    },
    addedOne: true,
    config: settings => {
      const {get} = settings;
      const config = decoderConfig('gemma3_text', 'Gemma3', settings);
      const window = get('attention.sliding_window');
      const period = get('attention.sliding_window_pattern') ?? 6;
      return {
        ...config,
        // Not in any file. The 27B model, which has 62 blocks, is the one that differs.
        query_pre_attn_scalar:
          config.num_hidden_layers === 62
            ? Number(config.hidden_size) / Number(config.num_attention_heads)
            : config.head_dim,
        ...(window === undefined || window === 0
          ? {sliding_window_pattern: 1}
          : {sliding_window: window, sliding_window_pattern: period}),
        rope_local_base_freq: get('rope.freq_base_swa') ?? 10_000,
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

/** The GGUF architecture of a `model_type` of the hub, if the names differ. */
const OF_HUB: Readonly<Record<string, string>> = {mistral: 'llama', gemma3_text: 'gemma3'};

/**
 * Returns how GGUF files describe a model of the hub.
 *
 * @throws LoRAError if its model_type is not supported.
 */
export function familyOf(modelType: unknown): {architecture: string; family: Family} {
  const name = typeof modelType === 'string' ? modelType : '';
  const architecture = Object.hasOwn(OF_HUB, name) ? (OF_HUB[name] as string) : name;
  const family = Object.hasOwn(FAMILIES, architecture) ? FAMILIES[architecture] : undefined;
  if (family === undefined) {
    throw unsupportedError(
      `The model is of model_type ${brief(modelType)}, which cannot be written as GGUF. Supported: ` +
        `${listed([...Object.keys(FAMILIES).filter(each => each !== 'gemma3'), ...Object.keys(OF_HUB)])}.`,
    );
  }
  return {architecture, family};
}

/** The number of heads of a tensor whose rows a family orders by pairs; `undefined` for one that is not reordered. */
export function pairedHeads(
  {pairs}: Family,
  tensor: string,
  config: Readonly<Record<string, unknown>>,
): number | undefined {
  const [, kind] = /^blk\.\d+\.attn_([qk])\./.exec(tensor) ?? [];
  if (pairs !== true || kind === undefined) {
    return undefined;
  }
  const heads = config.num_attention_heads;
  return Number(kind === 'q' ? heads : (config.num_key_value_heads ?? heads));
}

/**
 * Returns the row of the hub's tensor for a row of a GGUF tensor. GGUF files of Llama keep the two rows of a rotated
 * pair next to each other; the hub has all first rows before all second ones.
 */
export function hubRow(row: number, rows: number, heads: number): number {
  const size = rows / heads;
  const [head, inHead] = [Math.floor(row / size), row % size];
  return head * size + (inHead % 2) * (size / 2) + Math.floor(inHead / 2);
}

/** What a GGUF file says about its model, in the hub's form. */
export interface GGUFModel {
  readonly family: Family;
  /** `config.json`. */
  readonly config: Record<string, unknown>;
  /** Tensors that became part of the config. */
  readonly used: readonly string[];
}

/**
 * Returns the config of the model in a file.
 *
 * @throws LoRAError if its architecture, or one of its settings, is not supported.
 */
export function readConfig(file: GGUFFile): GGUFModel {
  const {metadata} = file;
  const architecture = metadata.get('general.architecture');
  const family =
    typeof architecture === 'string' && Object.hasOwn(FAMILIES, architecture) ? FAMILIES[architecture] : undefined;
  if (family === undefined) {
    throw unsupportedError(
      `The GGUF file is of the architecture ${brief(architecture)}, which is not supported. Supported: ` +
        `${listed(Object.keys(FAMILIES))}.`,
    );
  }
  const {settings, check} = settingsOf(file, `${architecture as string}.`);
  const given = family.config(settings);
  check(family.harmless);
  const ids = {bos_token_id: 'bos', eos_token_id: 'eos', pad_token_id: 'padding'};
  const config: Record<string, unknown> = {
    ...given,
    ...Object.fromEntries(
      Object.entries(ids).map(([name, token]) => [name, metadata.get(`tokenizer.ggml.${token}_token_id`)] as const),
    ),
    vocab_size: settings.tensor('token_embd.weight')?.shape[0],
    tie_word_embeddings: !settings.has('output.weight'),
  };
  const said = Object.fromEntries(Object.entries(config).filter(([, value]) => value !== undefined));
  return {family, config: said, used: (family.configTensors ?? []).filter(settings.has)};
}

/** The name of a hub tensor in a GGUF file; `undefined` if no such file has it. */
export function ggufName(family: Family, name: string): string | undefined {
  const [, module = '', end = ''] = /^(.*)\.(weight|bias)$/.exec(name) ?? [];
  const find = (table: Readonly<Record<string, string>>, wanted: string) =>
    Object.keys(table).find(key => table[key] === wanted);
  if (module.startsWith(`${family.blocks}.`)) {
    const [, index, rest = ''] = /^(\d+)\.(.*)$/.exec(module.slice(family.blocks.length + 1)) ?? [];
    const found = find(family.blockModules, rest);
    return found && `blk.${index}.${found}.${end}`;
  }
  const found = find(family.modules, module);
  return found && `${found}.${end}`;
}
