import {brief, listed, LoRAError} from '../../errors';
import type {GGUFFile, GGUFTensor} from './ggufFile';
import type {MetadataValue} from './headerReader';

/** What a GGUF file says, by the names of the pairs of its architecture. */
interface Fields {
  /** A value of the architecture; `undefined` where the file has none. */
  get: (name: string) => MetadataValue | undefined;
  has: (tensor: string) => boolean;
  tensor: (name: string) => GGUFTensor | undefined;
}

/** How a family stands in GGUF. */
export interface Family {
  /** Names of modules of the hub by those in the file: of the model, and of each block. */
  readonly modules: Readonly<Record<string, string>>;
  readonly blockModules: Readonly<Record<string, string>>;
  /** How the hub calls the blocks. */
  readonly blocks: string;
  /** Whether rows of queries and keys lie by pairs that turn together. */
  readonly pairs?: boolean;
  /** Whether weights of normalizations have the one that the hub's models add. */
  readonly addedOne?: boolean;
  /** The config as the hub has it. */
  config(fields: Fields): Record<string, unknown>;
  /** Numbers that stand as tensors, and are part of the config. */
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
const NORMED_HEADS = {attn_q_norm: 'self_attn.q_norm', attn_k_norm: 'self_attn.k_norm'};
const LLAMA_LIKE = {modules: LLAMA_MODULES, blockModules: LLAMA_BLOCK, blocks: 'model.layers'};

/** What decoders built as Llama have in common, but for how angles are stretched. */
function decoderConfig(type: string, className: string, fields: Fields): Record<string, unknown> {
  const {get} = fields;
  return {
    model_type: type,
    architectures: [`${className}ForCausalLM`],
    hidden_size: get('embedding_length'),
    num_hidden_layers: get('block_count'),
    num_attention_heads: get('attention.head_count'),
    num_key_value_heads: oneOf(get('attention.head_count_kv')) ?? get('attention.head_count'),
    head_dim: get('attention.key_length'),
    intermediate_size: oneOf(get('feed_forward_length')),
    rms_norm_eps: get('attention.layer_norm_rms_epsilon'),
    max_position_embeddings: get('context_length'),
    rope_theta: get('rope.freq_base'),
    attention_bias: fields.has('blk.0.attn_q.bias'),
  };
}

/** A number that a file may have for each block, where all are one. */
function oneOf(value: MetadataValue | undefined): MetadataValue | undefined {
  if (typeof value !== 'object') {
    return value;
  }
  const list = Array.from(value as ArrayLike<MetadataValue>);
  return list.every(each => each === list[0]) ? list[0] : value;
}

/** How angles are stretched, by the two settings that all families have. */
function linearScaling({get}: Fields): Record<string, unknown> {
  const [type, factor] = [get('rope.scaling.type'), get('rope.scaling.factor')];
  return type === undefined || type === 'none' ? {} : {rope_scaling: {rope_type: type, factor}};
}

/** The families, by `general.architecture`. */
const FAMILIES: Readonly<Record<string, Family>> = {
  llama: {
    ...LLAMA_LIKE,
    pairs: true,
    configTensors: ['rope_freqs.weight'],
    config: fields => ({
      ...decoderConfig('llama', 'Llama', fields),
      head_dim: fields.get('attention.key_length') ?? fields.get('rope.dimension_count'),
      mlp_bias: fields.has('blk.0.ffn_gate.bias'),
      ...linearScaling(fields),
    }),
  },
  qwen2: {
    ...LLAMA_LIKE,
    config: fields => ({...decoderConfig('qwen2', 'Qwen2', fields), ...linearScaling(fields)}),
  },
  qwen3: {
    ...LLAMA_LIKE,
    blockModules: {...LLAMA_BLOCK, ...NORMED_HEADS},
    config: fields => ({...decoderConfig('qwen3', 'Qwen3', fields), ...linearScaling(fields)}),
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
    config: fields => {
      const {get} = fields;
      const size = get('attention.key_length') ?? 256;
      const [width, heads] = [Number(get('embedding_length')), Number(get('attention.head_count'))];
      return {
        ...decoderConfig('gemma3_text', 'Gemma3', fields),
        head_dim: size,
        // No file says it. The model of 27 billion, which has 62 blocks, is the one that differs.
        query_pre_attn_scalar: get('block_count') === 62 ? width / heads : size,
        sliding_window: get('attention.sliding_window'),
        rope_local_base_freq: get('rope.freq_base_swa'),
        ...linearScaling(fields),
      };
    },
  },
  phi3: {
    ...LLAMA_LIKE,
    blockModules: {...LLAMA_BLOCK, attn_qkv: 'self_attn.qkv_proj', ffn_up: 'mlp.gate_up_proj'},
    configTensors: ['rope_factors_long.weight', 'rope_factors_short.weight'],
    config: fields => {
      const {get} = fields;
      const {head_dim: size, attention_bias: _, ...config} = decoderConfig('phi3', 'Phi3', fields);
      const [width, heads] = [Number(get('embedding_length')), Number(get('attention.head_count'))];
      const turned = get('rope.dimension_count');
      const window = get('attention.sliding_window');
      return {
        ...config,
        original_max_position_embeddings: get('rope.scaling.original_context_length') ?? get('context_length'),
        partial_rotary_factor: turned === undefined ? undefined : Number(turned) / Number(size ?? width / heads),
        sliding_window: window === undefined || window === 0 ? null : window,
        pad_token_id: 0,
      };
    },
  },
  gpt2: {
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
    config: ({get}) => ({
      model_type: 'gpt2',
      architectures: ['GPT2LMHeadModel'],
      n_embd: get('embedding_length'),
      n_layer: get('block_count'),
      n_head: get('attention.head_count'),
      n_inner: get('feed_forward_length'),
      n_positions: get('context_length'),
      layer_norm_epsilon: get('attention.layer_norm_epsilon'),
    }),
  },
};

/** Which architecture in GGUF the models of a `model_type` of the hub are. Default: the one of that name. */
const OF_HUB: Readonly<Record<string, string>> = {mistral: 'llama', gemma3_text: 'gemma3'};

/**
 * How a model of the hub stands in GGUF.
 *
 * @throws LoRAError if there is no code for it.
 */
export function familyOf(modelType: unknown): {architecture: string; family: Family} {
  const name = typeof modelType === 'string' ? modelType : '';
  const architecture = Object.hasOwn(OF_HUB, name) ? (OF_HUB[name] as string) : name;
  const family = Object.hasOwn(FAMILIES, architecture) ? FAMILIES[architecture] : undefined;
  if (family === undefined) {
    throw new LoRAError(
      `The model is of model_type ${brief(modelType)}, for which there is no code that writes GGUF. Known are ` +
        `${listed([...Object.keys(FAMILIES).filter(each => each !== 'gemma3'), ...Object.keys(OF_HUB)])}.`,
    );
  }
  return {architecture, family};
}

/** How the heads of a tensor turn, of which a family has rows by pairs; `undefined` for one that stays as it is. */
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
 * Of each row of a tensor by pairs, which row it is at the hub, where the first of each pair that turns together come
 * before the second. In GGUF files of Llama the two are neighbours.
 */
export function hubRow(row: number, rows: number, heads: number): number {
  const size = rows / heads;
  const [head, inHead] = [Math.floor(row / size), row % size];
  return head * size + (inHead % 2) * (size / 2) + Math.floor(inHead / 2);
}

/** What changes the numbers, has no code here, and so must not be set, with what counts as not set. */
const UNSET: Readonly<Record<string, readonly unknown[]>> = {
  expert_count: [0],
  'attention.causal': [true],
  'attention.scale': [0],
  'attention.max_alibi_bias': [0],
  'attention.clamp_kqv': [0],
  attn_logit_softcapping: [0],
  final_logit_softcapping: [0],
  logit_scale: [0, 1],
  residual_scale: [0, 1],
  embedding_scale: [0, 1],
  use_parallel_residual: [],
};

/** What a GGUF file says of its model, as the hub would. */
export interface GGUFModel {
  readonly family: Family;
  /** `config.json`. */
  readonly config: Record<string, unknown>;
  /** Tensors that became part of the config. */
  readonly used: readonly string[];
}

/**
 * The config of the model in a file.
 *
 * @throws LoRAError if there is no code for its architecture, or for a setting of it.
 */
export function readConfig(file: GGUFFile): GGUFModel {
  const {metadata} = file;
  const architecture = metadata.get('general.architecture');
  const family =
    typeof architecture === 'string' && Object.hasOwn(FAMILIES, architecture) ? FAMILIES[architecture] : undefined;
  if (family === undefined) {
    throw new LoRAError(
      `The GGUF file is of the architecture ${brief(architecture)}, for which there is no code here. Known are ` +
        `${listed(Object.keys(FAMILIES))}.`,
    );
  }
  const tensors = new Map(file.tensors.map(tensor => [tensor.name, tensor]));
  const prefix = `${architecture as string}.`;
  const fields: Fields = {
    get: name => metadata.get(prefix + name),
    has: name => tensors.has(name),
    tensor: name => tensors.get(name),
  };
  for (const [name, unset] of Object.entries(UNSET)) {
    const value = fields.get(name);
    if (value !== undefined && !unset.includes(value)) {
      throw new LoRAError(`${prefix}${name} of the GGUF file is ${brief(value)}, for which there is no code here.`);
    }
  }
  const given = family.config(fields);
  const ids = {bos_token_id: 'bos', eos_token_id: 'eos', pad_token_id: 'padding'};
  const config: Record<string, unknown> = {
    ...given,
    ...Object.fromEntries(
      Object.entries(ids).map(([name, token]) => [name, metadata.get(`tokenizer.ggml.${token}_token_id`)] as const),
    ),
    vocab_size: fields.tensor('token_embd.weight')?.shape[0],
    tie_word_embeddings: !fields.has('output.weight'),
  };
  const said = Object.fromEntries(Object.entries(config).filter(([, value]) => value !== undefined));
  return {family, config: said, used: (family.configTensors ?? []).filter(fields.has)};
}

/** The name in a GGUF file of a tensor of the hub; `undefined` for one that no such file has. */
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
