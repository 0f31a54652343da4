import type {Wishes} from './wishes';

/** What a visitor can begin with. */
interface Preset {
  label: string;
  questions: readonly string[];
  wishes: Wishes;
  /** The most tokens of an answer. */
  maxTokens: number;
}

const NOTHING: Wishes = {json: '', words: 0, avoid: '', code: ''};
const THINGS = ['fox', 'river', 'violin', 'cloud', 'bridge', 'apple', 'island', 'clock', 'tiger', 'candle'];

/** Without it, the best answer to "What is a fox?" is "A fox." */
const SAYS_SOMETHING = `(answer, question) => {
  const words = text => text.toLowerCase().match(/[a-z]+/g) ?? [];
  const others = words(answer).filter(word => !words(question).includes(word));
  return Math.min(1, new Set(others).size / 5);
}`;

export const PRESETS: Readonly<Record<string, Preset>> = {
  short: {
    label: 'short answers that say something',
    questions: THINGS.map(thing => `What is a ${thing}? Be brief.`),
    wishes: {...NOTHING, words: 12, code: SAYS_SOMETHING},
    maxTokens: 40,
  },
  json: {
    label: 'JSON with two fields',
    questions: THINGS.map(thing => `Reply with only a JSON object {"name": ..., "color": ...} for: ${thing}`),
    wishes: {...NOTHING, json: 'name, color'},
    maxTokens: 32,
  },
};
