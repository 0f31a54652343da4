import {brief, damagedError, listed, unsupportedError} from '../../../platform/errors';
import {isEnd} from './endTokens';
import type {Metadata} from './headerReader';
import {checkMerges, mergesOf, type Merge} from './merges';
import {splitsOf, STARTS_TEXTS} from './splits';

/** The hub's two files of a tokenizer. */
export interface TokenizerFiles {
  /** The content of `tokenizer.json`. */
  tokenizerJson: Record<string, unknown>;
  /** The content of `tokenizer_config.json`, with the chat template. */
  tokenizerConfig: {chat_template?: string; [name: string]: unknown};
}

/** Token types in files. */
const [CONTROL, USER_DEFINED] = [3, 4];

/** The tokenizer's part of GGUF metadata. */
interface Vocabulary {
  readonly kind: string;
  readonly tokens: readonly string[];
  readonly types: ArrayLike<number>;
  readonly scores: ArrayLike<number>;
  readonly merges: readonly Merge[] | undefined;
  readonly get: (name: string) => unknown;
}

/**
 * Returns the tokenizer of a file in the hub's form: byte-level BPE (`gpt2`), or BPE as in SentencePiece (`llama`).
 *
 * @param rows how many rows the model's token embedding has.
 * @throws LoRAError if there is none, it is inconsistent, or its kind is not supported.
 */
export function tokenizerFiles(metadata: Metadata, rows: number): TokenizerFiles {
  const vocabulary = vocabularyOf(metadata, rows);
  const {get, kind, tokens, types} = vocabulary;
  const architecture = metadata.get('general.architecture');
  const pre = get('pre');
  const tokenNamed = (name: string) => {
    const id = get(`${name}_token_id`);
    return typeof id === 'number' ? tokens[id] : undefined;
  };
  const [bos, eos] = [tokenNamed('bos'), tokenNamed('eos')];
  const named = ['bos', 'eos', 'unknown', 'padding'].map(tokenNamed);
  // Files do not say that Phi-3's special tokens strip white space after them, such as the template's line breaks.
  const takesSpace = kind === 'llama' && architecture === 'phi3';
  const strips = (content: string) => takesSpace && !['<unk>', '<s>', '<|endoftext|>'].includes(content);
  const added = tokens
    .map((content, id) => ({id, content, special: types[id] === CONTROL || named.includes(content) || isEnd(content)}))
    // In Gemma, runs of spaces are ordinary tokens.
    .filter(({id, content, special}) => special || (types[id] === USER_DEFINED && !/^ +$/.test(content)))
    .map(token => ({...token, single_word: false, lstrip: false, rstrip: strips(token.content), normalized: false}));
  const addedIds = new Set(added.map(({id}) => id));
  const isBytes = kind === 'gpt2';
  const startsText = get('add_bos_token') ?? (kind === 'llama' || (isBytes && STARTS_TEXTS.has(pre)));
  const ends = {start: startsText === true ? bos : undefined, end: get('add_eos_token') === true ? eos : undefined};
  const template = metadata.get('tokenizer.chat_template');
  const specials = {bos_token: bos, eos_token: eos, unk_token: tokenNamed('unknown'), pad_token: tokenNamed('padding')};
  return {
    tokenizerJson: {
      version: '1.0',
      truncation: null,
      padding: null,
      added_tokens: added,
      ...(isBytes ? ofBytes(vocabulary, addedIds) : ofPieces(vocabulary, architecture)),
      post_processor: postProcessor(ends, tokens),
    },
    tokenizerConfig: {
      ...Object.fromEntries(Object.entries(specials).filter(([, token]) => token !== undefined)),
      clean_up_tokenization_spaces: false,
      ...(typeof template === 'string' && {chat_template: template}),
    },
  };
}

function vocabularyOf(metadata: Metadata, rows: number): Vocabulary {
  const get = (name: string): unknown => metadata.get(`tokenizer.ggml.${name}`);
  const kind = get('model');
  if (kind !== 'gpt2' && kind !== 'llama') {
    throw unsupportedError(
      `The GGUF file has a tokenizer of the kind ${brief(kind)}, which is not supported. Supported: gpt2, llama. ` +
        'Pass {tokenizer: false} to load the model without it.',
    );
  }
  const [fileTokens, types, scores, merges] = [get('tokens'), get('token_type'), get('scores'), get('merges')];
  const areTexts = (list: unknown): list is string[] =>
    Array.isArray(list) && list.every(entry => typeof entry === 'string');
  if (!areTexts(fileTokens) || fileTokens.length === 0 || fileTokens.length > rows) {
    throw damagedError(
      `tokenizer.ggml.tokens of the GGUF file must list at most ${rows} texts, the rows of the token embedding.`,
    );
  }
  // Several may be empty; llama.cpp gives them this name too.
  const tokens = fileTokens.map((token, id) => token || `[EMPTY_${id}]`);
  checkTwice(tokens);
  const numbers = (name: string, list: unknown): ArrayLike<number> => {
    const perToken = (list ?? []) as Partial<ArrayLike<unknown>>;
    if (list !== undefined && !(perToken.length === tokens.length && typeof perToken[0] === 'number')) {
      throw damagedError(`tokenizer.ggml.${name} of the GGUF file must have a number for each of its tokens.`);
    }
    return perToken as ArrayLike<number>;
  };
  if (merges !== undefined && !areTexts(merges)) {
    throw damagedError('tokenizer.ggml.merges of the GGUF file must be a list of texts.');
  }
  checkMerges(merges?.length ?? 0, tokens.length);
  const faults = ['bos', 'eos', 'unknown', 'padding'].filter(name => {
    const id = get(`${name}_token_id`);
    return id !== undefined && !(Number.isInteger(id) && (id as number) < tokens.length);
  });
  if (faults.length > 0) {
    throw damagedError(`The GGUF file has no token with the id of its ${listed(faults)} token.`);
  }
  return {
    ...{kind, tokens, get},
    types: numbers('token_type', types),
    scores: numbers('scores', scores),
    merges: merges?.map((merge): Merge => {
      const space = merge.indexOf(' ', 1);
      return [merge.slice(0, space), merge.slice(space + 1)];
    }),
  };
}

/** Refuses a vocabulary with a token twice, since its first id would be unused. */
function checkTwice(tokens: readonly string[]): void {
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const twice = tokens.findIndex((token, id) => ids.get(token) !== id);
  if (twice !== -1) {
    const token = tokens[twice] as string;
    throw damagedError(
      `The GGUF file has the token ${brief(token)} twice, with the ids ${twice} and ${ids.get(token)}. llama.cpp ` +
        'does not load such a file either.',
    );
  }
}

/** Adds the tokens before and after each text. */
function postProcessor({start, end}: {start: string | undefined; end: string | undefined}, tokens: readonly string[]) {
  const special = (id: string | undefined) => (id === undefined ? [] : [{SpecialToken: {id, type_id: 0}}]);
  const text = (id: string, type: number) => [...special(start), {Sequence: {id, type_id: type}}, ...special(end)];
  const entries = [start, end]
    .filter(token => token !== undefined)
    .map(token => [token, {id: token, ids: [tokens.indexOf(token)], tokens: [token]}]);
  return {
    type: 'TemplateProcessing',
    single: text('A', 0),
    pair: [...text('A', 0), ...text('B', 1)],
    special_tokens: Object.fromEntries(entries) as object,
  };
}

function spelling(): string[] {
  const isShown = (byte: number) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte !== 173);
  let hiddenCount = 0;
  return Array.from({length: 256}, (_, byte) => String.fromCharCode(isShown(byte) ? byte : 256 + hiddenCount++));
}

/** Byte-level BPE. */
function ofBytes({tokens, merges, get}: Vocabulary, added: ReadonlySet<number>): object {
  const bytes = spelling();
  const alphabet = new Set(bytes);
  const encoder = new TextEncoder();
  const spelled = (token: string, id: number) =>
    added.has(id) || Array.from(token).every(character => alphabet.has(character))
      ? token
      : [...encoder.encode(token)].map(byte => bytes[byte]).join('');
  if (merges === undefined) {
    throw damagedError('The GGUF file has no tokenizer.ggml.merges, which byte-level BPE needs.');
  }
  const pre = get('pre') ?? 'default';
  const splits = splitsOf(pre).map(split => ({
    type: 'Split',
    pattern: {Regex: split},
    behavior: 'Isolated',
    invert: false,
  }));
  const toBytes = {type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false};
  return {
    // As in the hub's Qwen.
    normalizer: pre === 'qwen2' ? {type: 'NFC'} : null,
    pre_tokenizer: {type: 'Sequence', pretokenizers: [...splits, toBytes]},
    decoder: {type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true},
    model: {
      type: 'BPE',
      vocab: vocabOf(tokens.map(spelled)),
      merges,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: STARTS_TEXTS.has(pre),
    },
  };
}

function vocabOf(tokens: readonly string[]): object {
  checkTwice(tokens);
  return Object.fromEntries(tokens.map((token, id) => [token, id]));
}

const SPACE = '▁';

/** Character BPE as in SentencePiece: `▁` is a space, and characters without a token become bytes. */
function ofPieces({tokens: fileTokens, scores, merges, get}: Vocabulary, architecture: unknown): object {
  const isGemma = architecture === 'gemma3';
  // Gemma's files have tokens of several spaces, for which its tokenizer uses marks.
  const tokens = isGemma
    ? fileTokens.map(token => (/^ +$/.test(token) ? SPACE.repeat(token.length) : token))
    : fileTokens;
  if (merges === undefined && !isGemma && scores.length === 0) {
    throw damagedError('The GGUF file has no tokenizer.ggml.scores, which its kind of tokenizer needs.');
  }
  // Gemma merges in the order of its tokens, not of their scores.
  const pairs = merges ?? mergesOf(tokens, isGemma ? i => -i : i => scores[i] as number);
  const unknown = get('unknown_token_id');
  const prefixed = !isGemma && get('add_space_prefix') !== false;
  const replace = {type: 'Replace', pattern: {String: ' '}, content: SPACE};
  // A space precedes each part between special tokens, even one that begins with a space.
  const prepend = prefixed ? [{type: 'Prepend', prepend: SPACE}] : [];
  return {
    normalizer: {type: 'Sequence', normalizers: [...prepend, replace]},
    pre_tokenizer: isGemma
      ? {type: 'Split', pattern: {String: ' '}, behavior: 'MergedWithPrevious', invert: false}
      : null,
    decoder: {
      type: 'Sequence',
      decoders: [
        {type: 'Replace', pattern: {String: SPACE}, content: ' '},
        {type: 'ByteFallback'},
        {type: 'Fuse'},
        ...(prefixed ? [{type: 'Strip', content: ' ', start: 1, stop: 0}] : []),
      ],
    },
    model: {
      type: 'BPE',
      vocab: vocabOf(tokens),
      merges: pairs,
      unk_token: typeof unknown === 'number' ? tokens[unknown] : null,
      fuse_unk: true,
      byte_fallback: true,
    },
  };
}
