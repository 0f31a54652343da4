import {chatText, type ChatTexts} from './chat';

/** A placeholder answer that occurs in no template. No white space around it, since templates trim. */
export const ANSWER = 'answer-7f3a';

/** The tokens that end an answer: the end-of-text tokens, and the special token that the template writes after it. */
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
    return new Set(ends); // a template that requires other messages cannot be tried
  }
  const after = text.slice(text.lastIndexOf(ANSWER) + ANSWER.length).trimStart();
  const [id] = after === '' ? [] : tokenizer.encode(after, {add_special_tokens: false}).ids;
  if (id === undefined) {
    return new Set(ends);
  }
  const [shown, withSpecial] = [false, true].map(isSkipped => tokenizer.decode([id], {skip_special_tokens: isSkipped}));
  return new Set(shown !== '' && withSpecial === '' ? [...ends, id] : ends);
}
