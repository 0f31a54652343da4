import * as tf from '@tensorflow/tfjs';
import {
  checkOptions,
  type KnownOptions,
  LoRAError,
  misfitError,
  notFoundError,
  throwFaults,
} from '../../../platform/errors';
import type {ByteReader} from '../../../platform/formats/byteReader';
import type {Values} from '../../../platform/formats/layout';
import {type OpenSafetensors, openSafetensors} from '../../../platform/formats/safetensors';
import {checkLimits, type LoadOptions, MOST_FETCHED, tooLarge} from '../../../core/storage/limits';
import {
  bytesOf,
  type ByteSource,
  fetched,
  localFilesFor,
  readerOf,
  type StreamSource,
} from '../../../core/storage/sources';
import {throwIfAborted} from '../../../platform/signals';
import type {Pooling} from '../net/architecture';
import {chooseArchitecture} from './architectures';
import {buildModel, checkRoom, disposeLayers, type Making, planOf, setWeight} from './assemble';
import {type Assignment, assignTensors, namesIn, warnOfLeftOut} from './fileTensors';
import {HubConfig} from '../net/hubConfig';
import {HUB, hubRecord, UNCOMPUTED} from './hubRecord';
import {hubFacts, LANGUAGE, type LanguageFacts} from './languageFacts';
import type {Expected} from '../net/netSources';
import {PREPROCESSOR} from '../pictures/encodeImages';
import {checkTokenizer, type TextTokenizer} from './tokenizer';

/** What a model is made of. */
export interface TransformerSources extends LoadOptions {
  /** `config.json`: the text, the object that it holds, or where it is. */
  config: StreamSource | PromiseLike<StreamSource> | object;
  /**
   * The `.safetensors` files: one or several, each as bytes, a `Blob`, a `Response` or a URL; in Node a path too.
   */
  weights: StreamSource | PromiseLike<StreamSource> | readonly (StreamSource | PromiseLike<StreamSource>)[];
  /**
   * `preprocessor_config.json` of a model for pictures, for `encodeImages`: the text, the object that it holds, or
   * where it is. Of a model in a folder that which lies there, if any.
   */
  preprocessor?: StreamSource | PromiseLike<StreamSource> | object;
  /**
   * `generation_config.json` of a model that writes texts, for `generate`: the tokens that end a text, beside those of
   * the config. Of a model in a folder that which lies there, if any.
   */
  generation?: StreamSource | PromiseLike<StreamSource> | object;
  /**
   * `tokenizer_config.json` of a model that writes texts, for `generate` and `encodeChats`: the template of talks,
   * `chat_template`. Of a model in a folder that which lies there, if any, and `chat_template.jinja`.
   */
  tokenizerConfig?: StreamSource | PromiseLike<StreamSource> | object;
  /** The tokenizer of the model, to find out here if it does not fit. */
  tokenizer?: TextTokenizer;
  /**
   * The class of `transformers` that the model shall be, such as `'BertForSequenceClassification'`. Default: what the
   * config says, or the body alone.
   */
  architecture?: string;
  /**
   * Gives the model a new head for so many classes, which starts random: of a text, or what `architecture` says. One
   * for spans has 2, one for choices 1.
   */
  labels?: number;
  /**
   * What a model without a head gives for a text: its states at each place (`'none'`), or one vector, which leaves out
   * the head that the config names. Default: `'none'`.
   */
  pooling?: Pooling;
  /** Whether the types of tokens, which tell two texts apart, are a third input. Default: false, all of type 0. */
  tokenTypes?: boolean;
  /**
   * Whether a head that shares the table of words with the `Embedding` computes with that table itself. With false it
   * has a copy, which can train apart from it, as in an adapter of PEFT with the head in `modules_to_save`. Default:
   * true.
   */
  tied?: boolean;
  /**
   * Whether training computes the tensors of each block again instead of keeping them: less memory, more time. Default:
   * false.
   */
  checkpoint?: boolean;
}

/** How a model in a folder is read: all of `TransformerSources` but where its files are. */
export type TransformerOptions = Omit<TransformerSources, 'config' | 'weights'>;

type GivenSource = StreamSource | PromiseLike<StreamSource>;

const OPTIONS: KnownOptions<TransformerSources> = {
  config: true,
  weights: true,
  preprocessor: true,
  generation: true,
  tokenizerConfig: true,
  tokenizer: true,
  architecture: true,
  labels: true,
  pooling: true,
  tokenTypes: true,
  tied: true,
  checkpoint: true,
  maxBytes: true,
  signal: true,
};

/**
 * A pretrained transformer of the hub as a `tf.LayersModel`: BERT, RoBERTa, DistilBERT, ELECTRA (and so MiniLM, E5,
 * …), ALBERT, MPNet, ModernBERT, Nomic's BERT, GTE, DeBERTa, the encoder of T5, GPT-2, Llama, Mistral, Qwen2, Qwen3,
 * Gemma 3, SmolLM3, Phi-3, OLMo 2 and Granite, with their heads for classes of a text or of its tokens, spans that
 * answer a question, masked words, choices, and the next token; and the encoders of pictures ViT, DeiT, DINOv2, SigLIP
 * and CLIP. The code of a family is loaded when a config names it.
 *
 *     const [config, weights] = [`${url}/config.json`, `${url}/model.safetensors`];
 *     const model = await loadTransformer({config, weights, pooling: 'mean'});
 *
 * Where the files lie beside each other, as on the hub, their folder is enough, or the address of `config.json`. In
 * Node this may be a path or a `file:` URL too:
 *
 *     const model = await loadTransformer('models/bert', {pooling: 'mean'});
 *
 * It takes the numbers of tokens, `[batch, places]`, and a mask of that shape, 1 for tokens and 0 for padding
 * (`encodeTexts` makes both). Layers have the names of the hub's modules, `encoder/layer/0/attention/self/query`, so
 * that adapters of PEFT need no `keyMap`. Projections are stock `Dense` layers. There is no dropout.
 *
 * Files are read tensor by tensor: F32, F16 and BF16, which become float32.
 *
 * @throws LoRAError if there is no code for the architecture, the config does not hold together, or the files do not
 *     fit it, with a line for each fault. Then nothing is left in memory.
 */
export async function loadTransformer(
  given: TransformerSources | URL | string,
  options: TransformerOptions = {},
): Promise<tf.LayersModel> {
  const isAddress = typeof given === 'string' || given instanceof URL;
  const sources = isAddress ? {...(await filesAt(given)), ...options} : given;
  checkSources(sources);
  const {weights, tokenizer, tied = true, checkpoint = false, signal, maxBytes} = sources;
  const limits: LoadOptions = {...(signal && {signal}), ...(maxBytes !== undefined && {maxBytes})};
  throwIfAborted(signal);
  const hubConfig = HubConfig.parse(await configOf(sources.config, limits));
  const {architecture, purpose, config} = await chooseArchitecture(hubConfig, sources);
  const blocks = architecture.blocks(config);
  config.check();
  const readers: ByteReader[] = [];
  try {
    for (const source of Array.isArray(weights) ? (weights as GivenSource[]) : [weights as GivenSource]) {
      readers.push(await readerOf(source, limits));
    }
    const files: OpenSafetensors[] = [];
    for (const reader of readers) {
      files.push(await openSafetensors(reader));
    }
    const tensors = files.reduce((sum, {entries}) => sum + entries.length, 0);
    if (blocks > tensors) {
      throw misfitError(`The config says that there are ${blocks} blocks, and the files have ${tensors} tensors.`);
    }
    const made: Making = {architecture, config, purpose, sources: {has: namesIn(files, architecture), tied}};
    const plan = planOf(made);
    config.check();
    checkRoom(
      plan.expected.reduce((sum, {shape}) => sum + 4 * tf.util.sizeFromShape(shape), plan.newBytes),
      'as float32',
    );
    if (plan.newBytes > (maxBytes ?? MOST_FETCHED)) {
      throw tooLarge(`A new head for ${purpose.labels} classes`, maxBytes ?? MOST_FETCHED);
    }
    const assigned = assignTensors(files, plan.expected, architecture, purpose.head);
    const isUnasked = sources.architecture === undefined && sources.labels === undefined && purpose.pooling === 'none';
    // Where the config names a class with a head, other heads belong to none that was meant.
    if (isUnasked && purpose.head === 'none') {
      warnOfLeftOut(architecture, assigned.leftOut, ownersOf(assigned.leftOut, made));
    }
    if (tokenizer !== undefined) {
      if (architecture.vocabulary === undefined) {
        throw new LoRAError('The model takes pictures, and no tokenizer.');
      }
      checkTokenizer(tokenizer, architecture.vocabulary(config));
    }
    const beside: Beside = {address: isAddress ? given : undefined, limits};
    const takesPictures = (architecture.takes?.(purpose.head) ?? 'texts') !== 'texts';
    const preprocessor = takesPictures ? await jsonOf('preprocessor', sources, beside) : undefined;
    const record = hubRecord(architecture, hubConfig, purpose, assigned.uncomputed.values(), sources.architecture);
    const writes = /(?:ForCausalLM|LMHeadModel)$/.test(String(record.config.architectures));
    const facts = writes ? await factsOf(sources, beside) : undefined;
    const {model, layers} = buildModel(made, checkpoint);
    const uncomputed = new Map<string, Values>();
    UNCOMPUTED.set(record, uncomputed);
    model.setUserDefinedMetadata({
      ...(preprocessor && {[PREPROCESSOR]: preprocessor}),
      ...(facts && {[LANGUAGE]: facts}),
      [HUB]: record,
    });
    try {
      for (const file of files) {
        await fill(file, assigned, {layers, uncomputed, signal});
      }
    } catch (error) {
      disposeLayers(layers);
      throw error;
    }
    return model;
  } catch (error) {
    readers.forEach(reader => reader.cancel(error));
    throw error;
  }
}

/** The classes of a family whose weights the files have, with some of the tensors that are left out. */
function ownersOf(leftOut: readonly string[], made: Making): string[] {
  const {has} = made.sources;
  return Object.entries(made.architecture.classes)
    .filter(([, head]) => {
      const {expected} = planOf({...made, purpose: {...made.purpose, head}});
      const names = expected.map(({fileName, orElse = fileName}) => (has(fileName) ? fileName : orElse));
      return names.every(has) && names.some(name => leftOut.includes(name));
    })
    .map(([name]) => name);
}

/** The folder of a model, by itself or its `config.json`, and what is in it. */
function folderAt(address: URL | string): {folder: string; at: (name: string) => string} {
  const folder = String(address).replace(/[/\\]?(?:config\.json)?$/, '');
  return {folder, at: name => (folder === '' ? name : `${folder}/${name}`)};
}

/** Where the files of a model are. */
async function filesAt(address: URL | string): Promise<Pick<TransformerSources, 'config' | 'weights'>> {
  const {folder, at} = folderAt(address);
  // The hub calls the only file so, and numbers several: `model-00001-of-00002.safetensors`.
  const listed = await localFilesFor(address)?.list(folder === '' ? '.' : folder);
  const weights = listed?.filter(path => /(?:^|[/\\])model(?:-\d+-of-\d+)?\.safetensors$/.test(path)).sort();
  if (weights?.length === 0) {
    throw notFoundError(`${folder} has no model.safetensors. Convert a pytorch_model.bin with save_pretrained first.`);
  }
  return {config: at('config.json'), weights: weights ?? at('model.safetensors')};
}

function checkSources(sources: TransformerSources): void {
  checkOptions(sources, OPTIONS);
  const {config, weights, signal, maxBytes} = sources;
  checkLimits({...(signal !== undefined && {signal}), ...(maxBytes !== undefined && {maxBytes})});
  const isEmpty = (value: unknown) => value == null || (Array.isArray(value) && value.length === 0);
  throwFaults([
    ...(isEmpty(config) ? ['config is missing: the config.json of the model, as text, object, bytes or URL.'] : []),
    ...(isEmpty(weights) ? ['weights is missing: the .safetensors file of the model, or a list of them.'] : []),
  ]);
}

/** What may lie beside the weights of a model, and is given by these names, or found in its folder. */
const BESIDE = {
  preprocessor: 'preprocessor_config.json',
  generation: 'generation_config.json',
  tokenizerConfig: 'tokenizer_config.json',
} as const;

/** Where a model lies, if it is a folder, and what may be read of it. */
interface Beside {
  address: URL | string | undefined;
  limits: LoadOptions;
}

/** What was given, or what lies in the folder of the model; without either `undefined`. */
async function jsonOf(
  name: keyof typeof BESIDE,
  sources: Pick<TransformerSources, keyof typeof BESIDE>,
  beside: Beside,
): Promise<object | undefined> {
  const given = sources[name] ?? (await lyingBeside(BESIDE[name], beside));
  return given === undefined ? undefined : HubConfig.parse(await configOf(given, beside.limits), name).asObject();
}

/** What the files of a model say of its texts. */
async function factsOf(sources: TransformerSources, beside: Beside): Promise<LanguageFacts> {
  const generation = await jsonOf('generation', sources, beside);
  const tokenizer = await jsonOf('tokenizerConfig', sources, beside);
  const isGiven = sources.tokenizerConfig !== undefined;
  const template = isGiven ? undefined : await lyingBeside('chat_template.jinja', beside);
  return hubFacts(
    generation ?? {},
    tokenizer ?? {},
    template && new TextDecoder().decode(await bytesOf(template, {maxBytes: MOST_OF_CONFIG, ...beside.limits})),
  );
}

/** A file in the folder of a model, if it is there. */
async function lyingBeside(name: string, {address, limits}: Beside): Promise<Response | Blob | undefined> {
  if (address === undefined) {
    return undefined;
  }
  const {folder, at} = folderAt(address);
  const files = localFilesFor(address);
  const listed = files && ((await files.list(folder === '' ? '.' : folder)) ?? []);
  if (listed?.every(path => path.split(/[/\\]/).at(-1) !== name)) {
    return undefined;
  }
  const file = await fetched(at(name), limits);
  // Some servers answer with a page where there is no file.
  return 'ok' in file && !(file.ok && file.headers.get('content-type')?.includes('html') !== true) ? undefined : file;
}

/** The text of a config, or the object that was given. */
async function configOf(given: TransformerSources['config'], limits: LoadOptions): Promise<string | object> {
  const source = await Promise.resolve(given);
  if (typeof source === 'string' && source.trimStart().startsWith('{')) {
    return source;
  }
  if (typeof source === 'object' && Object.getPrototypeOf(source) === Object.prototype) {
    return source;
  }
  const isAddress = typeof source === 'string' || source instanceof URL;
  const found = isAddress ? await fetched(source, limits) : (source as ByteSource);
  return new TextDecoder().decode(await bytesOf(found, {maxBytes: MOST_OF_CONFIG, ...limits}));
}

/** Configs list the names of classes, and there may be thousands. */
const MOST_OF_CONFIG = 2 ** 23;

/** Where the tensors of files go. */
interface Filling {
  layers: ReadonlyMap<string, tf.layers.Layer>;
  uncomputed: Map<string, Values>;
  signal: AbortSignal | undefined;
}

/** Reads the tensors of a file into the weights of layers, or keeps them as they are. */
async function fill(file: OpenSafetensors, assigned: Assignment, {layers, uncomputed, signal}: Filling): Promise<void> {
  await file.read((name, {shape}, data) => {
    throwIfAborted(signal);
    if (data === null) {
      return;
    }
    const kept = assigned.uncomputed.get(name);
    if (kept !== undefined) {
      uncomputed.set(kept, {shape, data});
    }
    for (const weight of assigned.weights.get(name) ?? []) {
      tf.tidy(() => setWeight(layers, weight, () => fromFile(tf.tensor(data, shape, 'float32'), weight)));
    }
  });
}

/** A tensor of a file as the weight that it is. */
function fromFile(stored: tf.Tensor, {axes, part}: Expected): tf.Tensor {
  const own = part === undefined ? stored : (tf.split(stored, part.of)[part.index] as tf.Tensor);
  return axes === undefined ? own : tf.transpose(own, [...axes]);
}
