import {brief, throwFaults} from '../../../platform/errors';
import type {GGUFFile, GGUFTensor} from './ggufFile';
import type {MetadataValue} from './headerReader';

/** The settings of a model in a GGUF file, by their names without the architecture's prefix. */
export interface Settings {
  /** The value of a setting; `undefined` if the file has none. Settings that are never read are refused. */
  get: (name: string) => MetadataValue | undefined;
  /** The value of a required setting. */
  need: (name: string) => MetadataValue | undefined;
  /** Refuses the value of a setting. */
  refuse: (name: string, why?: string) => void;
  readonly faults: string[];
  has: (tensor: string) => boolean;
  tensor: (name: string) => GGUFTensor | undefined;
}

/** Settings that no family reads, with the values that change nothing: `null` if no value matters. */
const NEUTRAL: Readonly<Record<string, readonly unknown[] | null>> = {
  vocab_size: null,
  tensor_data_layout: null,
  'attention.layer_norm_epsilon': null,
  'rope.scaling.finetuned': null,
  'rope.scaling.original_context_length': null,
  'rope.scaling.attn_factor': [1],
  'attention.causal': [true],
  'attention.sliding_window': [0],
  'attention.scale': [0],
  'attention.max_alibi_bias': [0],
  'attention.clamp_kqv': [0],
  attn_logit_softcapping: [0],
  final_logit_softcapping: [0],
  logit_scale: [0, 1],
  residual_scale: [0, 1],
  embedding_scale: [0, 1],
  use_parallel_residual: [false],
  pooling_type: [0],
  expert_count: [0],
  expert_used_count: [0],
};

/**
 * Returns the settings of an architecture, whose names begin with `prefix`. Call `check` after reading them: it refuses
 * those that were not read, unless their value changes nothing or their name is among the `harmless`.
 */
export function settingsOf(
  {metadata, tensors}: GGUFFile,
  prefix: string,
): {settings: Settings; check: (harmless?: RegExp) => void} {
  const byName = new Map(tensors.map(tensor => [tensor.name, tensor]));
  const read = new Set<string>();
  const faults: string[] = [];
  const get = (name: string) => {
    read.add(name);
    return metadata.get(prefix + name);
  };
  const need = (name: string) => {
    if (!metadata.has(prefix + name)) {
      faults.push(`The GGUF file has no ${prefix}${name}.`);
    }
    return get(name);
  };
  const refuse = (name: string, why?: string) => {
    const value = metadata.get(prefix + name);
    const said = value === undefined ? 'is not given' : `is ${brief(value)}`;
    const where = why === undefined ? '' : ` ${why}`;
    faults.push(`${prefix}${name} of the GGUF file ${said}${where}, which is not supported.`);
  };
  const check = (harmless?: RegExp) => {
    for (const [key, value] of metadata) {
      const name = key.slice(prefix.length);
      const neutral = Object.hasOwn(NEUTRAL, name) ? NEUTRAL[name] : [];
      const isHarmless = neutral === null || neutral?.includes(value) === true || harmless?.test(name) === true;
      if (key.startsWith(prefix) && !read.has(name) && !isHarmless) {
        refuse(name);
      }
    }
    throwFaults(faults, 'ERR_UNSUPPORTED');
  };
  const settings = {get, need, refuse, faults, has: (name: string) => byName.has(name)};
  return {settings: {...settings, tensor: name => byName.get(name)}, check};
}

/** A setting that may have a value for each block, if all of them are equal. */
export function oneOf(value: MetadataValue | undefined): MetadataValue | undefined {
  if (typeof value !== 'object') {
    return value;
  }
  const list = Array.from(value as ArrayLike<MetadataValue>);
  return list.every(entry => entry === list[0]) ? list[0] : value;
}
