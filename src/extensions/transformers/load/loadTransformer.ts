import {partsLoaded} from '../../../backends/shared/backendParts';
import {
  checkOptions,
  type KnownOptions,
  kindOf,
  LoRAError,
  misfitError,
  show,
  throwFaults,
} from '../../../platform/errors';
import type {ByteReader} from '../../../platform/formats/byteReader';
import type {Values} from '../../../platform/formats/layout';
import {type CallOptions, checkCallOptions, stepsOf, throwIfAborted} from '../../../platform/signals';
import {checkLimits, type LoadOptions, MAX_FETCHED_BYTES} from '../../../core/storage/limits';
import {tooLarge} from '../../../core/storage/tooLarge';
import {newLayersEntry} from '../../../core/head/headPlace';
import {withHubName} from '../../../core/storage/hubName';
import {readerOf, type SourceOptions} from '../../../core/storage/sources';
import type {WeightSource} from '../../quantized/streamed/openStreamed';
import {checkStreams, MAX_READ_BYTES, streamFaults, type StreamOptions} from '../../quantized/streamed/streamOptions';
import type {Pooling} from '../net/architecture';
import {chooseArchitecture} from './architectures';
import {buildModel, checkpointingFaults, checkRoom, disposeLayers, fill, type Making, planOf} from './assemble';
import {assignTensors, namesIn, warnOfLeftOut} from './fileTensors';
import {HubConfig} from '../net/hubConfig';
import {PREPROCESSOR} from '../net/preprocessorKey';
import {
  bytesBeside,
  configOf,
  filesAt,
  type GivenSource,
  HubFiles,
  type JSONObject,
  type OtherSources,
} from './hubFolder';
import {openWeights, type OpenWeights} from './onnxWeights';
import {floatBytes, packedLayers} from './packedLayers';
import {newCharactersOf} from './newCharacters';
import type {StreamedWeights} from './streamedWeights';
import {endOf, HUB, type HubRecord, hubRecord, SENTENCE_WEIGHTS, UNCOMPUTED} from '../net/hubRecord';
import {faultEntry} from '../net/sentenceModules';
import {hubFacts, LANGUAGE} from './languageFacts';
import {SPEECH, speechFields} from './speechFacts';
import {attempted, type LoadedTransformer, withTokenizer} from './loadedTransformer';
import {checkPeerClasses, madeOf, makeTokenizer, type PeerClasses} from './peers';
import {checkTokenizer, type Tokenizer} from './tokenizer';

/**
 * The files of a model and how to load it. `preprocessor`, `generation`, `tokenizerJson`, `tokenizerConfig` and
 * `vocabulary` (`vocab.json` of a model for CTC) are text, objects, bytes or addresses. Default: the files in the
 * model's folder.
 */
export interface TransformerSources<T = Tokenizer> extends LoadOptions, CallOptions, PeerClasses<T>, OtherSources {
  /** `config.json`: its text, its content as an object, or its address. */
  config: GivenSource | JSONObject;
  /**
   * The `.safetensors` files, one or several, or an ONNX file of PyTorch or optimum, also in 4 bits: each as bytes, a
   * `Blob`, a `Response` or a URL; in Node a path too. With `{weights: 'streamed'}` in the second argument: the
   * `.safetensors` files as {@link RandomAccessSource}.
   */
  weights: GivenWeights | readonly GivenWeights[];
  /** Whether to load the tokenizer, if there is a `tokenizer.json`. Default: true. */
  tokenizer?: boolean;
  /**
   * The class of `transformers` to load, such as `'BertForSequenceClassification'`. Default: the class in the config,
   * or the body.
   */
  architecture?: string;
  /**
   * Adds a new, randomly initialized head for this many classes or for classes with these names: of a text, or as
   * `architecture` says. A head for spans has 2, one for choices 1, and one for CTC the characters of a language, such
   * as `['<pad>', '<unk>', '|', 'a', 'b']`, of which the tokenizer is made: `'<pad>'` is the blank, `'|'` a space.
   * When adapted, it trains in full, like a head of `replaceHead`, unless it is a target or excluded.
   */
  labels?: number | readonly string[];
  /**
   * The output of a model without a head for a text: its states at each position (`'none'`), or one vector. With
   * pooling, the head in the config is left out. Default: `'none'`.
   */
  pooling?: Pooling;
  /**
   * The stages of an image encoder whose features are the outputs, such as `['stage2', 'stage4']`, for your own heads:
   * `[batch, height, width, channels]` each. Layers after the last of them are left out. Default: the last features.
   */
  outputs?: readonly string[];
  /** Whether token types, which distinguish two texts, are a third input. Default: false, all of type 0. */
  tokenTypes?: boolean;
  /**
   * Whether a tied output head uses the token embedding itself. With false it has a copy that can train separately, as
   * in a PEFT adapter with the head in `modules_to_save`. Default: true.
   */
  tied?: boolean;
  /**
   * Whether training recomputes the tensors of each block instead of keeping them: less memory, more time. `'most'`
   * keeps those of the last quarter of the blocks: between the two in both. Default: false.
   */
  gradientCheckpointing?: boolean | 'most';
}

type GivenWeights = WeightSource | PromiseLike<WeightSource>;

/** Options for a model in a folder: all of `TransformerSources` except the files, and where its matrices are. */
export type TransformerOptions<T = Tokenizer> = Omit<TransformerSources<T>, 'config' | 'weights'> & StreamOptions;

const OPTIONS: KnownOptions<TransformerSources> = {
  ...{config: true, weights: true, architecture: true, labels: true, pooling: true, tokenTypes: true, tied: true},
  ...{outputs: true},
  ...{preprocessor: true, generation: true, tokenizerJson: true, tokenizerConfig: true, vocabulary: true},
  ...{tokenizer: true, Tokenizer: true, Template: true},
  ...{gradientCheckpointing: true, maxBytes: true, signal: true, onProgress: true},
};

/**
 * Loads a transformer of the hub as a `tf.LayersModel`, and its tokenizer.
 *
 * Text encoders: BERT, RoBERTa, DistilBERT, MobileBERT, ELECTRA (and so MiniLM, E5, …), ALBERT, MPNet, ModernBERT,
 * Nomic's BERT, GTE (its type `new` too), DeBERTa and the encoder of T5.
 * Language models: GPT-2, GPT-NeoX, OPT, Llama, Mistral, Qwen2, Qwen3, Gemma 1 to 3, SmolLM3, Phi, Phi-3, OLMo 2 and 3,
 * Granite and LFM2; of Gemma 3 with images the text part.
 * Image encoders: ViT, DeiT, BEiT, DINOv2, DINOv3, SigLIP, SigLIP 2, CLIP, ResNet, ConvNeXt, Swin, MobileNetV2,
 * EfficientNet, MobileViT and SegFormer.
 * Sound: Whisper, wav2vec 2.0, HuBERT and AST.
 * They have their heads for classes of an image, a sound, a text or its tokens, spans that answer a question, masked
 * tokens, choices, and the next token or character. The code of a family is loaded when a config names it.
 *
 * A text model takes token ids, `[batch, positions]`, and a mask of that shape, 1 for tokens and 0 for padding
 * (`encodeTexts` makes both). Whisper and AST take spectrograms, `[batch, frames, bins]`, and Whisper also the tokens
 * before the next ones; wav2vec 2.0 and HuBERT take samples, `[batch, samples]`, and a mask of that shape. SigLIP 2
 * NaFlex takes the patches of images (`encodePatches`).
 *
 * Layers have the names of the hub's modules, `encoder/layer/0/attention/self/query`, so adapters of PEFT need no
 * `keyMap`. Projections are stock `Dense` layers. There is no dropout. Files are read tensor by tensor: F32, F16 and
 * BF16, which become float32.
 *
 * The tokenizer is made with `@huggingface/tokenizers`, and its chat template with `@huggingface/jinja`: optional peer
 * dependencies, which are imported here. Pass other classes as `Tokenizer` and `Template`. Models for CTC need neither:
 * their tokenizer is made of `vocab.json`.
 *
 * @param given the folder of the model, or the address of its `config.json`: a URL, in Node a path too; or its files.
 * @param options the head, the tokenizer, and progress; of given files only `weights` and `maxReadBytes`.
 * @returns the model, its tokenizer and its config.
 * @throws LoRAError `ERR_UNSUPPORTED` if the architecture or a setting is not supported; `ERR_MISFIT` if the files do
 *     not match the config, with a line for each fault; `ERR_DAMAGED`; `ERR_NOT_FOUND`; `ERR_TOO_LARGE` if the weights
 *     exceed the memory of the backend; `ERR_ABORTED`. Everything is freed then.
 * @example
 *     const {model, tokenizer} = await loadTransformer('models/bert', {labels: ['negative', 'positive']});
 *     const {inputIds, attentionMask} = encodeTexts(model, tokenizer, ['What a film!']);
 *     const logits = model.predict([inputIds, attentionMask]); // [1, 2]
 * @experimental
 */
export async function loadTransformer(
  given: URL | string,
  options: TransformerOptions<unknown> & {tokenizer: false},
): Promise<Pick<LoadedTransformer, 'model' | 'config'>>;
export async function loadTransformer(
  given: TransformerSources<unknown> & {tokenizer: false},
  options?: StreamOptions,
): Promise<Pick<LoadedTransformer, 'model' | 'config'>>;
export async function loadTransformer<T = Tokenizer>(
  given: TransformerSources<T> | URL | string,
  options?: TransformerOptions<T>,
): Promise<LoadedTransformer<T>>;
export async function loadTransformer<T = Tokenizer>(
  given: TransformerSources<T> | URL | string,
  options: TransformerOptions<T> = {},
): Promise<LoadedTransformer<T>> {
  checkOptions(options);
  const {weights: place = 'memory', maxReadBytes = MAX_READ_BYTES, ...otherOptions} = options;
  throwFaults(streamFaults(options));
  checkStreams(options);
  const isAddress = typeof given === 'string' || given instanceof URL;
  const misplaced = Object.entries<unknown>(isAddress ? {} : otherOptions).flatMap(([name, value]) =>
    value === undefined ? [] : [name],
  );
  if (misplaced.length > 0) {
    throw new LoRAError(
      `Options of given files belong beside them: loadTransformer({config, weights, ${misplaced.join(', ')}}).`,
    );
  }
  const revisions: SourceOptions['revisions'] = new Map();
  const sources: TransformerSources<T> = isAddress
    ? {...(await filesAt(given, {signal: options.signal, revisions})), ...otherOptions}
    : given;
  checkSources(sources);
  const {weights, tied = true, gradientCheckpointing = false, signal, onProgress, maxBytes} = sources;
  const limits: SourceOptions = {...(signal && {signal}), ...(maxBytes !== undefined && {maxBytes}), revisions};
  throwIfAborted(signal);
  await partsLoaded();
  const newCharacters = newCharactersOf(sources);
  const givenConfig = HubConfig.parse(
    await configOf(sources.config, 'config.json', limits).catch((error: unknown) => {
      throw withHubName(error, given);
    }),
  );
  const fullConfig = newCharacters
    ? HubConfig.parse({...givenConfig.asObject(), ...newCharacters.config}) // its blank is the padding token
    : givenConfig;
  const {architecture, purpose, config, hubConfig} = await chooseArchitecture(fullConfig, sources);
  const blocks = architecture.blocks(config);
  config.check();
  const readers: ByteReader[] = [];
  const inFiles: StreamedWeights[] = [];
  try {
    const weightSources = Array.isArray(weights) ? (weights as GivenWeights[]) : [weights as GivenWeights];
    const streaming = place === 'streamed' ? await import('./streamedWeights') : undefined;
    for (const source of weightSources) {
      if (streaming === undefined) {
        readers.push(await readerOf(source as GivenSource, limits));
      } else {
        inFiles.push(await streaming.openStreamedWeights(source, limits, maxReadBytes));
      }
    }
    const files: OpenWeights[] = [...inFiles];
    for (const [i, reader] of readers.entries()) {
      const expected = () => planOf({architecture, config, purpose, sources: {has: () => false, tied}}).expected;
      const beside = (name: string) => bytesBeside(weightSources[i], name, limits);
      files.push(await openWeights(reader, {architecture, expected, beside}));
    }
    const tensors = files.flatMap(({entries}) => entries);
    if (blocks > tensors.length) {
      throw misfitError(
        `The config says that there are ${blocks} blocks, but the files have ${tensors.length} tensors.`,
      );
    }
    const packed = await packedLayers(files, architecture);
    const made: Making = {
      ...{architecture, config, purpose},
      sources: {has: namesIn(files, architecture), tied, ...(packed && {make: packed.make})},
    };
    const plan = planOf(made);
    config.check();
    if (streaming === undefined) {
      const bytes = plan.newBytes + (packed?.bytesOf ?? floatBytes)(plan.expected);
      checkRoom(bytes, packed ? 'in blocks and as float32' : 'as float32');
    }
    if (plan.newBytes > (maxBytes ?? MAX_FETCHED_BYTES)) {
      throw tooLarge(`A new head for ${purpose.labels} classes`, maxBytes ?? MAX_FETCHED_BYTES);
    }
    const unprunedWeights = purpose.outputs && planOf({...made, purpose: {...purpose, outputs: undefined}}).expected;
    const assigned = assignTensors(files, plan.expected, architecture, {head: purpose.head, unprunedWeights});
    const streamed = streaming?.streamedLayers(inFiles, assigned);
    if (streamed !== undefined) {
      made.sources.make = streamed.make;
      checkRoom(plan.newBytes + streamed.bytesOf(plan.expected), 'besides those that are streamed');
    }
    const isUnasked =
      sources.architecture === undefined &&
      sources.labels === undefined &&
      !purpose.outputs &&
      purpose.pooling === 'none';
    // If the config names a class with a head, other heads were left out unintentionally.
    if (isUnasked && purpose.head === 'none') {
      warnOfLeftOut(architecture, assigned.leftOut, ownersOf(assigned.leftOut, made));
    }
    const beside = new HubFiles(isAddress ? given : undefined, sources, limits);
    const takes = architecture.takes?.(purpose.head) ?? 'texts';
    const preprocessor = takes === 'texts' ? undefined : await beside.config('preprocessor');
    const record = hubRecord(architecture, hubConfig, purpose, assigned.uncomputed.values(), sources.architecture);
    if (architecture.textPart && sources.architecture === undefined) {
      const loaded = show(String(record.config.architectures));
      console.warn(`The model also takes images, but only its text part is loaded, as by {architecture: ${loaded}}.`);
    }
    const writes = /(?:ForCausalLM|LMHeadModel)$/.test(String(record.config.architectures));
    const isWordless = takes === 'images' || takes === 'spectrograms';
    const hasTokenizer = !isWordless && sources.tokenizer !== false;
    const tokenizerConfig = writes || hasTokenizer ? await beside.config('tokenizerConfig') : undefined;
    const hasCharacters =
      hasTokenizer && purpose.head === 'ctc' && (sources.tokenizerJson ?? sources.Tokenizer) === undefined;
    const characters = hasCharacters ? (newCharacters?.vocabulary ?? (await beside.config('vocabulary'))) : undefined;
    const facts = writes
      ? hubFacts((await beside.config('generation')) ?? {}, tokenizerConfig ?? {}, await beside.template())
      : undefined;
    const speech = takes === 'speech' ? speechFields((await beside.config('generation')) ?? {}) : undefined;
    const tokenizer = hasTokenizer
      ? await attempted(async () => {
          if (characters !== undefined) {
            const {CharacterTokenizer} = await import('./characterTokenizer');
            const settings = newCharacters?.tokenizerConfig ?? tokenizerConfig ?? {};
            const files = {'vocab.json': characters, 'tokenizer_config.json': settings};
            return madeOf(
              new CharacterTokenizer(characters, settings),
              files,
            ) as unknown as LoadedTransformer<T>['tokenizer'];
          }
          const source = {tokenizerJson: await beside.tokenizerJson(), tokenizerConfig: tokenizerConfig ?? {}};
          const tokenizer = await makeTokenizer({...source, template: facts?.template}, sources);
          checkTokenizer(tokenizer, architecture.vocabulary?.(config));
          return tokenizer;
        })
      : new LoRAError(
          isWordless
            ? `The model takes ${takes} and has no tokenizer.`
            : 'The model was loaded with {tokenizer: false}.',
        );
    // If a tokenizer was given, its faults are thrown at once; otherwise when it is used.
    if (tokenizer instanceof LoRAError && (sources.tokenizerJson ?? sources.Tokenizer) !== undefined) {
      throw tokenizer;
    }
    const isBody = takes === 'texts' && purpose.head === 'none' && purpose.pooling === 'none' && !purpose.outputs;
    const sentence = isBody ? await sentenceEntry(beside, record, tokenizerConfig) : {};
    throwIfAborted(signal);
    const {model, layers, newLayers} = buildModel(made, gradientCheckpointing);
    const uncomputed = new Map<string, Values>();
    UNCOMPUTED.set(record, uncomputed);
    model.setUserDefinedMetadata({
      ...(preprocessor && {[PREPROCESSOR]: preprocessor}),
      ...(facts && {[LANGUAGE]: facts}),
      ...(speech && {[SPEECH]: speech}),
      [HUB]: Object.assign(record, endOf(model, purpose.head), sentence),
      ...newLayersEntry(newLayers),
    });
    try {
      const total = tensors.reduce((sum, [, {begin, end}]) => sum + end - begin, 0);
      const step = stepsOf({signal, onProgress});
      let done = 0;
      streamed?.note(layers);
      for (const file of files) {
        await file.read(async (name, {shape, begin, end}, data) => {
          const values = packed?.fill(name, assigned, layers) ?? data;
          fill(assigned, {layers, uncomputed}, {name, shape, data: values});
          done += end - begin;
          await step({done, total, what: 'loading weights, in bytes'});
        });
      }
    } catch (error) {
      disposeLayers(layers);
      throw error;
    }
    return withTokenizer({model, config: record.config}, tokenizer);
  } catch (error) {
    readers.forEach(reader => reader.cancel(error));
    inFiles.forEach(({file}) => {
      file.close();
    });
    throw error;
  }
}

/** The entry of a record for the modules of a sentence-transformer, whose weights are kept for the record. */
async function sentenceEntry(
  files: HubFiles,
  record: HubRecord,
  tokenizerConfig: Record<string, unknown> | undefined,
): Promise<Pick<HubRecord, 'sentence'>> {
  try {
    const text = await files.textIn('modules.json');
    if (text === undefined) {
      return {};
    }
    const {readSentenceModules} = await import('./readSentenceModules');
    const {modules, weights} = await readSentenceModules(text, files, tokenizerConfig);
    SENTENCE_WEIGHTS.set(record, weights);
    return {sentence: modules};
  } catch (error) {
    return {sentence: faultEntry(error)};
  }
}

/** The classes of a family whose weights the files have, with some of the tensors that are not loaded. */
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

function checkSources<T>(sources: TransformerSources<T>): void {
  checkOptions(sources, OPTIONS as KnownOptions<TransformerSources<T>>);
  const {config, weights, tokenizer = true, gradientCheckpointing = false, signal, maxBytes} = sources;
  checkLimits({...(signal !== undefined && {signal}), ...(maxBytes !== undefined && {maxBytes})});
  checkCallOptions(sources);
  checkPeerClasses(sources);
  const isEmpty = (value: unknown) => value == null || (Array.isArray(value) && value.length === 0);
  throwFaults([
    ...(isEmpty(config) ? ['config is missing: the config.json of the model, as text, object, bytes or URL.'] : []),
    ...(isEmpty(weights)
      ? ['weights is missing: the .safetensors file of the model, a list of them, or its ONNX file.']
      : []),
    ...(typeof tokenizer === 'boolean' ? [] : [`tokenizer must be true or false, got ${kindOf(tokenizer)}.`]),
    ...checkpointingFaults(gradientCheckpointing),
  ]);
}
