import * as tf from '@tensorflow/tfjs';
import {disposeModel, LoRAError} from 'tfjs-lora';
import {loadGGUF} from 'tfjs-lora/language';
import {below, pick, type Random, randomFrom} from '../../attack/damage';
import {builtGGUF, type BuiltValue} from './ggufFiles';

// Small models with random settings, among them every setting that llama.cpp reads for the families.

/** What llama.cpp computes of each, by seed. `checkHeaders.ts` writes it. */
export const HEADERS = 'test/fixtures/gguf/headers.json';

const FAMILIES = ['llama', 'qwen2', 'qwen3', 'gemma3', 'phi3', 'gpt2'] as const;
type Family = (typeof FAMILIES)[number];
type Settings = Record<string, BuiltValue>;
interface Tensor {
  name: string;
  shape: number[];
  data: Float32Array;
}

const IDS = [1, 5, 77, 262, 130, 9, 271, 40, 41, 42, 3, 200];
/** Of the logits of the last six positions, which are compared. */
const EVERY = 97;
/** Of the largest: llama.cpp looks its GELU up in a table of 16-bit numbers. */
const TOLERANCE = 2e-3;
const CONTEXT = 64;
const VOCABULARY = 280;

export interface HeaderCase {
  family: Family;
  seed: number;
  /** The settings, as a report shows them. */
  settings: Settings;
  file: Uint8Array<ArrayBuffer>;
}

/** What files of the families have, more or less often. */
const COMMON = [
  /^rope\.(scaling\.(type|factor|original|finetuned|attn)|scale_linear|dimension_count$|freq_base)/,
  /^attention\.([kvls]\w*_(length|window|pattern|epsilon)|head_count_kv|causal)$/,
  /^(logit_scale|expert_count|vocab_size|tensor)/,
];

const float32 = (value: number) => ({float32: value});

/** Settings that are set, or set otherwise: all that llama.cpp reads for the families, and some that it does not. */
function perturbations(random: Random, size: number, blocks: number): [string, BuiltValue | undefined][] {
  const any = <T>(...values: T[]): T => pick(random, values);
  const perBlock = (value: () => number) => Array.from({length: blocks}, value);
  return [
    ['rope.scaling.type', any('none', 'linear', 'linear', 'yarn', 'longrope')],
    ['rope.scaling.factor', float32(any(0, 1, 2, 4))],
    ['rope.scale_linear', float32(any(0, 1, 2, 4))],
    ['rope.scaling.original_context_length', any(8, 512)],
    ['rope.scaling.finetuned', any(true, false)],
    ['rope.scaling.attn_factor', float32(any(1, 1.25))],
    ['rope.scaling.alpha', float32(any(0, 2))],
    ['rope.scaling.yarn_ext_factor', float32(any(0, 1))],
    ['rope.scaling.yarn_attn_factor', float32(any(1, 1.5))],
    ['rope.scaling.yarn_beta_fast', float32(32)],
    ['rope.scaling.yarn_beta_slow', float32(1)],
    ['rope.scaling.yarn_log_multiplier', float32(any(0, 0.1))],
    ['rope.dimension_count', any(size, size, size / 2)],
    ['rope.dimension_count_swa', any(size, size / 2)],
    ['rope.dimension_sections', [size / 2, 0, 0, 0]],
    ['rope.freq_base', any<BuiltValue | undefined>(float32(100), float32(500_000), undefined)],
    ['rope.freq_base_swa', float32(any(100, 10_000))],
    ['attention.key_length', any<BuiltValue | undefined>(size, size / 2, undefined)],
    ['attention.value_length', any<BuiltValue | undefined>(size, size / 2, undefined)],
    ['attention.key_length_swa', any(size, size / 2)],
    ['attention.value_length_swa', any(size, size / 2)],
    ['attention.sliding_window', any<BuiltValue | undefined>(0, 3, undefined)],
    [
      'attention.sliding_window_pattern',
      any<BuiltValue>(
        2,
        3,
        perBlock(() => below(random, 2)),
      ),
    ],
    ['attention.causal', any(true, false)],
    ['attention.scale', float32(any(0, 0.3))],
    ['attention.clamp_kqv', float32(any(0, 0.1))],
    ['attention.max_alibi_bias', float32(any(0, 8))],
    ['attention.head_count', perBlock(() => any(2, 4))],
    [
      'attention.head_count_kv',
      any<BuiltValue | undefined>(
        perBlock(() => any(1, 2)),
        undefined,
      ),
    ],
    ['attention.layer_norm_epsilon', float32(any(1e-5, 0.1))],
    ['attention.layer_norm_rms_epsilon', any<BuiltValue | undefined>(float32(0.1), undefined)],
    ['attention.temperature_scale', float32(any(0, 0.1))],
    ['attention.output_scale', float32(any(0, 2))],
    ['attention.value_scale', float32(any(0, 2))],
    ['attention.shared_kv_layers', any(0, 1)],
    [
      'feed_forward_length',
      any<BuiltValue | undefined>(
        perBlock(() => 48),
        undefined,
      ),
    ],
    ['attn_logit_softcapping', float32(any(0, 1))],
    ['final_logit_softcapping', float32(any(0, 1))],
    ['logit_scale', float32(any(0, 1, 2))],
    ['residual_scale', float32(any(0, 1, 2))],
    ['embedding_scale', float32(any(0, 1, 2))],
    ['use_parallel_residual', any(true, false)],
    ['hidden_activation', any('gelu', 'silu')],
    ['pooling_type', any(0, 3)],
    ['expert_count', any(0, 2)],
    ['expert_used_count', any(0, 1)],
    ['expert_weights_scale', float32(any(0, 2))],
    ['expert_weights_norm', any(true, false)],
    ['nextn_predict_layers', any(0, 1)],
    ['leading_dense_block_count', any(0, 1)],
    ['interleave_moe_layer_step', any(0, 1)],
    ['embedding_length_out', any(0, 16)],
    ['swin_norm', any(true, false)],
    ['rescale_every_n_layers', any(0, 1)],
    ['vocab_size', any(VOCABULARY, VOCABULARY - 8)],
    ['tensor_data_layout', 'Meta AI original pth'],
  ];
}

/** The factors of rotary angles: of Llama 3's formula, ones, any, or too few of them. */
function factors(random: Random, size: number, base: number): Float32Array {
  const kind = pick(random, ['llama3', 'ones', 'any', 'few', 'few ones']);
  const count = kind.startsWith('few') ? size / 4 : size / 2;
  return new Float32Array(count).map((_, i) => {
    const share = (8192 * base ** ((-2 * i) / (2 * count))) / (2 * Math.PI);
    const smooth = Math.min(1, Math.max(0, (share - 1) / 3));
    return kind.endsWith('ones') ? 1 : kind === 'any' ? 1 + random() : 1 / ((1 - smooth) / 8 + smooth);
  });
}

/** The model of a seed; with `more`, these settings instead of random ones, `undefined` for none; and other pairs. */
export function headerOf(
  seed: number,
  more?: Record<string, BuiltValue | undefined>,
  others: Settings = {},
): HeaderCase {
  const random = randomFrom(seed);
  const any = <T>(...values: T[]): T => pick(random, values);
  const family = FAMILIES[seed % FAMILIES.length] as Family;
  const heads = any(2, 4);
  const shared = family === 'gpt2' ? heads : any(heads, heads / 2);
  const width = 32;
  const isFree = family === 'llama' || family === 'qwen3' || family === 'gemma3';
  const size = isFree ? any(8, 16) : width / heads;
  const [inner, blocks] = [48, family === 'gemma3' ? 4 : 2];
  const theta = any(10_000, 1000);
  const epsilon = float32(any(1e-6, 0.01));
  const base: Settings = {
    context_length: family === 'phi3' ? 512 : CONTEXT,
    embedding_length: width,
    block_count: blocks,
    feed_forward_length: inner,
    'attention.head_count': heads,
    'attention.head_count_kv': shared,
    [`attention.layer_norm_${family === 'gpt2' ? '' : 'rms_'}epsilon`]: epsilon,
    ...(family !== 'gpt2' && {'rope.freq_base': float32(theta)}),
    ...(isFree && {'attention.key_length': size, 'attention.value_length': size}),
    ...(family === 'gemma3' && {'attention.sliding_window': 4, 'attention.sliding_window_pattern': any(2, 3)}),
    ...((family === 'llama' || family === 'phi3') && {'rope.dimension_count': size}),
    ...(family === 'phi3' && {'rope.scaling.original_context_length': any(8, 512)}),
  };
  const known = perturbations(random, size, blocks);
  const common = known.filter(([name]) => COMMON.some(part => part.test(name)));
  const changes = Array.from({length: more === undefined ? below(random, 4) : 0}, () =>
    pick(random, any(known, common, common)),
  );
  // llama.cpp passes over the window of Phi-3.
  const own = changes.filter(([name]) => !(family === 'phi3' && name === 'attention.sliding_window'));
  const entries = Object.entries({...base, ...Object.fromEntries(own), ...more});
  const settings = Object.fromEntries(entries.filter((entry): entry is [string, BuiltValue] => entry[1] !== undefined));
  const tensors: Tensor[] = [];
  const add = (name: string, ...shape: number[]) => {
    const own = randomFrom(1000 * seed + tensors.length);
    const center = shape.length === 1 && name.endsWith('norm.weight') ? 1 : 0;
    const data = new Float32Array(tf.util.sizeFromShape(shape)).map(() => 0.7 * (own() - 0.5) + center);
    tensors.push({name, shape, data});
  };
  const both = (name: string, ...shape: number[]) => {
    add(`${name}.weight`, ...shape);
    if (family === 'gpt2' || (family === 'qwen2' && /attn_[qkv]$/.test(name))) {
      add(`${name}.bias`, shape[0] as number);
    }
  };
  add('token_embd.weight', VOCABULARY, width);
  both('output_norm', width);
  if (family === 'gpt2') {
    add('position_embd.weight', CONTEXT, width);
  }
  if (any(true, false)) {
    add('output.weight', VOCABULARY, width);
  }
  const [queries, keys] = [heads * size, shared * size];
  for (let i = 0; i < blocks; i++) {
    const named = (name: string, ...shape: number[]) => both(`blk.${i}.${name}`, ...shape);
    const isJoined = family === 'phi3' || family === 'gpt2';
    named('attn_norm', width);
    named('ffn_norm', width);
    if (isJoined) {
      named('attn_qkv', queries + 2 * keys, width);
    } else {
      named('attn_q', queries, width);
      named('attn_k', keys, width);
      named('attn_v', keys, width);
      named('ffn_gate', inner, width);
    }
    named('attn_output', width, queries);
    named('ffn_up', family === 'phi3' ? 2 * inner : inner, width);
    named('ffn_down', width, inner);
    if (family === 'qwen3' || family === 'gemma3') {
      named('attn_q_norm', size);
      named('attn_k_norm', size);
    }
    if (family === 'gemma3') {
      named('post_attention_norm', width);
      named('post_ffw_norm', width);
    }
  }
  const named =
    family === 'llama'
      ? any(['rope_freqs'], [])
      : family === 'phi3'
        ? any(
            ['rope_factors_long', 'rope_factors_short'],
            ['rope_factors_long', 'rope_factors_short'],
            [],
            [any('rope_factors_long', 'rope_factors_short')],
          )
        : [];
  for (const name of named) {
    const data = factors(random, size, theta);
    tensors.push({name: `${name}.weight`, shape: [data.length], data});
  }
  const stored = Object.entries(settings).map(([name, value]) => [`${family}.${name}`, value] as const);
  const pairs = {'general.architecture': family, ...Object.fromEntries(stored), ...tokenizer(), ...others};
  return {family, seed, settings, file: builtGGUF({pairs, tensors: tensors.map(each => ({...each, type: 0}))})};
}

function tokenizer(): Settings {
  const bytes = Array.from({length: 256}, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`);
  const letters = Array.from({length: VOCABULARY - 259}, (_, i) => String.fromCharCode(97 + i));
  return {
    'tokenizer.ggml.model': 'llama',
    'tokenizer.ggml.tokens': ['<unk>', '<s>', '</s>', ...bytes, ...letters],
    'tokenizer.ggml.scores': new Float32Array(VOCABULARY),
    'tokenizer.ggml.token_type': Int32Array.of(2, 3, 3, ...bytes.map(() => 6), ...letters.map(() => 1)),
    'tokenizer.ggml.bos_token_id': 1,
    'tokenizer.ggml.eos_token_id': 2,
  };
}

/** What llama.cpp is asked for. */
export const ASKED = {ids: IDS, shown: (logits: Float32Array) => shownOf(logits)};

function shownOf(logits: Float32Array): number[] {
  return [...logits.subarray(6 * VOCABULARY)].filter((_, i) => i % EVERY === 0);
}

/** What is computed of a file, or the refusal. */
export async function computedHeader(source: Uint8Array<ArrayBuffer> | Blob | Response): Promise<number[] | LoRAError> {
  let model: tf.LayersModel;
  try {
    ({model} = await loadGGUF(source));
  } catch (error) {
    if (error instanceof LoRAError) {
      return error;
    }
    throw error;
  }
  const logits = tf.tidy(() => {
    const tokens = tf.tensor2d([IDS], undefined, 'int32');
    return (model.predict([tokens, tf.onesLike(tokens)]) as tf.Tensor).dataSync() as Float32Array;
  });
  disposeModel(model);
  return shownOf(logits);
}

/**
 * What is wrong with a result, beside that of llama.cpp, which is `null` where llama.cpp refuses or ends. A refusal is
 * right as long as it names something.
 */
export function headerFault(result: number[] | LoRAError, reference: readonly number[] | null): string | undefined {
  if (result instanceof LoRAError) {
    return undefined;
  }
  if (reference === null) {
    return 'llama.cpp does not load it';
  }
  const largest = Math.max(...reference.map(Math.abs));
  const off = Math.max(...result.map((value, i) => Math.abs(value - (reference[i] ?? NaN))));
  return off <= TOLERANCE * largest ? undefined : `differs by ${off} where the largest is ${largest}`;
}
