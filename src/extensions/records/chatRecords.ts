import {brief, damagedError, kindOf, LoRAError, type LoRAErrorCode} from '../../platform/errors';
import {isMessages, type ChatMessage} from './messages';

/** An example: a chat, or a text. Trainers in Python read the same records from JSON lines. */
export type ChatRecord =
  | readonly ChatMessage[]
  | {readonly messages: readonly ChatMessage[]}
  | {readonly prompt: string; readonly completion: string}
  | {readonly prompt: readonly ChatMessage[]; readonly completion: readonly ChatMessage[]}
  | {readonly text: string};

/** A record before it is encoded: messages, the first of which are the prompt, or a text of two parts. */
export type Example = {messages: readonly ChatMessage[]; promptCount: number} | {prompt: string; completion: string};

/**
 * Parses chats in JSON lines: one record in each line. Empty lines are skipped.
 *
 * @param text the text of a `.jsonl` file.
 * @returns the records, for `encodeChats`.
 * @throws LoRAError `ERR_DAMAGED`, with the line number, if a line is not JSON or not a record.
 * @example
 * const records = parseChats('{"prompt": "The fox", "completion": " jumps."}\n{"text": "A dog sleeps."}');
 * @experimental
 */
export function parseChats(text: string): ChatRecord[] {
  return recordsIn<ChatRecord>(text, exampleOf);
}

/**
 * Parses the records of JSON lines. Empty lines are skipped.
 *
 * @param check throws if a value is no record.
 * @throws LoRAError `ERR_DAMAGED`, with the line number, if a line is not JSON or not a record.
 */
export function recordsIn<T>(
  text: string,
  check: (record: unknown, what: string, code: LoRAErrorCode) => unknown,
): T[] {
  if (typeof text !== 'string') {
    throw new LoRAError(`Pass the text of a JSON lines file, got ${kindOf(text)}.`);
  }
  const lines = text.split('\n').map((line, i) => [line.trim(), i + 1] as const);
  const records = lines
    .filter(([line]) => line !== '')
    .map(([line, number]) => {
      let record: unknown;
      try {
        record = JSON.parse(line);
      } catch (error) {
        throw damagedError(`Line ${number} is not JSON: ${brief(line)}`, {cause: error});
      }
      check(record, `Line ${number}`, 'ERR_DAMAGED');
      return record as T;
    });
  if (records.length === 0) {
    throw damagedError('The text has no records.');
  }
  return records;
}

/** @throws LoRAError if a value is no record. */
export function exampleOf(record: unknown, what: string, code?: LoRAErrorCode): Example {
  if (isMessages(record)) {
    return {messages: record, promptCount: 0};
  }
  const {messages, prompt, completion, text} = (record ?? {}) as Partial<Record<string, unknown>>;
  if (isMessages(messages)) {
    return {messages, promptCount: 0};
  }
  if (isMessages(prompt) && isMessages(completion)) {
    return {messages: [...prompt, ...completion], promptCount: prompt.length};
  }
  if (typeof prompt === 'string' && typeof completion === 'string') {
    return {prompt, completion};
  }
  if (typeof text === 'string') {
    return {prompt: '', completion: text};
  }
  throw new LoRAError(
    `${what} is not an example. Expected {messages} of {role, content}, {prompt, completion} or {text}, got ` +
      brief(record),
    {code},
  );
}
