import {chatText, type ChatTexts} from './chat';

/** Stands for an answer where a template is tried, and is in no template. Templates trim white space. */
export const ANSWER = 'answer-7f3a';

/** The tokens that end an answer: those that end a text, and the special one that the template writes after it. */
export function answerEnds(texts: ChatTexts): ReadonlySet<number> {
  const {
    tokenizer,
    facts: {ends = []},
  } = texts;
  let text: string;
  try {
    text = chatText(
      ['user', 'assistant'].map(role => ({role, content: ANSWER})),
      texts,
      false,
    );
  } catch {
    return new Set(ends); // a template that needs other messages does not tell
  }
  const after = text.slice(text.lastIndexOf(ANSWER) + ANSWER.length).trimStart();
  const [id] = after === '' ? [] : tokenizer.encode(after, {add_special_tokens: false}).ids;
  if (id === undefined) {
    return new Set(ends);
  }
  const [shown, kept] = [false, true].map(isSkipped => tokenizer.decode([id], {skip_special_tokens: isSkipped}));
  return new Set(shown !== '' && kept === '' ? [...ends, id] : ends);
}
