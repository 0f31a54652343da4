import {asLoRAError, kindOf, LoRAError, misfitError, prefixed, show} from '../../platform/errors';
import type {LanguageFacts} from '../transformers/load/languageFacts';
import type {Tokenizer} from '../transformers/load/tokenizer';

/** A message of a chat. */
export interface ChatMessage {
  /** `'system'`, `'user'`, `'assistant'`, or another role of the chat template. */
  role: string;
  /** The text of the message. */
  content: string;
}

/** Renders messages as text: the template is the tokenizer's, the special tokens are the model's. */
export interface ChatTexts {
  readonly tokenizer: Tokenizer;
  readonly facts: LanguageFacts;
}

/** Whether a value is a non-empty list of messages. */
export function isMessages(value: unknown): value is readonly ChatMessage[] {
  const isMessage = (message: unknown) => {
    const {role, content} = (message ?? {}) as Partial<Record<keyof ChatMessage, unknown>>;
    return typeof role === 'string' && typeof content === 'string';
  };
  return Array.isArray(value) && value.length > 0 && value.every(isMessage);
}

/**
 * Renders a chat as the text that the model was trained on.
 *
 * @param isPrompt whether the text ends where the model's answer begins. Default: true.
 * @throws LoRAError if these are no messages, there is no chat template, or it refuses them.
 */
export function chatText(messages: unknown, {tokenizer, facts}: ChatTexts, isPrompt = true): string {
  if (!isMessages(messages)) {
    const got = Array.isArray(messages) ? show(messages) : kindOf(messages);
    throw new LoRAError(`A prompt must be a text or a list of messages {role, content}, got ${got}.`);
  }
  const {chatTemplate} = tokenizer;
  if (chatTemplate === undefined) {
    throw misfitError(
      'The tokenizer has no chat template for these messages. Pass a text, or give the tokenizer ' +
        'a template, Object.assign(tokenizer, {chatTemplate: new Template(source)}) with the Template of ' +
        '@huggingface/jinja.',
    );
  }
  try {
    return chatTemplate.render({messages, add_generation_prompt: isPrompt, ...facts.tokens});
  } catch (error) {
    throw asLoRAError(error, "The model's chat template refuses the messages", 'ERR_MISFIT');
  }
}

/** Returns what `f` returns. Errors name the `entry` of the list, unless it is `false`. */
export function ofEntry<T>(entry: string | false, f: () => T): T {
  try {
    return f();
  } catch (error) {
    throw entry === false ? error : prefixed(`${entry}: `, error);
  }
}
