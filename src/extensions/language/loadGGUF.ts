import * as tf from '@tensorflow/tfjs';
import {partsLoaded} from '../../backends/shared/backendParts';
import {
  checkOptions,
  damagedError,
  type KnownOptions,
  kindOf,
  LoRAError,
  showShape,
  throwFaults,
  unsupportedError,
} from '../../platform/errors';
import {type CallOptions, checkCallOptions, stepsOf, throwIfAborted} from '../../platform/signals';
import {QuantizedDense} from '../quantized/layers/quantizedDense';
import {QuantizedEmbedding} from '../quantized/layers/quantizedEmbedding';
import {orderRows} from '../quantized/streamed/streamedFile';
import {checkLimits, type LoadOptions} from '../../core/storage/limits';
import {withHubName} from '../../core/storage/hubName';
import {readerOf, type StreamSource} from '../../core/storage/sources';
import {ByteReader} from '../../platform/formats/byteReader';
import {withoutResidue} from '../../platform/tfjs/engine';
import {chooseArchitecture} from '../transformers/load/architectures';
import {
  buildModel,
  checkpointingFaults,
  checkRoom,
  disposeLayers,
  type Making,
  planOf,
} from '../transformers/load/assemble';
import {HubConfig} from '../transformers/net/hubConfig';
import {endOf, HUB} from '../transformers/net/hubRecord';
import {LANGUAGE, type LanguageFacts} from '../transformers/load/languageFacts';
import {type ChatTemplate, checkPeerClasses, makeTokenizer, type PeerClasses} from '../transformers/load/peers';
import type {GradientCheckpointing} from '../transformers/net/net';
import type {Expected, NetSources} from '../transformers/net/netSources';
import {isEnd} from './gguf/endTokens';
import {fill, isTransposed, memoryFor, valuesOf} from './gguf/fillWeight';
import {withFactors} from './gguf/rotaryFactors';
import type {Family} from './gguf/families';
import {ggufName, type GGUFModel, readConfig} from './gguf/ggufConfig';
import {rowOrder, rowsInOrder} from './gguf/rowOrder';
import type {WeightSource} from '../quantized/streamed/openStreamed';
import {checkStreams, MAX_READ_BYTES, streamFaults, type StreamOptions} from '../quantized/streamed/streamOptions';
import {type GGUFFile, type GGUFTensor, openGGUF} from './gguf/ggufFile';
import type {MetadataValue} from './gguf/headerReader';
import {tokenizerFiles, type TokenizerFiles} from './gguf/tokenizerFiles';
import type {Tokenizer} from '../transformers/load/tokenizer';

/** How a GGUF file is loaded. */
export interface LoadGGUFOptions<T = Tokenizer> extends LoadOptions, CallOptions, StreamOptions, PeerClasses<T> {
  /** Pass false for a file without a tokenizer, or with an unsupported one. Default: true. */
  tokenizer?: boolean;
  /**
   * Whether matrices keep the file's quantized or 16-bit format. With false they become float32, which can train and
   * supports every method. Default: true.
   */
  quantized?: boolean;
  /** Whether to recompute activations during training, as in `loadTransformer`. Default: false. */
  gradientCheckpointing?: boolean | 'most';
}

/** The language model of a GGUF file. */
export interface LoadedModel {
  /** Tokens and a mask, `[batch, positions]` each → logits, `[batch, positions, vocabulary]`. */
  model: tf.LayersModel;
  /** The content of the hub's `config.json`. */
  config: Readonly<Record<string, unknown>>;
}

/** The contents of a GGUF file. */
export interface LoadedGGUF<T = Tokenizer> extends LoadedModel, TokenizerFiles {
  /** The tokenizer, with the file's chat template, if it has one. */
  tokenizer: T & {readonly chatTemplate?: ChatTemplate};
}

const OPTIONS: KnownOptions<LoadGGUFOptions> = {
  ...{tokenizer: true, Tokenizer: true, Template: true, quantized: true, gradientCheckpointing: true},
  ...{weights: true, maxReadBytes: true},
  ...{maxBytes: true, signal: true, onProgress: true},
};

/** The lists that are read from a file: for end-of-text tokens, and to make a tokenizer. */
const OF_FACTS = ['tokenizer.ggml.tokens', 'tokenizer.ggml.token_type'];
const OF_TOKENIZER = ['tokenizer.ggml.scores', 'tokenizer.ggml.merges'];

/**
 * Loads the language model of a GGUF file and its tokenizer. Matrices stay quantized as in the file.
 *
 * Supports the architectures Llama (also Mistral, SmolLM2, …), Qwen2, Qwen3, Gemma 1 to 3, Phi-2, Phi-3, OLMo 2,
 * LFM2, GPT-NeoX and GPT-2, and tensors of type F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K or Q6_K.
 * Layers have the hub's module names and row order, so that PEFT adapters need no `keyMap`. The file is read tensor by
 * tensor.
 *
 * `@huggingface/tokenizers` makes the tokenizer, and `@huggingface/jinja` renders its chat template. Both are optional
 * peer dependencies, imported when needed. Pass other classes as `Tokenizer` and `Template`.
 *
 * @param source bytes, a `Blob`, a `Response`, or a URL; in Node a path too. For streamed weights see `weights`.
 * @param options whether to keep quantized weights, the tokenizer classes, and progress.
 * @returns the model, its tokenizer and its config, and the tokenizer's files in the hub's form.
 * @throws LoRAError `ERR_DAMAGED` if the file is no GGUF file or incomplete, or its tensors do not fit its settings;
 *     `ERR_UNSUPPORTED` if its architecture, a setting, the type of a tensor or the kind of its tokenizer is not
 *     supported, or a peer is not installed; `ERR_TOO_LARGE`; `ERR_ABORTED`. Then nothing is left in memory.
 * @example
 * const {model, tokenizer} = await loadGGUF('model.gguf');
 * const adapted = applyLoRA(model, {rank: 8});
 * @experimental
 */
export async function loadGGUF(
  source: WeightSource | PromiseLike<WeightSource>,
  options: LoadGGUFOptions<unknown> & {tokenizer: false},
): Promise<LoadedModel>;
export async function loadGGUF<T = Tokenizer>(
  source: WeightSource | PromiseLike<WeightSource>,
  options?: LoadGGUFOptions<T>,
): Promise<LoadedGGUF<T>>;
export async function loadGGUF(
  source: WeightSource | PromiseLike<WeightSource>,
  options: LoadGGUFOptions<unknown> = {},
): Promise<LoadedModel & Partial<LoadedGGUF<unknown>>> {
  checkOptions(options, OPTIONS);
  const {
    Tokenizer,
    Template,
    tokenizer: hasTokenizer = true,
    quantized = true,
    gradientCheckpointing = false,
  } = options;
  const {signal, onProgress, maxBytes, weights = 'memory', maxReadBytes = MAX_READ_BYTES} = options;
  checkPeerClasses({Tokenizer, Template});
  throwFaults([
    ...Object.entries({tokenizer: hasTokenizer, quantized})
      .filter(([, value]) => typeof value !== 'boolean')
      .map(([name, value]) => `${name} must be true or false, got ${kindOf(value)}.`),
    ...checkpointingFaults(gradientCheckpointing),
    ...streamFaults(options),
    ...(weights === 'streamed' && !quantized
      ? ["{quantized: false} needs all weights in float32, in memory: leave out {weights: 'streamed'} for it."]
      : []),
  ]);
  checkStreams(options);
  if (!hasTokenizer && (Tokenizer ?? Template) !== undefined) {
    throw new LoRAError('Tokenizer and Template have no effect with {tokenizer: false}. Leave one of them out.');
  }
  checkCallOptions(options);
  const limits: LoadOptions = {...(signal && {signal}), ...(maxBytes !== undefined && {maxBytes})};
  checkLimits(limits);
  throwIfAborted(signal);
  await partsLoaded();
  const streamed = weights === 'streamed' ? await streamedFrom(source, limits, maxReadBytes) : undefined;
  const reader =
    streamed === undefined
      ? await readerOf(source as StreamSource, limits).catch((error: unknown) => {
          throw withHubName(error, source);
        })
      : new ByteReader(streamed.inOrder(streamed.file));
  try {
    const file = await openGGUF(reader, hasTokenizer ? [...OF_FACTS, ...OF_TOKENIZER] : OF_FACTS);
    const read = readConfig(file);
    const facts = factsOf(file);
    const files = hasTokenizer ? tokenizerFiles(file.metadata, read.config.vocab_size as number) : undefined;
    const tokenizer = files && (await makeTokenizer({...files, template: facts.template}, {Tokenizer, Template}));
    const {model, config} = await modelOf(file, read, {
      ...{quantized, gradientCheckpointing, streamed},
      call: {signal, onProgress},
    });
    model.setUserDefinedMetadata({[LANGUAGE]: facts, [HUB]: {config, ...endOf(model, 'tokens')}});
    return {model, config, ...(files && {...files, tokenizer})};
  } catch (error) {
    reader.cancel(error);
    throw error;
  }
}

/** A file whose matrices stay there, and the functions that read it. */
async function streamedFrom(
  source: WeightSource | PromiseLike<WeightSource>,
  limits: LoadOptions,
  maxReadBytes: number,
) {
  const {openStreamed, ...functions} = await import('./gguf/streamedGGUF');
  return {...functions, file: await openStreamed(source, limits, maxReadBytes)};
}

/** The file's tokenizer and chat template. */
function factsOf({metadata}: GGUFFile): LanguageFacts {
  const idOf = (name: string) => metadata.get(`tokenizer.ggml.${name}_token_id`);
  const vocabulary = metadata.get('tokenizer.ggml.tokens');
  const texts = Array.isArray(vocabulary) ? (vocabulary as MetadataValue[]) : [];
  const tokens = ['bos', 'eos'].map(name => [`${name}_token`, texts[Number(idOf(name))]]);
  const byText = texts.flatMap((text, id) => (isEnd(text) ? [id] : []));
  const template = metadata.get('tokenizer.chat_template');
  return {
    ends: [...new Set([...['eos', 'eot', 'eom'].map(idOf).filter(id => typeof id === 'number'), ...byText])],
    ...(typeof template === 'string' && {template}),
    tokens: Object.fromEntries(tokens.filter(([, token]) => typeof token === 'string')) as Record<string, string>,
  };
}

interface Building {
  quantized: boolean;
  gradientCheckpointing: GradientCheckpointing;
  streamed: Awaited<ReturnType<typeof streamedFrom>> | undefined;
  call: CallOptions;
}

async function modelOf(
  file: GGUFFile,
  read: GGUFModel,
  {quantized, gradientCheckpointing, streamed, call}: Building,
): Promise<LoadedModel> {
  const {family, used} = read;
  const tensors = new Map(file.tensors.map(tensor => [tensor.name, tensor]));
  const find = (fileName: string) => tensors.get(ggufName(family, fileName) ?? '');
  const inBlocks = (fileName: string) => {
    const tensor = find(fileName);
    return quantized && tensor !== undefined && tensor.format.name !== 'F32' ? tensor : undefined;
  };
  const places = streamed?.placesInGGUF(streamed.file, file.tensors, name => rowOrder(family, name, read.config));
  /** The tensors that stay in the file. */
  const inFile = new Set<string>();
  const sources: NetSources = {
    tied: true,
    has: fileName => find(fileName) !== undefined,
    make: (fileName, className, args) => {
      const tensor = inBlocks(fileName);
      const config = {...args, blocks: {name: tensor?.format.name ?? 'F32'}};
      const layer = tensor && (className === 'Dense' ? new QuantizedDense(config) : new QuantizedEmbedding(config));
      const place = tensor && places?.get(tensor.name);
      if (layer !== undefined && place !== undefined) {
        layer.place = place;
        inFile.add(tensor?.name ?? '');
      }
      return layer;
    },
  };
  const making = await makingOf(read.config, sources);
  const count = making.architecture.blocks(making.config);
  making.config.check();
  if (count > file.tensors.length) {
    throw damagedError(`The GGUF file claims ${count} blocks, but has ${file.tensors.length} tensors.`);
  }
  const {expected} = planOf(making);
  making.config.check();
  const wanted = match(file, expected, family, used);
  const held = expected.map(({fileName, shape}) => {
    const tensor = inBlocks(fileName);
    return places?.has(tensor?.name ?? '') ? 0 : (tensor?.bytes ?? 4 * tf.util.sizeFromShape(shape));
  });
  checkRoom(
    held.reduce((sum, bytes) => sum + bytes, streamed?.file.largestRun ?? 0),
    'as they are held',
  );
  let built: ReturnType<typeof buildModel> | undefined;
  const factors = new Map<string, Float32Array>();
  // Tensors that precede the factors that the config needs.
  let early: [GGUFTensor, Uint8Array<ArrayBuffer>][] = [];
  const order = ({name, shape: [rows = 1]}: GGUFTensor, bytes: Uint8Array) => {
    const rowTo = rowOrder(family, name, read.config);
    if (rowTo !== undefined) {
      orderRows(bytes, rowsInOrder(rowTo, rows));
    }
  };
  const give = (tensor: GGUFTensor, bytes: Uint8Array<ArrayBuffer>) => {
    order(tensor, bytes);
    for (const weight of wanted.get(tensor.name) ?? []) {
      fill(built?.layers ?? new Map<string, tf.layers.Layer>(), weight, tensor, bytes, family);
    }
  };
  /** Where a tensor of a single weight is read to directly. */
  const memoryOf = (tensor: GGUFTensor) => {
    const [weight, another] = wanted.get(tensor.name) ?? [];
    return another === undefined ? memoryFor(built?.layers.get(weight?.layer ?? ''), tensor) : undefined;
  };
  try {
    const begin = async () => {
      const {config} = await makingOf(withFactors(read.config, factors), sources);
      planOf({...making, config});
      config.check();
      built = withoutResidue(() => buildModel({...making, config}, gradientCheckpointing));
      early.forEach(([tensor, bytes]) => give(tensor, bytes));
      early = [];
    };
    if (used.length === 0) {
      await begin();
    }
    const progress = {total: file.tensors.reduce((sum, {bytes}) => sum + bytes, 0), what: 'loading weights, in bytes'};
    const step = stepsOf(call);
    let done = 0;
    const tensorBytes = streamed
      ? streamed.tensorsFrom(streamed.file, file.tensors, {first: used, inFile})
      : file.read(tensor => {
          const memory = memoryOf(tensor);
          return (
            memory &&
            ((piece, at) => {
              memory().set(piece, at);
            })
          );
        });
    for await (const [tensor, bytes] of tensorBytes) {
      await step({done, ...progress});
      done += tensor.bytes;
      if (bytes === undefined) {
        order(tensor, memoryOf(tensor)?.() ?? new Uint8Array());
      } else if (used.includes(tensor.name)) {
        factors.set(tensor.name, valuesOf(tensor, bytes));
        await (factors.size === used.length ? begin() : undefined);
      } else if (built === undefined) {
        early.push([tensor, bytes]);
      } else {
        give(tensor, bytes);
      }
    }
    await step({done, ...progress});
    if (streamed !== undefined && inFile.size === 0) {
      throw unsupportedError(
        "The file has no matrices in quantized or 16-bit formats, so that {weights: 'streamed'} has no effect.",
      );
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

/** Checks the tensors of a file against the model. Returns the weights that each tensor becomes. */
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
    const shape = isTransposed(weight) ? [...weight.shape].reverse() : storedShape(weight);
    if (name === undefined || tensor === undefined) {
      faults.push(`${name ?? weight.fileName}: not in the file`);
    } else if (!tf.util.arraysEqual([...tensor.shape], shape)) {
      faults.push(`${name}: shape ${showShape(tensor.shape)} in the file, but ${showShape(shape)} by its config`);
    } else {
      wanted.set(name, [...(wanted.get(name) ?? []), weight]);
    }
  }
  faults.push(
    ...file.tensors.filter(({name}) => !asked.has(name)).map(({name}) => `${name}: not a weight of the model`),
  );
  throwFaults(faults, 'ERR_DAMAGED', 'The tensors of the GGUF file do not fit its settings:');
  return wanted;
}

/** GGUF files leave out the axis of one channel that the kernels of a convolution of each channel have. */
function storedShape({shape}: Expected): number[] {
  return shape.length === 3 ? shape.filter((_, axis) => axis !== 1) : shape;
}
