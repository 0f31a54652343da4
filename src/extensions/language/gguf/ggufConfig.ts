import {brief, listed, unsupportedError} from '../../../platform/errors';
import {FAMILIES, type Family} from './families';
import type {GGUFFile} from './ggufFile';
import {settingsOf} from './settings';

/** The GGUF architecture of a `model_type` of the hub, if the names differ. */
const OF_HUB: Readonly<Record<string, string>> = {
  mistral: 'llama',
  gemma3_text: 'gemma3',
  gpt_neox: 'gptneox',
  olmo3: 'olmo2',
  phi: 'phi2',
};
/** Architectures that are no `model_type`. */
const NOT_OF_HUB = ['gemma3', 'gptneox', 'phi2'];

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
        `${listed([...Object.keys(FAMILIES).filter(key => !NOT_OF_HUB.includes(key)), ...Object.keys(OF_HUB)])}.`,
    );
  }
  return {architecture, family};
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
  const familyConfig = family.config(settings);
  check(family.harmless);
  const ids = {bos_token_id: 'bos', eos_token_id: 'eos', pad_token_id: 'padding'};
  const config: Record<string, unknown> = {
    ...familyConfig,
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
    const [, index, blockModule = ''] = /^(\d+)\.(.*)$/.exec(module.slice(family.blocks.length + 1)) ?? [];
    const moduleName = find(family.blockModules, blockModule);
    return moduleName && `blk.${index}.${moduleName}.${end}`;
  }
  const moduleName = find(family.modules, module);
  return moduleName && `${moduleName}.${end}`;
}
