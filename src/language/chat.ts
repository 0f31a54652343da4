import {asLoRAError, kindOf, LoRAError, show} from '../errors';
import type {LanguageFacts} from './languageFacts';

/** What someone says in a talk. */
export interface Message {
  /** `'system'`, `'user'`, `'assistant'`, or what else the template knows. */
  role: string;
  content: string;
}

/** A class of templates, such as the `Template` of `@huggingface/jinja`. */
export type TemplateClass = new (source: string) => {render(values: Record<string, unknown>): string};

/**
 * A talk as the text that the model was trained with, up to where its answer begins.
 *
 * @throws LoRAError if these are no messages, the model has no template, or it refuses them.
 */
export function chatText(messages: unknown, facts: LanguageFacts, Template: TemplateClass | undefined): string {
  const isMessage = (message: unknown) => {
    const {role, content} = (message ?? {}) as Partial<Record<keyof Message, unknown>>;
    return typeof role === 'string' && typeof content === 'string';
  };
  if (!Array.isArray(messages) || messages.length === 0 || !messages.every(isMessage)) {
    const got = Array.isArray(messages) ? show(messages) : kindOf(messages);
    throw new LoRAError(`A prompt must be a text, or messages {role, content} of texts, got ${got}.`);
  }
  if (typeof Template !== 'function') {
    throw new LoRAError('For messages give {Template}, that of @huggingface/jinja, which makes a text of them.');
  }
  if (facts.template === undefined) {
    throw new LoRAError('The model has no template for talks. Make a text of the messages, and give that.');
  }
  try {
    return new Template(facts.template).render({messages, add_generation_prompt: true, ...facts.tokens});
  } catch (error) {
    throw asLoRAError(error, "The model's template for talks refuses the messages");
  }
}
