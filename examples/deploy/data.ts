/** Words of the shopping lists that the adapters train on. */
export const WORDS = [
  ...['apple', 'bread', 'cheese', 'coffee', 'eggs', 'garlic', 'honey', 'milk', 'onions', 'rice', 'salt', 'tea'],
];

/** Words that no adapter was trained on. */
export const HELD_OUT = ['butter', 'carrots', 'olive oil'];

/** How each adapter writes an item of the list. */
export const FORMATS: Readonly<Record<string, (word: string) => string>> = {
  JSON: word => ` {"buy": "${word}"}`,
  HTML: word => ` <li>${word}</li>`,
  Markdown: word => ` - [ ] ${word}`,
};

/** The most tokens of an answer. */
export const MAX_TOKENS = 24;

/** What comes before the model's answer. */
export function promptOf(word: string): string {
  return `${word} =>`;
}

/** An answer ends with its line. */
export function firstLine(text: string): string {
  return text.trim().split('\n')[0]!;
}
