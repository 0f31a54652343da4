import * as tf from '@tensorflow/tfjs';
import {checkCount, checkOptions, kindOf, LoRAError, misfitError, show, unsupportedError} from '../../platform/errors';
import {type Batch, SeededBatches} from '../../core/training/seededBatches';
import {ANSWER, answerEnds} from './answerEnds';
import {chatText, type Message, ofEntry, type TemplateClass} from './chat';
import {type ChatRecord, type Example, exampleOf} from './chatRecords';
import {checkLanguageTokenizer, type LanguageTokenizer} from './languageTokenizer';
import {type LanguageFacts, languageFacts} from '../transformers/load/languageFacts';
import {checkTokens, languageParts} from './session';

/** How talks become what a model learns from. */
export interface EncodeChatsOptions {
  /** Examples of more tokens are cut at their end. Default: none is. */
  maxLength?: number;
  /**
   * Whether short examples share a row of at most `maxLength` tokens, so that less is filled up. What stands in a row
   * sees what stands before it, as in TRL where its attention knows no borders. Default: false.
   */
  packing?: boolean;
  /** What is learned: the answers of the assistant alone, or every token. Default: `'assistant'`. */
  learnFrom?: 'assistant' | 'all';
  /** Default: 4. */
  batchSize?: number;
  /** Decides the order of every epoch: a whole number. Default: by chance. */
  seed?: number;
  /** Batches are filled up to a multiple of so many places: some backends compile for each length. Default: 16. */
  multipleOf?: number;
  /** The `Template` of `@huggingface/jinja`, for messages. */
  Template?: TemplateClass;
}

/** Batches for `fitDataset`, and what became of the talks. */
export class ChatBatches extends SeededBatches {
  /** How many examples were cut at `maxLength`. */
  readonly cut: number;
  /** How many are left out, since after the cut nothing was left to learn. */
  readonly leftOut: number;
  /** How many tokens are learned in an epoch. */
  readonly learned: number;

  constructor(
    examples: readonly Encoded[],
    {cut, leftOut, multipleOf}: {cut: number; leftOut: number; multipleOf: number},
    order: {batchSize: number; seed: number},
  ) {
    super(
      examples.length,
      places =>
        batchOf(
          Array.from(places, i => examples[i] as Encoded),
          multipleOf,
        ),
      order,
    );
    [this.cut, this.leftOut] = [cut, leftOut];
    this.learned = examples.reduce((sum, {learned}) => sum + learned.slice(1).filter(Boolean).length, 0);
  }
}

/** What stands in targets where nothing is learned, as `compileCrossEntropy` leaves it out. */
const IGNORED = -100;

/**
 * Batches of talks for `fitDataset`, of which a language model learns the answers: tokens and a mask, and for targets
 * the token that comes next, or −100 where it is not to be learned.
 *
 *     const data = encodeChats(model, tokenizer, [{messages}, {prompt, completion}], {maxLength: 512, Template});
 *     compileCrossEntropy(adapted, {optimizer: adamW({learningRate: 2e-4})});
 *     await adapted.fitDataset(data, {epochs: 3});
 *
 * Messages become a text by the model's template. Of `{prompt, completion}` the completion is the answer; `{text}` is
 * one as a whole. Both get the token that ends a text. The token in which an answer begins is learned, also where it
 * has a character of what stands before. The order follows from the seed and the epoch, as in `seededBatches`.
 *
 * @param model the model that is trained, adapted or not: it knows the template, and how many words there are.
 * @throws LoRAError if the model is no language model, an option is out of range, a record is none, or messages have no
 *     template, or one that writes former messages otherwise when others follow; then by the number of the record.
 */
export function encodeChats(
  model: tf.LayersModel,
  tokenizer: LanguageTokenizer,
  records: readonly ChatRecord[],
  options: EncodeChatsOptions = {},
): ChatBatches {
  checkOptions(options, {
    ...{maxLength: true, packing: true, learnFrom: true, batchSize: true, seed: true, multipleOf: true},
    Template: true,
  });
  const {
    maxLength = Infinity,
    packing = false,
    learnFrom = 'assistant',
    batchSize = 4,
    multipleOf = 16,
    Template,
  } = options;
  const {seed = Math.floor(Math.random() * 2 ** 31)} = options;
  Object.entries({...(maxLength !== Infinity && {maxLength}), batchSize, multipleOf}).forEach(([name, value]) => {
    checkCount(name, value);
  });
  if (!['assistant', 'all'].includes(learnFrom)) {
    throw new LoRAError(`learnFrom must be 'assistant' or 'all', got ${show(learnFrom)}.`);
  }
  if (typeof packing !== 'boolean') {
    throw new LoRAError(`packing must be true or false, got ${show(packing)}.`);
  }
  if (packing && maxLength === Infinity) {
    throw new LoRAError('packing needs maxLength, the tokens of a row.');
  }
  const {words} = languageParts(model);
  checkLanguageTokenizer(tokenizer);
  if (!Array.isArray(records) || records.length === 0) {
    throw new LoRAError(`A list of talks is needed, got ${Array.isArray(records) ? 'an empty one' : kindOf(records)}.`);
  }
  const facts = languageFacts(model);
  const ends = answerEnds(tokenizer, facts, Template);
  const encoded = (records as readonly unknown[]).map((record, i) => {
    const example = exampleOf(record, `Record ${i}`);
    return ofEntry(`Record ${i}`, () => {
      const one =
        'messages' in example
          ? encodeMessages(tokenizer, example, {facts, Template, ends})
          : encodeParts(tokenizer, example, facts);
      checkTokens(one.ids, words);
      return learnFrom === 'all' ? {ids: one.ids, learned: one.ids.map(() => true)} : one;
    });
  });
  const whole = encoded.map(({ids, learned}) => ({ids: ids.slice(0, maxLength), learned: learned.slice(0, maxLength)}));
  // The first token has none before it to be told from.
  const kept = whole.filter(({learned}) => learned.indexOf(true, 1) > 0);
  if (kept.length === 0) {
    throw misfitError('Nothing is left to learn: no record has an answer within maxLength.');
  }
  const cut = encoded.filter(({ids}) => ids.length > maxLength).length;
  const rows = packing ? packed(kept, maxLength) : kept;
  return new ChatBatches(rows, {cut, leftOut: whole.length - kept.length, multipleOf}, {batchSize, seed});
}

/** An example in tokens, and which of them are learned. */
interface Encoded {
  ids: readonly number[];
  learned: readonly boolean[];
}

/**
 * Examples one behind the other in rows of at most so many tokens: the longest first, each in the fullest row that has
 * room. The first token of each is told from none, so that it is not learned behind another.
 */
function packed(examples: readonly Encoded[], most: number): Encoded[] {
  const size = Math.min(
    most,
    examples.reduce((sum, {ids}) => sum + ids.length, 0),
  );
  /** Rows by how many tokens they have room for. */
  const byRoom = Array.from({length: size + 1}, (): {ids: number[]; learned: boolean[]}[] => []);
  for (const {ids, learned} of [...examples].sort((one, other) => other.ids.length - one.ids.length)) {
    let room = ids.length;
    while (room < size && byRoom[room]?.length === 0) {
      room++;
    }
    const row = byRoom[room]?.pop() ?? {ids: [], learned: []};
    row.ids.push(...ids);
    row.learned.push(false, ...learned.slice(1));
    byRoom[size - row.ids.length]?.push(row);
  }
  return byRoom.flat();
}

/** A text whose second part is learned, and the token that ends it. */
function encodeParts(
  tokenizer: LanguageTokenizer,
  {prompt, completion}: Extract<Example, {prompt: string}>,
  {ends: [end] = []}: LanguageFacts,
): Encoded {
  const before = tokenizer.encode(prompt).ids;
  const ids = tokenizer.encode(prompt + completion).ids;
  const all = end === undefined || ids.at(-1) === end ? [...ids] : [...ids, end];
  const from = common(before, all);
  return {ids: all, learned: all.map((_, i) => i >= from)};
}

/** A talk, of which the assistant's messages behind those that are given are learned. */
function encodeMessages(
  tokenizer: LanguageTokenizer,
  {messages, given}: Extract<Example, {messages: unknown}>,
  {
    facts,
    Template,
    ends,
  }: {
    facts: LanguageFacts;
    Template: TemplateClass | undefined;
    ends: ReadonlySet<number>;
  },
): Encoded {
  const encode = (text: string) => tokenizer.encode(text, {add_special_tokens: false}).ids;
  const whole = chatText(messages, facts, Template, false);
  const ids = encode(whole);
  const learned = ids.map(() => false);
  const upTo = (text: string) => {
    if (!whole.startsWith(text)) {
      throw unsupportedError(
        "The model's template writes former messages otherwise when others follow, so that an answer cannot be found " +
          'in the text of all. Give each answer as a record of its own, {prompt, completion} of messages.',
      );
    }
    return common(encode(text), ids);
  };
  messages.forEach(({role}, i) => {
    if (role !== 'assistant' || i < given) {
      return;
    }
    const before = i === 0 ? textBefore(messages, facts, Template) : chatText(messages.slice(0, i), facts, Template);
    const [from, next] = [upTo(before), upTo(chatText(messages.slice(0, i + 1), facts, Template, false))];
    const to = i === messages.length - 1 ? ids.length : next;
    // What the template writes behind the token that ends the answer, such as a line break, the model never writes.
    const end = ids.findIndex((id, at) => at >= from && at < to && ends.has(id));
    learned.fill(true, from, end < 0 ? to : end + 1);
  });
  return {ids, learned};
}

/** What stands before the first message of a talk. Templates need not write a talk without messages. */
function textBefore(
  [first, ...others]: readonly Message[],
  facts: LanguageFacts,
  Template: TemplateClass | undefined,
): string {
  const text = chatText([{...first, content: ANSWER}, ...others], facts, Template, false);
  return text.slice(0, text.indexOf(ANSWER));
}

/** How many tokens two texts begin with in common. */
function common(one: readonly number[], other: readonly number[]): number {
  const first = one.findIndex((id, i) => id !== other[i]);
  return first < 0 ? one.length : first;
}

/** Examples of one length, filled up behind their tokens: of each place the token, and the next one. */
function batchOf(examples: readonly Encoded[], multipleOf: number): Batch {
  const longest = Math.max(...examples.map(({ids}) => ids.length - 1));
  const places = Math.ceil(longest / multipleOf) * multipleOf;
  const [tokens, mask, targets] = [0, 0, IGNORED].map(value =>
    new Int32Array(examples.length * places).fill(value),
  ) as [Int32Array, Int32Array, Int32Array];
  examples.forEach(({ids, learned}, row) => {
    tokens.set(ids.slice(0, -1), row * places);
    mask.fill(1, row * places, row * places + ids.length - 1);
    targets.set(
      ids.slice(1).map((id, i) => (learned[i + 1] === true ? id : IGNORED)),
      row * places,
    );
  });
  const tensor = (values: Int32Array) => tf.tensor2d(values, [examples.length, places], 'int32');
  return {xs: [tensor(tokens), tensor(mask)], ys: tensor(targets)};
}
