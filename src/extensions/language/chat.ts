import {asLoRAError, kindOf, LoRAError, misfitError, prefixed, show} from '../../platform/errors';
import type {LanguageFacts} from '../transformers/load/languageFacts';
import {isMessages} from '../records/messages';
import type {Tokenizer} from '../transformers/load/tokenizer';

/** Renders messages as text: the template is the tokenizer's, the special tokens are the model's. */
export interface ChatTexts {
  readonly tokenizer: Tokenizer;
  readonly facts: LanguageFacts;
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
