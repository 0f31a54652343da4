import * as tf from '@tensorflow/tfjs';
import {
  asLoRAError,
  checkOptions,
  damagedError,
  faultLines,
  kindOf,
  type KnownOptions,
  showShape,
  throwFaults,
} from '../../platform/errors';
import type {ByteReader} from '../../platform/formats/byteReader';
import {type BlockMatrix, wordCount} from '../quantized/formats/blockMatrix';
import {dequantize} from '../quantized/formats/formats';
import {BLOCKS} from '../quantized/layers/blockLayer';
import {QuantizedDense} from '../quantized/layers/quantizedDense';
import {QuantizedEmbedding} from '../quantized/layers/quantizedEmbedding';
import {checkLimits, type LoadOptions} from '../../core/storage/limits';
import {readerOf, type StreamSource} from '../../core/storage/sources';
import {withoutResidue} from '../../platform/tfjs/engine';
import {chooseArchitecture} from '../transformers/load/architectures';
import {buildModel, checkRoom, disposeLayers, type Making, planOf, setWeight} from '../transformers/load/assemble';
import {HubConfig} from '../transformers/net/hubConfig';
import {HUB} from '../transformers/load/hubRecord';
import {LANGUAGE, type LanguageFacts} from '../transformers/load/languageFacts';
import type {Expected, NetSources} from '../transformers/net/netSources';
import {isEnd} from './gguf/endTokens';
import {withFactors} from './gguf/rotaryFactors';
import {type Family, ggufName, type GGUFModel, hubRow, pairedHeads, readConfig} from './gguf/ggufConfig';
import {type GGUFFile, type GGUFTensor, openGGUF} from './gguf/ggufFile';
import type {MetadataValue} from './gguf/headerReader';
import {tokenizerFiles, type TokenizerFiles} from './gguf/tokenizerFiles';

/** A class of tokenizers, such as the `Tokenizer` of `@huggingface/tokenizers`. */
export type TokenizerClass<T> = new (tokenizerJson: object, tokenizerConfig: object) => T;

/** How a GGUF file is read. */
export interface LoadGGUFOptions extends LoadOptions {
  /** Makes the tokenizer of what the file says: the `Tokenizer` of `@huggingface/tokenizers`. Default: none is made. */
  Tokenizer?: TokenizerClass<unknown>;
  /**
   * Whether matrices stay in the file's blocks, 16-bit numbers too. With false they become float32, which trains, and
   * takes every method. Default: true.
   */
  blocks?: boolean;
  /** Whether training computes the tensors of each block again, as in `loadTransformer`. Default: false. */
  checkpoint?: boolean;
}

/** What is in a GGUF file. */
export interface LoadedGGUF {
  /** Tokens and a mask, `[batch, places]` each → scores of words, `[batch, places, words]`. */
  model: tf.LayersModel;
  /** What the hub has as `config.json`. */
  config: Readonly<Record<string, unknown>>;
}

const OPTIONS: KnownOptions<LoadGGUFOptions> = {
  Tokenizer: true,
  blocks: true,
  checkpoint: true,
  maxBytes: true,
  signal: true,
};

/** The lists that are read of a file: for the facts about its texts, and to make a tokenizer. */
const OF_FACTS = ['tokenizer.ggml.tokens', 'tokenizer.ggml.token_type'];
const OF_TOKENIZER = ['tokenizer.ggml.scores', 'tokenizer.ggml.merges'];

/**
 * The language model in a GGUF file as a `tf.LayersModel`, its matrices in the blocks of the file: Llama (and what is
 * built like it, as Mistral and SmolLM2), Qwen2, Qwen3, Gemma 3, Phi-3 and GPT-2, of the types F32, F16, BF16, Q8_0,
 * Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K and Q6_K.
 *
 *     const {model, tokenizer} = await loadGGUF(file, {Tokenizer}); // from @huggingface/tokenizers
 *     const adapted = applyLoRA(model, {rank: 8, targets: [/q_proj$/, /v_proj$/]});
 *
 * Layers have the names of the hub's modules and the hub's order of rows, so that adapters of PEFT need no `keyMap`.
 * The file is read tensor by tensor: bytes, a `Blob`, a `Response`, a URL; in Node a path too.
 *
 * @throws LoRAError if it is no GGUF file or a damaged one, there is no code for its architecture, a setting, a type of
 *     tensors or the kind of its tokenizer, or its tensors do not fit its config, with a line for each. Then nothing is
 *     left in memory.
 */
export async function loadGGUF<T>(
  source: StreamSource | PromiseLike<StreamSource>,
  options: LoadGGUFOptions & {Tokenizer: TokenizerClass<T>},
): Promise<LoadedGGUF & TokenizerFiles & {tokenizer: T}>;
export async function loadGGUF(
  source: StreamSource | PromiseLike<StreamSource>,
  options?: LoadGGUFOptions,
): Promise<LoadedGGUF>;
export async function loadGGUF(
  source: StreamSource | PromiseLike<StreamSource>,
  options: LoadGGUFOptions = {},
): Promise<LoadedGGUF & Partial<TokenizerFiles> & {tokenizer?: unknown}> {
  checkOptions(options, OPTIONS);
  const {Tokenizer, blocks = true, checkpoint = false, signal, maxBytes} = options;
  throwFaults([
    ...(Tokenizer === undefined || typeof Tokenizer === 'function'
      ? []
      : [`Tokenizer must be a class, such as that of @huggingface/tokenizers, got ${kindOf(Tokenizer)}.`]),
    ...(typeof blocks === 'boolean' ? [] : [`blocks must be true or false, got ${kindOf(blocks)}.`]),
    ...(typeof checkpoint === 'boolean' ? [] : [`checkpoint must be true or false, got ${kindOf(checkpoint)}.`]),
  ]);
  const limits: LoadOptions = {...(signal && {signal}), ...(maxBytes !== undefined && {maxBytes})};
  checkLimits(limits);
  signal?.throwIfAborted();
  const reader = await readerOf(source, limits);
  try {
    const file = await openGGUF(reader, Tokenizer ? [...OF_FACTS, ...OF_TOKENIZER] : OF_FACTS);
    const read = readConfig(file);
    const files = Tokenizer && tokenizerFiles(file.metadata, read.config.vocab_size as number);
    const tokenizer = Tokenizer && files && made(Tokenizer, files);
    const {model, config} = await modelOf(file, read, {reader, blocks, checkpoint, signal});
    model.setUserDefinedMetadata({[LANGUAGE]: factsOf(file), [HUB]: {config}});
    return {model, config, ...(files && {...files, tokenizer})};
  } catch (error) {
    reader.cancel(error);
    throw error;
  }
}

function made(Tokenizer: TokenizerClass<unknown>, {tokenizerJson, tokenizerConfig}: TokenizerFiles): unknown {
  try {
    return new Tokenizer(tokenizerJson, tokenizerConfig);
  } catch (error) {
    throw asLoRAError(error, 'No tokenizer can be made of what the GGUF file says', 'ERR_UNSUPPORTED');
  }
}

/** What the file says of the texts of its model. */
function factsOf({metadata}: GGUFFile): LanguageFacts {
  const idOf = (name: string) => metadata.get(`tokenizer.ggml.${name}_token_id`);
  const words = metadata.get('tokenizer.ggml.tokens');
  const texts = Array.isArray(words) ? (words as MetadataValue[]) : [];
  const tokens = ['bos', 'eos'].map(name => [`${name}_token`, texts[Number(idOf(name))]]);
  const told = texts.flatMap((text, id) => (isEnd(text) ? [id] : []));
  const template = metadata.get('tokenizer.chat_template');
  return {
    ends: [...new Set([...['eos', 'eot', 'eom'].map(idOf).filter(id => typeof id === 'number'), ...told])],
    ...(typeof template === 'string' && {template}),
    tokens: Object.fromEntries(tokens.filter(([, token]) => typeof token === 'string')) as Record<string, string>,
  };
}

interface Building {
  reader: ByteReader;
  blocks: boolean;
  checkpoint: boolean;
  signal: AbortSignal | undefined;
}

async function modelOf(file: GGUFFile, read: GGUFModel, {blocks, checkpoint, signal}: Building): Promise<LoadedGGUF> {
  const {family, used} = read;
  const tensors = new Map(file.tensors.map(tensor => [tensor.name, tensor]));
  const find = (fileName: string) => tensors.get(ggufName(family, fileName) ?? '');
  const inBlocks = (fileName: string) => {
    const tensor = find(fileName);
    return blocks && tensor !== undefined && tensor.format.name !== 'F32' ? tensor : undefined;
  };
  const sources: NetSources = {
    tied: true,
    has: fileName => find(fileName) !== undefined,
    make: (fileName, className, args) => {
      const tensor = inBlocks(fileName);
      const config = {...args, blocks: {name: tensor?.format.name ?? 'F32'}};
      return tensor && (className === 'Dense' ? new QuantizedDense(config) : new QuantizedEmbedding(config));
    },
  };
  const making = await makingOf(read.config, sources);
  const count = making.architecture.blocks(making.config);
  making.config.check();
  if (count > file.tensors.length) {
    throw damagedError(`The file says that there are ${count} blocks, and has ${file.tensors.length} tensors.`);
  }
  const {expected} = planOf(making);
  making.config.check();
  const wanted = match(file, expected, family, used);
  const held = expected.map(({fileName, shape}) => inBlocks(fileName)?.bytes ?? 4 * tf.util.sizeFromShape(shape));
  checkRoom(
    held.reduce((sum, bytes) => sum + bytes, 0),
    'as they are held',
  );
  let built: ReturnType<typeof buildModel> | undefined;
  const factors = new Map<string, Float32Array>();
  // What comes before the numbers that the config waits for.
  let early: [GGUFTensor, Uint8Array<ArrayBuffer>][] = [];
  const give = (tensor: GGUFTensor, bytes: Uint8Array<ArrayBuffer>) => {
    const turns = pairedHeads(family, tensor.name, read.config);
    for (const weight of wanted.get(tensor.name) ?? []) {
      fill(built?.layers ?? new Map<string, tf.layers.Layer>(), weight, tensor, bytes, {turns, family});
    }
  };
  try {
    const begin = async () => {
      const {config} = await makingOf(withFactors(read.config, factors), sources);
      planOf({...making, config});
      config.check();
      built = withoutResidue(() => buildModel({...making, config}, checkpoint));
      early.forEach(([tensor, bytes]) => give(tensor, bytes));
      early = [];
    };
    if (used.length === 0) {
      await begin();
    }
    for await (const [tensor, bytes] of file.read()) {
      signal?.throwIfAborted();
      if (used.includes(tensor.name)) {
        factors.set(tensor.name, numbersOf(tensor, bytes));
        await (factors.size === used.length ? begin() : undefined);
      } else if (built === undefined) {
        early.push([tensor, bytes]);
      } else {
        give(tensor, bytes);
      }
    }
    const {model} = built as unknown as ReturnType<typeof buildModel>;
    return {model, config: withFactors(read.config, factors)};
  } catch (error) {
    if (built !== undefined) {
      disposeLayers(built.layers);
    }
    throw error;
  }
}

async function makingOf(config: Readonly<Record<string, unknown>>, sources: NetSources): Promise<Making> {
  const chosen = await chooseArchitecture(HubConfig.parse(config, 'file'), {});
  return {...chosen, sources};
}

/** Compares the tensors of a file with the weights of the model. Of each tensor, the weights that it is. */
function match(
  file: GGUFFile,
  expected: readonly Expected[],
  family: Family,
  used: readonly string[],
): Map<string, Expected[]> {
  const tensors = new Map(file.tensors.map(tensor => [tensor.name, tensor]));
  const wanted = new Map<string, Expected[]>();
  const asked = new Set(used);
  const faults: string[] = [];
  for (const weight of expected) {
    const name = ggufName(family, weight.fileName);
    const tensor = tensors.get(name ?? '');
    asked.add(name ?? '');
    const shape = isTurned(weight) ? [...weight.shape].reverse() : weight.shape;
    if (name === undefined || tensor === undefined) {
      faults.push(`${name ?? weight.fileName}: not in the file`);
    } else if (!tf.util.arraysEqual([...tensor.shape], shape)) {
      faults.push(`${name}: shape ${showShape(tensor.shape)} in the file, ${showShape(shape)} by its config`);
    } else {
      wanted.set(name, [...(wanted.get(name) ?? []), weight]);
    }
  }
  faults.push(...file.tensors.filter(({name}) => !asked.has(name)).map(({name}) => `${name}: no weight of the model`));
  if (faults.length > 0) {
    throw damagedError(`The tensors of the GGUF file do not fit what it says of the model:\n${faultLines(faults)}`);
  }
  return wanted;
}

/** Whether the hub has a matrix as `[in, out]`; GGUF never does. */
function isTurned({weight, axes, shape}: Expected): boolean {
  return weight === 'kernel' && axes === undefined && shape.length === 2;
}

/** Gives a layer what a tensor of the file holds for it. */
function fill(
  layers: ReadonlyMap<string, tf.layers.Layer>,
  weight: Expected,
  tensor: GGUFTensor,
  bytes: Uint8Array<ArrayBuffer>,
  {turns, family}: {turns: number | undefined; family: Family},
): void {
  const [rows = 1, width = 1] = tensor.shape;
  const layer = layers.get(weight.layer);
  tf.tidy(() => {
    if (tensor.shape.length === 2 && (layer instanceof QuantizedDense || layer instanceof QuantizedEmbedding)) {
      const own = turns === undefined ? bytes : apart(bytes, rows, turns);
      const matrix: BlockMatrix = {format: tensor.format, rows, width};
      const words = wordsOf(own, wordCount(matrix));
      setWeight(layers, {...weight, weight: BLOCKS}, () => tf.tensor1d(words, 'int32'));
      return;
    }
    const numbers = numbersOf(tensor, bytes);
    const own = turns === undefined ? numbers : new Float32Array(apart(asBytes(numbers), rows, turns).buffer);
    setWeight(layers, weight, () => {
      const stored = tf.tensor(own, [...tensor.shape], 'float32');
      const value = isTurned(weight) || weight.axes !== undefined ? tf.transpose(stored) : stored;
      return family.addedOne === true && weight.weight === 'gamma' ? tf.sub(value, 1) : value;
    });
  });
}

function asBytes({buffer, byteOffset, byteLength}: Float32Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

function numbersOf({shape, format}: GGUFTensor, bytes: Uint8Array): Float32Array<ArrayBuffer> {
  const numbers = new Float32Array(tf.util.sizeFromShape([...shape]));
  dequantize(format, bytes, 0, numbers.length / format.numbers, numbers);
  return numbers;
}

/** Whole numbers of 32 bits that have the bytes, and zeros behind them. */
function wordsOf(bytes: Uint8Array<ArrayBuffer>, count: number): Int32Array {
  if (bytes.length === 4 * count && bytes.byteOffset % 4 === 0) {
    return new Int32Array(bytes.buffer, bytes.byteOffset, count);
  }
  const words = new Int32Array(count);
  new Uint8Array(words.buffer).set(bytes);
  return words;
}

/** Rows of heads as the hub has them. */
function apart(bytes: Uint8Array, rows: number, heads: number): Uint8Array<ArrayBuffer> {
  const rowSize = bytes.length / rows;
  const out = new Uint8Array(bytes.length);
  for (let row = 0; row < rows; row++) {
    out.set(bytes.subarray(row * rowSize, (row + 1) * rowSize), hubRow(row, rows, heads) * rowSize);
  }
  return out;
}
