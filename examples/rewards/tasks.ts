import type {RewardFunction, SampledAnswer} from 'tfjs-lora/language';

/** A prompt with what its rewards need. */
export type Question = {
  prompt: {role: string; content: string}[];
  /** The right answer of a sum. */
  sum?: number;
};

/** What a model is to learn from a reward between 0 and 1. */
export interface Task {
  /** Questions to learn from, and held-out ones. */
  train: Question[];
  test: Question[];
  reward: (answer: SampledAnswer) => number;
  maxTokens: number;
  learningRate: number;
  steps: number;
}

const THINGS =
  'fox, river, violin, cloud, bridge, apple, island, clock, tiger, candle, forest, mirror, rocket, garden, whale, ' +
  'castle, pencil, desert, guitar, window, planet, kitten, anchor, basket, dragon, engine, feather, glacier, hammer, ' +
  'igloo, jungle, kettle, lantern, magnet, needle, ocean, pillow, quilt, robot, saddle';

/** Every fifth question is held out. */
function split(questions: readonly Question[]): Pick<Task, 'train' | 'test'> {
  return {train: questions.filter((_, i) => i % 5 !== 4), test: questions.filter((_, i) => i % 5 === 4)};
}

function ask(content: string): Question {
  return {prompt: [{role: 'user', content}]};
}

const things = THINGS.split(', ');
const sums = Array.from({length: 64}, (_, i) => [2 + (i % 8), 2 + Math.floor(i / 8)] as const).filter(
  ([a, b]) => a <= b,
);

/** Valid JSON gets half, and each of the two named fields a quarter; an answer that begins as JSON gets a tenth. */
function isRecord({text}: SampledAnswer): number {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return text.trimStart().startsWith('{') ? 0.1 : 0;
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return 0;
  }
  return (
    0.5 + 0.25 * ['name', 'color'].filter(field => typeof (value as Record<string, unknown>)[field] === 'string').length
  );
}

/** 1 for one to twelve words. Longer answers get less than half, and those that are cut off less than a quarter. */
function isShort({text, truncated}: SampledAnswer): number {
  const words = text.split(/\s+/).filter(word => word !== '').length;
  const close = Math.max(0, 1 - Math.max(0, words - 12) / 24) * (truncated ? 0.25 : 1);
  return words === 0 ? 0 : words <= 12 && !truncated ? 1 : close / 2;
}

/**
 * A number alone gets half, and the right one the other half. Models that never give a number alone would have no
 * reward to begin with, so that one with words after it gets a fifth, and the right one among words another.
 */
function isSum({text, record}: SampledAnswer): number {
  const {sum} = record as unknown as Question;
  const words = text.trim();
  if (/^\d+\.?$/.test(words)) {
    return parseInt(words) === sum ? 1 : 0.5;
  }
  return 0.2 * Number(/^\d/.test(words)) + 0.2 * Number(new RegExp(`\\b${sum}\\b`).test(words));
}

export const TASKS: Readonly<Record<string, Task>> = {
  json: {
    ...split(things.map(thing => ask(`Reply with only a JSON object {"name": ..., "color": ...} for: ${thing}`))),
    ...{reward: isRecord, maxTokens: 32, learningRate: 3e-4, steps: 40},
  },
  short: {
    ...split(things.map(thing => ask(`What is a ${thing}? Be brief.`))),
    ...{reward: isShort, maxTokens: 40, learningRate: 3e-4, steps: 40},
  },
  sums: {
    ...split(sums.map(([a, b]) => ({...ask(`${a} + ${b} = ? Reply with only the number.`), sum: a + b}))),
    ...{reward: isSum, maxTokens: 8, learningRate: 1e-3, steps: 40},
  },
};

/** The same rewards for answers that have nothing to do with them, as a control. */
export function randomRewards(seed: number): RewardFunction {
  let state = seed + 1;
  return answers =>
    answers.map(() => {
      state = (state * 48_271) % 2_147_483_647;
      return state / 2_147_483_647;
    });
}
