import {brief, damagedError, kindOf, LoRAError} from '../../platform/errors';
import {isMessages, type Message} from './chat';

/** One example of a talk, or of a text: what Python's trainers read as a line of JSON. */
export type ChatRecord =
  | readonly Message[]
  | {readonly messages: readonly Message[]}
  | {readonly prompt: string; readonly completion: string}
  | {readonly prompt: readonly Message[]; readonly completion: readonly Message[]}
  | {readonly text: string};

/** A record as it is learned from: messages, or a text of two parts, of which the first is given. */
export type Example = {messages: readonly Message[]; given: number} | {prompt: string; completion: string};

/**
 * Records of a file of JSON lines, one in each line; empty lines are passed over.
 *
 *     const data = encodeChats(model, tokenizer, readChats(await file.text()), {maxLength: 512, Template});
 *
 * @throws LoRAError with the number of the line, if one is no JSON or no record.
 */
export function readChats(text: string): ChatRecord[] {
  if (typeof text !== 'string') {
    throw new LoRAError(`The text of a file of JSON lines is needed, got ${kindOf(text)}.`);
  }
  const lines = text.split('\n').map((line, i) => [line.trim(), i + 1] as const);
  const records = lines
    .filter(([line]) => line !== '')
    .map(([line, number]) => {
      let record: unknown;
      try {
        record = JSON.parse(line);
      } catch (error) {
        throw damagedError(`Line ${number} is no JSON: ${brief(line)}`, {cause: error});
      }
      exampleOf(record, `Line ${number}`);
      return record as ChatRecord;
    });
  if (records.length === 0) {
    throw damagedError('The text has no line with a record.');
  }
  return records;
}

/** @throws LoRAError if it is no record. */
export function exampleOf(record: unknown, what: string): Example {
  if (isMessages(record)) {
    return {messages: record, given: 0};
  }
  const {messages, prompt, completion, text} = (record ?? {}) as Partial<Record<string, unknown>>;
  if (isMessages(messages)) {
    return {messages, given: 0};
  }
  if (isMessages(prompt) && isMessages(completion)) {
    return {messages: [...prompt, ...completion], given: prompt.length};
  }
  if (typeof prompt === 'string' && typeof completion === 'string') {
    return {prompt, completion};
  }
  if (typeof text === 'string') {
    return {prompt: '', completion: text};
  }
  throw new LoRAError(
    `${what} is no example: {messages} of {role, content}, {prompt, completion} or {text} is needed, got ` +
      brief(record),
  );
}
