import {asLoRAError, kindOf, LoRAError, messageOf, misfitError, show} from '../../platform/errors';
import type {LanguageFacts} from '../transformers/load/languageFacts';

/** What someone says in a talk. */
export interface Message {
  /** `'system'`, `'user'`, `'assistant'`, or what else the template knows. */
  role: string;
  content: string;
}

/** A class of templates, such as the `Template` of `@huggingface/jinja`. */
export type TemplateClass = new (source: string) => {render(values: Record<string, unknown>): string};

/** Whether a value is a list of messages, one at least. */
export function isMessages(value: unknown): value is readonly Message[] {
  const isMessage = (message: unknown) => {
    const {role, content} = (message ?? {}) as Partial<Record<keyof Message, unknown>>;
    return typeof role === 'string' && typeof content === 'string';
  };
  return Array.isArray(value) && value.length > 0 && value.every(isMessage);
}

/**
 * A talk as the text that the model was trained with.
 *
 * @param isAsked whether it goes up to where the model's answer begins. Default: true.
 * @throws LoRAError if these are no messages, the model has no template, or it refuses them.
 */
export function chatText(
  messages: unknown,
  facts: LanguageFacts,
  Template: TemplateClass | undefined,
  isAsked = true,
): string {
  if (!isMessages(messages)) {
    const got = Array.isArray(messages) ? show(messages) : kindOf(messages);
    throw new LoRAError(`A prompt must be a text, or messages {role, content} of texts, got ${got}.`);
  }
  if (typeof Template !== 'function') {
    throw new LoRAError('For messages give {Template}, that of @huggingface/jinja, which makes a text of them.');
  }
  if (facts.template === undefined) {
    throw misfitError(
      'The model has no template for talks. Make a text of the messages, and give that; or give loadTransformer ' +
        'the tokenizer_config.json, {tokenizerConfig}, if the template is in it.',
    );
  }
  try {
    return new Template(facts.template).render({messages, add_generation_prompt: isAsked, ...facts.tokens});
  } catch (error) {
    throw asLoRAError(error, "The model's template for talks refuses the messages", 'ERR_MISFIT');
  }
}

/** What `f` returns. What it throws says which entry of a list it is about, unless this is `false`. */
export function ofEntry<T>(entry: string | false, f: () => T): T {
  try {
    return f();
  } catch (error) {
    throw entry === false ? error : new LoRAError(`${entry}: ${messageOf(error)}`, {cause: error});
  }
}
