import {brief, LoRAError, type LoRAErrorCode} from '../../platform/errors';
import {isMessages, type ChatMessage} from './messages';
import {recordsIn} from './chatRecords';

/** A text, or messages. */
export type TextOrMessages = string | readonly ChatMessage[];

/**
 * A preference: a chosen and a rejected answer, or one answer with a thumb up (`true`) or down. Prompt and answers are
 * texts or messages; after messages, a text is the assistant's answer. Without a prompt, the chosen and the rejected
 * conversation begin with it. TRL reads the same records.
 */
export type PreferenceRecord =
  | {readonly prompt: TextOrMessages; readonly chosen: TextOrMessages; readonly rejected: TextOrMessages}
  | {readonly messages: readonly ChatMessage[]; readonly chosen: TextOrMessages; readonly rejected: TextOrMessages}
  | {readonly chosen: TextOrMessages; readonly rejected: TextOrMessages}
  | {readonly prompt: TextOrMessages; readonly completion: TextOrMessages; readonly label: boolean}
  | {readonly messages: readonly ChatMessage[]; readonly completion: TextOrMessages; readonly label: boolean};

/** A prompt with answers, before it is encoded. The prompt and its answers are texts, or all of them messages. */
export interface JudgedPrompt {
  readonly prompt: TextOrMessages;
  /** The chosen and the rejected one, or one. */
  readonly answers: readonly TextOrMessages[];
  /** For one answer, whether it has a thumb up. */
  readonly label?: boolean;
}

/**
 * Parses preferences in JSON lines: one record in each line. Empty lines are skipped.
 *
 * @param text the text of a `.jsonl` file.
 * @returns the records, for `encodePreferences`.
 * @throws LoRAError `ERR_DAMAGED`, with the line number, if a line is not JSON or not a record.
 * @example
 * const pairs = parsePreferences('{"prompt": "The fox", "chosen": " jumps.", "rejected": " is a fox that jumps."}');
 * @experimental
 */
export function parsePreferences(text: string): PreferenceRecord[] {
  return recordsIn<PreferenceRecord>(text, judgedPromptOf);
}

/** @throws LoRAError if a value is no record. */
export function judgedPromptOf(record: unknown, what: string, code?: LoRAErrorCode): JudgedPrompt {
  const fields = (record ?? {}) as Partial<Record<string, unknown>>;
  const {messages, prompt = messages, chosen, rejected, completion, label} = fields;
  const isPair = chosen !== undefined && rejected !== undefined;
  if (isTextOrMessages(prompt) && isPair) {
    const answers = [chosen, rejected].map(answer => answerTo(prompt, answer));
    if (answers.every(answer => answer !== undefined)) {
      return {prompt, answers};
    }
  }
  if (
    prompt === undefined &&
    isPair &&
    isTextOrMessages(chosen) &&
    isTextOrMessages(rejected) &&
    typeof chosen === typeof rejected
  ) {
    return withCommonPrompt(chosen, rejected);
  }
  if (isTextOrMessages(prompt) && typeof label === 'boolean') {
    const answer = answerTo(prompt, completion);
    if (answer !== undefined) {
      return {prompt, answers: [answer], label};
    }
  }
  throw new LoRAError(
    `${what} is not a preference. Expected {prompt, chosen, rejected} or {prompt, completion, label: true or ` +
      `false}, where prompt and answers are texts or messages {role, content}, got ${brief(record)}`,
    {code},
  );
}

function isTextOrMessages(value: unknown): value is TextOrMessages {
  return typeof value === 'string' || isMessages(value);
}

function answerTo(prompt: TextOrMessages, answer: unknown): TextOrMessages | undefined {
  if (typeof prompt === 'string') {
    return typeof answer === 'string' ? answer : undefined;
  }
  if (typeof answer === 'string') {
    return [{role: 'assistant', content: answer}];
  }
  return isMessages(answer) ? answer : undefined;
}

/** Splits off what two conversations have in common. As in TRL, a text's prompt does not end with a space. */
function withCommonPrompt(chosen: TextOrMessages, rejected: TextOrMessages): JudgedPrompt {
  const isSame = (one: unknown, other: unknown) => JSON.stringify(one) === JSON.stringify(other);
  let at = 0;
  while (at < Math.min(chosen.length, rejected.length) && isSame(chosen[at], rejected[at])) {
    at++;
  }
  const from = chosen[at - 1] === ' ' ? at - 1 : at;
  return {prompt: chosen.slice(0, from), answers: [chosen.slice(from), rejected.slice(from)]};
}
