import type {LanguageFacts} from '../transformers/load/languageFacts';
import {chatText, type TemplateClass} from './chat';
import type {LanguageTokenizer} from './languageTokenizer';

/** Stands for an answer, and is no part of what templates write. They trim white space. */
export const ANSWER = 'answer-7f3a';

/**
 * The tokens that end an answer: those that end a text, and the special one that the template writes behind an answer,
 * which the files of a model need not name.
 */
export function answerEnds(
  tokenizer: LanguageTokenizer,
  facts: LanguageFacts,
  Template: TemplateClass | undefined,
): ReadonlySet<number> {
  const {ends = []} = facts;
  let text: string;
  try {
    text = chatText(
      ['user', 'assistant'].map(role => ({role, content: ANSWER})),
      ...([facts, Template, false] as const),
    );
  } catch {
    return new Set(ends); // a template that wants more than this says nothing of it
  }
  const behind = text.slice(text.lastIndexOf(ANSWER) + ANSWER.length).trimStart();
  const [id] = behind === '' ? [] : tokenizer.encode(behind, {add_special_tokens: false}).ids;
  if (id === undefined) {
    return new Set(ends);
  }
  const [shown, kept] = [false, true].map(isSkipped => tokenizer.decode([id], {skip_special_tokens: isSkipped}));
  return new Set(shown !== '' && kept === '' ? [...ends, id] : ends);
}
