import {brief, show, throwFaults, unsupportedError} from '../../platform/errors';
import type {Budget} from './patternTable';
import {readSafetensors} from '../../platform/formats/readSafetensors';
import {sizeOf, type Values} from '../../platform/formats/layout';
import type {StoredTensor} from '../../platform/formats/decodeSafetensors';
import {withRank} from '../methods/lora';
import {isSet, type PEFTConfig, readPEFTConfig, savedModules, tokensAt} from './config';
import type {PEFTFiles} from './peftFiles';
import type {StoredUpdate} from './methods/form';
import {lora} from './methods/lora';
import type {TorchUpdate} from './methods/update';

// The format is that of PEFT's save_pretrained: adapter_config.json, and adapter_model.safetensors with a tensor for
// each factor under the path of its module. https://github.com/huggingface/peft, tested against 0.21.2.

export interface TorchModule {
  update?: TorchUpdate;
  /** The update, in an adapter of another type than `LORA`. */
  stored?: StoredUpdate;
  /** The base weight, which PEFT writes with the update of an embedding. */
  base?: Values;
  /** The module's own bias, changed. */
  bias?: Values;
  /** The embeddings of some tokens, changed: their ids and their rows. */
  tokens?: {ids: number[]; rows: Values};
  /** All of the module's own tensors, changed (`modules_to_save`), by name. */
  saved: Map<string, Values>;
}

/** The contents of the two files. */
interface ParsedPEFT extends Pick<PEFTConfig, 'form' | 'init' | 'fanInFanOut'> {
  modules: Map<string, TorchModule>;
  /** Tensors that all modules share. */
  shared: Map<string, Values>;
}

/** How PEFT names tensors: a prefix, the path of the module, and one of these. */
export const PEFT_NAMES = {
  prefix: 'base_model.model.',
  weight: {a: '.lora_A.weight', b: '.lora_B.weight'},
  embedding: {a: '.lora_embedding_A', b: '.lora_embedding_B'},
  magnitude: '.lora_magnitude_vector',
  /** Rows of single tokens, with another update and alone. */
  tokens: '.token_adapter.trainable_tokens_delta',
  tokensAlone: '.trainable_tokens_delta',
  /** Before what all modules share. */
  root: 'base_model.',
  baseBias: '.base_layer.bias',
  /** In a normalization: how many batches it has seen, which has no effect on outputs. */
  counter: '.num_batches_tracked',
} as const;

/** The name of the adapter, which files omit today, may come between a factor's name and `weight`. */
const FACTOR = /^(.*)\.lora_(A|B)(?:\.[^.]+)?\.(weight|bias)$/;
const EMBEDDING_FACTOR = /^(.*)\.lora_embedding_(A|B)(?:\.[^.]+)?$/;
const MAGNITUDE = /^(.*)\.lora_magnitude_vector(?:\.[^.]+)?(?:\.weight)?$/;
const TOKENS = /^(.*?)(?:\.token_adapter)?\.trainable_tokens_delta(?:\.[^.]+)?$/;
const SHARED = /^base_model\.([^.]+)(?:\.[^.]+)?$/;
const MAX_NAME = 1000;
const GIVEN_TWICE = 'stored under two names';

/**
 * Reads a PEFT adapter, module by module, under the dotted paths that modules have in PyTorch.
 *
 * @throws LoRAError if a file is damaged, something is not carried, or tensors are missing or fit nothing.
 */
export async function parsePEFT(
  files: PEFTFiles,
  warn: (message: string) => void,
  budget: Budget,
): Promise<ParsedPEFT> {
  const {config, weights} = files;
  const read = readPEFTConfig(config, warn, budget);
  // PyTorch's own files are ZIP archives.
  if (weights instanceof Uint8Array && weights[0] === 0x50 && weights[1] === 0x4b) {
    throw unsupportedError(
      'The weights are a pickle (adapter_model.bin), which can run code when it is read. Save the adapter in ' +
        'Python with save_pretrained(folder, safe_serialization=True) and import adapter_model.safetensors.',
    );
  }
  return groupTensors((await readSafetensors(weights)).tensors, read, budget);
}

function groupTensors(tensors: ReadonlyMap<string, StoredTensor>, config: PEFTConfig, budget: Budget): ParsedPEFT {
  const shared = new Map<string, Values>();
  const stored = new Map<string, Map<string, Values>>();
  const isSaved = savedModules(config.modulesToSave, budget);
  const modules = new Map<string, TorchModule>();
  const factors = new Map<string, Partial<Omit<TorchUpdate, 'strength'>>>();
  const faults: string[] = [];
  const {form} = config;
  const parameters =
    form.parameters.length > 0 ? new RegExp(`^(.*)\\.(${form.parameters.join('|')})(?:\\.[^.]+)?$`) : undefined;
  const moduleAt = (path: string) => {
    const module = modules.get(path) ?? {saved: new Map<string, Values>()};
    modules.set(path, module);
    return module;
  };
  const factorsAt = (path: string) => {
    const update = factors.get(path) ?? {};
    factors.set(path, update);
    return update;
  };

  for (const [name, {dtype, shape, data}] of tensors) {
    const key = name.startsWith(PEFT_NAMES.prefix) ? name.slice(PEFT_NAMES.prefix.length) : name;
    if (key.endsWith(PEFT_NAMES.counter) || /\.original_module\./.test(key)) {
      continue; // the latter are what modules_to_save replaces
    }
    if (key.length > MAX_NAME) {
      faults.push(`${key.slice(0, 100)}…: a name of more than ${MAX_NAME} characters`);
    } else if (data === null) {
      faults.push(`${key}: of type ${dtype}; adapters have F32, F16 or BF16`);
    } else {
      const fault = place(key, {shape, data});
      faults.push(...(fault === undefined ? [] : [`${key}: ${fault}`]));
    }
  }
  for (const [path, {a, b, bias, magnitude, embedding = false}] of factors) {
    if (a === undefined || b === undefined) {
      faults.push(`${path}: its factor ${a === undefined ? 'A' : 'B'} is missing`);
      continue;
    }
    if ((magnitude !== undefined) !== config.dora) {
      faults.push(
        `${path}: ${config.dora ? 'no magnitude, though' : 'a magnitude (DoRA), and'} use_dora is ${config.dora}`,
      );
    }
    try {
      const asked = config.strengthOf(path);
      const strength =
        config.init === undefined || embedding
          ? asked
          : withRank(asked, Math.min(asked.rank, a.shape[1] ?? 1, b.shape[0] ?? 1));
      faults.push(...shapeFaults(path, a, b, strength.rank));
      moduleAt(path).update = {embedding, a, b, ...(bias && {bias}), ...(magnitude && {magnitude}), strength};
    } catch (error) {
      if (budget.isSpent) {
        throw error;
      }
      faults.push(`${path}: ${(error as Error).message}`);
    }
  }
  for (const [path, moduleValues] of stored) {
    moduleAt(path).stored = {path, tensors: moduleValues, strength: config.strengthOf(path), fields: config.fields};
  }
  const {tokenField} = config;
  const indices = config.fields[tokenField];
  if (isSet(indices) && ![...modules.values()].some(({tokens}) => tokens !== undefined)) {
    faults.push(`${tokenField} is ${brief(indices)}, and the file has no embeddings of tokens`);
  }
  if (faults.length === 0 && modules.size === 0) {
    faults.push('it has no tensors');
  }
  throwFaults(faults, 'ERR_DAMAGED', 'This PEFT adapter cannot be imported:');
  const {init, fanInFanOut} = config;
  return {form, init, fanInFanOut, modules, shared};

  /** Puts a tensor where it belongs, or says why it belongs nowhere. */
  function place(key: string, values: Values): string | undefined {
    const [, sharedName = ''] = SHARED.exec(key) ?? [];
    if (form.shared?.includes(sharedName)) {
      const twice = shared.has(sharedName);
      shared.set(sharedName, values);
      return twice ? GIVEN_TWICE : undefined;
    }
    const [, owning = '', parameter] = parameters?.exec(key) ?? [];
    if (parameter !== undefined) {
      const moduleValues = stored.get(owning) ?? new Map<string, Values>();
      stored.set(owning, moduleValues);
      const twice = moduleValues.has(parameter);
      moduleValues.set(parameter, values);
      return twice ? GIVEN_TWICE : undefined;
    }
    const [, path = '', letter, kind] = FACTOR.exec(key) ?? [];
    const [, embeddingPath, embeddingLetter] = EMBEDDING_FACTOR.exec(key) ?? [];
    if (form === lora && (kind === 'weight' || (kind === 'bias' && letter === 'B'))) {
      const factorName = kind === 'bias' ? 'bias' : letter === 'A' ? 'a' : 'b';
      return putOnce(factorsAt(path), factorName, values);
    }
    if (embeddingPath !== undefined) {
      factorsAt(embeddingPath).embedding = true;
      return putOnce(factorsAt(embeddingPath), embeddingLetter === 'A' ? 'a' : 'b', values);
    }
    const [, directed] = MAGNITUDE.exec(key) ?? [];
    if (directed !== undefined) {
      return putOnce(factorsAt(directed), 'magnitude', values);
    }
    const [, embedding] = TOKENS.exec(key) ?? [];
    if (embedding !== undefined) {
      const ids = tokensAt(config, embedding);
      const isOfIds = values.shape.length === 2 && values.shape[0] === ids.length;
      return isOfIds
        ? putOnce(moduleAt(embedding), 'tokens', {ids, rows: values})
        : `of shape ${show(values.shape)}, and ${config.tokenField} lists ${ids.length} tokens for it`;
    }
    const [, owner = '', parameterPath = ''] =
      /^(?:(.*)\.)?([^.]+)$/.exec(key.replace(/\.modules_to_save(?:\.[^.]+)?(?=\.)/, '')) ?? [];
    if (owner.endsWith('.base_layer')) {
      const field = parameterPath === 'bias' ? 'bias' : parameterPath === 'weight' ? 'base' : undefined;
      return field === undefined
        ? 'no weight of a base'
        : putOnce(moduleAt(owner.slice(0, -'.base_layer'.length)), field, values);
    }
    if (isSaved(owner) || (config.tied && parameterPath === 'weight')) {
      const {saved} = moduleAt(owner);
      const fault = saved.has(parameterPath) ? GIVEN_TWICE : undefined;
      saved.set(parameterPath, values);
      return fault;
    }
    return parameterPath === 'bias' && config.bias !== 'none'
      ? putOnce(moduleAt(owner), 'bias', values)
      : `neither a ${form === lora ? 'factor of LoRA' : `parameter of ${form.type}`} nor of a module in ` +
          'modules_to_save';
  }
}

function putOnce<K extends string, T>(target: Partial<Record<K, T>>, key: K, values: T): string | undefined {
  if (target[key] !== undefined) {
    return GIVEN_TWICE;
  }
  target[key] = values;
  return undefined;
}

function shapeFaults(path: string, {shape: a}: Values, {shape: b}: Values, rank: number): string[] {
  const [outerA = 0, , ...space] = a;
  const [out = 0, innerB = 0, ...ones] = b;
  if (a.length < 2 || b.length !== a.length || ones.some(size => size !== 1) || sizeOf(a) === 0 || sizeOf(b) === 0) {
    return [`${path}: factors of shapes ${show(a)} and ${show(b)} are no update of a weight`];
  }
  if (outerA !== rank) {
    return [`${path}: A has rank ${outerA}, and the config says ${rank}`];
  }
  // A grouped convolution has B in as many pieces as it has groups, and its outputs are divided among them.
  const groups = outerA / innerB;
  const isGrouped = space.length > 0 && Number.isInteger(groups) && out % groups === 0;
  return groups === 1 || isGrouped ? [] : [`${path}: A has rank ${outerA}, B ${innerB}`];
}
