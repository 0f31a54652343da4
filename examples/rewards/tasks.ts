import type {RewardFunction, SampledAnswer} from 'tfjs-lora/language';
import {jsonReward, type Schema, shortReward} from './rules';

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

/** Valid JSON gets half, and each of the two named fields a quarter. */
const RECORD: Schema = {
  ...{type: 'object', required: ['name', 'color']},
  properties: {name: {type: 'string'}, color: {type: 'string'}},
};

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
    ...{reward: ({text}) => jsonReward(text, RECORD), maxTokens: 32, learningRate: 3e-4, steps: 40},
  },
  short: {
    ...split(things.map(thing => ask(`What is a ${thing}? Be brief.`))),
    ...{reward: answer => shortReward(answer, 12), maxTokens: 40, learningRate: 1e-3, steps: 20},
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
