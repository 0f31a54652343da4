import {brief, damagedError, listed, unsupportedError} from '../../../platform/errors';
import {isEnd} from './endTokens';
import type {Metadata} from './headerReader';
import {checkMerges, mergesOf, type Merge} from './merges';
import {splitsOf, STARTS_TEXTS} from './splits';

/** What the hub has in two files. */
export interface TokenizerFiles {
  /** What the hub has as `tokenizer.json`. */
  tokenizerJson: Record<string, unknown>;
  /** What the hub has as `tokenizer_config.json`, with the chat template. */
  tokenizerConfig: {chat_template?: string; [name: string]: unknown};
}

/** What kinds of tokens files tell. */
const [CONTROL, USER_DEFINED] = [3, 4];

/** What GGUF metadata says of a tokenizer. */
interface Vocabulary {
  readonly kind: string;
  readonly tokens: readonly string[];
  readonly types: ArrayLike<number>;
  readonly scores: ArrayLike<number>;
  readonly merges: readonly Merge[] | undefined;
  readonly get: (name: string) => unknown;
}

/**
 * The tokenizer in a file, as the hub would have it: BPE of bytes (`gpt2`), or BPE as SentencePiece has it (`llama`).
 *
 * @param rows how many rows the token embedding of the model has.
 * @throws LoRAError if there is none, it does not hold together, or is of a kind that there is no code for.
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
  // Files do not say that the special tokens of Phi-3 strip white space after them, such as the template's line breaks.
  const takesSpace = kind === 'llama' && architecture === 'phi3';
  const strips = (content: string) => takesSpace && !['<unk>', '<s>', '<|endoftext|>'].includes(content);
  const added = tokens
    .map((content, id) => ({id, content, special: types[id] === CONTROL || named.includes(content) || isEnd(content)}))
    // Runs of spaces of Gemma are tokens like others.
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
      `The GGUF file has a tokenizer of the kind ${brief(kind)}, which is not supported; supported are gpt2 and llama. ` +
        'Pass {tokenizer: false} to load the model without it.',
    );
  }
  const [given, types, scores, merges] = [get('tokens'), get('token_type'), get('scores'), get('merges')];
  const areTexts = (list: unknown): list is string[] =>
    Array.isArray(list) && list.every(entry => typeof entry === 'string');
  if (!areTexts(given) || given.length === 0 || given.length > rows) {
    throw damagedError(
      `tokenizer.ggml.tokens of the GGUF file must list at most ${rows} texts, the rows of its table.`,
    );
  }
  // Several may be empty, which llama.cpp names so too.
  const tokens = given.map((token, id) => token || `[EMPTY_${id}]`);
  checkTwice(tokens);
  const numbers = (name: string, list: unknown): ArrayLike<number> => {
    const each = (list ?? []) as Partial<ArrayLike<unknown>>;
    if (list !== undefined && !(each.length === tokens.length && typeof each[0] === 'number')) {
      throw damagedError(`tokenizer.ggml.${name} of the GGUF file must have a number for each of its tokens.`);
    }
    return each as ArrayLike<number>;
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
    throw damagedError(`The GGUF file has no token of the number that its ${listed(faults)} token has.`);
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

/** Refuses a vocabulary in which a token has two ids, the first of which would be unused. */
function checkTwice(tokens: readonly string[]): void {
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const twice = tokens.findIndex((token, id) => ids.get(token) !== id);
  if (twice !== -1) {
    const token = tokens[twice] as string;
    throw damagedError(
      `The GGUF file has the token ${brief(token)} twice, under the numbers ${twice} and ${ids.get(token)}. llama.cpp ` +
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

/** The character that stands for each byte. */
function spelling(): string[] {
  const isShown = (byte: number) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte !== 173);
  let others = 0;
  return Array.from({length: 256}, (_, byte) => String.fromCharCode(isShown(byte) ? byte : 256 + others++));
}

/** BPE of bytes. */
function ofBytes({tokens, merges, get}: Vocabulary, added: ReadonlySet<number>): object {
  const bytes = spelling();
  const alphabet = new Set(bytes);
  const encoder = new TextEncoder();
  const spelled = (token: string, id: number) =>
    added.has(id) || Array.from(token).every(character => alphabet.has(character))
      ? token
      : [...encoder.encode(token)].map(byte => bytes[byte]).join('');
  if (merges === undefined) {
    throw damagedError('The GGUF file has no tokenizer.ggml.merges, without which tokens of bytes cannot be made.');
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
    // What the hub has for Qwen.
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

/** BPE of characters, as SentencePiece has it: `▁` is a space, and what there is no token for is written in bytes. */
function ofPieces({tokens: given, scores, merges, get}: Vocabulary, architecture: unknown): object {
  const isGemma = architecture === 'gemma3';
  // Files of Gemma have tokens of several spaces, which its tokenizer has as marks.
  const tokens = isGemma ? given.map(token => (/^ +$/.test(token) ? SPACE.repeat(token.length) : token)) : given;
  if (merges === undefined && !isGemma && scores.length === 0) {
    throw damagedError('The GGUF file has no tokenizer.ggml.scores, without which its tokens cannot be made.');
  }
  // The scores of Gemma do not follow the order of its merges; the order of its tokens does.
  const found = merges ?? mergesOf(tokens, isGemma ? i => -i : i => scores[i] as number);
  const unknown = get('unknown_token_id');
  const prefixed = !isGemma && get('add_space_prefix') !== false;
  const replace = {type: 'Replace', pattern: {String: ' '}, content: SPACE};
  // A space precedes each part between special tokens, even a part that begins with a space.
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
      merges: found,
      unk_token: typeof unknown === 'number' ? tokens[unknown] : null,
      fuse_unk: true,
      byte_fallback: true,
    },
  };
}
