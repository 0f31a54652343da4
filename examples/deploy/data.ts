/** What is to buy in the texts that the adapters train on. */
export const ITEMS = [
  ...['apples', 'bread', 'cheese', 'coffee', 'eggs', 'garlic', 'honey', 'milk', 'onions', 'rice', 'salt', 'tea'],
  ...['a pound of flour', 'two lemons', 'black beans', 'red wine', 'tomatoes', 'yoghurt', 'dish soap', 'paper towels'],
  ...['orange juice', 'chicken', 'potatoes', 'sugar', 'dark chocolate', 'noodles', 'three cucumbers', 'batteries'],
  ...['cat food', 'spinach', 'mustard', 'frozen peas', 'a box of matches', 'light bulbs', 'pears', 'toothpaste'],
];

/** What no adapter was trained on. */
export const HELD_OUT = [
  ...['cinnamon', 'avocados', 'two pineapples', 'sour cream', 'ground beef', 'shaving foam'],
  ...['a bag of ice', 'peanut butter', 'lettuce', 'vinegar', 'candles', 'six muffins'],
];

/** How each adapter writes an item of the list. */
export const FORMATS: Readonly<Record<string, (item: string) => string>> = {
  JSON: item => ` {"buy": "${item}"}`,
  HTML: item => ` <li>${item}</li>`,
  Markdown: item => ` - [ ] ${item}`,
};

/** The most tokens of an answer. */
export const MAX_TOKENS = 24;

export function textOf(item: string): string {
  return `Buy ${item}`;
}

/** What comes before the model's answer. */
export function promptOf(text: string): string {
  return `${text} =>`;
}

/** An answer ends with its line. */
export function firstLine(text: string): string {
  return text.trim().split('\n')[0]!;
}
