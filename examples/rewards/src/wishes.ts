import {avoidReward, checkSchema, jsonReward, type Schema, shortReward} from '../rules';

/** What answers should look like, as the visitor writes it. What is empty is no wish. */
export interface Wishes {
  /** The names of JSON fields with commas between them, or a JSON schema. */
  json: string;
  /** The most words; 0 for any number. */
  words: number;
  /** Words to avoid, with commas between them. */
  avoid: string;
  /** A JavaScript function of an answer and its question. */
  code: string;
}

/** An answer that is rewarded. */
export interface Answer {
  text: string;
  question: string;
  truncated: boolean;
}

/** A wish as a reward: a number for an answer, 1 if it is granted. */
export interface Reward {
  name: string;
  of: (answer: Answer) => number;
}

/** @throws Error for the visitor if there is no wish, or one that makes no sense. */
export function rewardsOf({json, words, avoid, code}: Wishes): Reward[] {
  const rewards: Reward[] = [];
  if (json.trim() !== '') {
    const schema = schemaOf(json.trim());
    rewards.push({name: 'JSON', of: ({text}) => jsonReward(text, schema)});
  }
  if (words > 0) {
    rewards.push({name: 'length', of: answer => shortReward(answer, words)});
  }
  const avoided = listed(avoid.toLowerCase());
  if (avoided.length > 0) {
    rewards.push({name: 'words', of: ({text}) => avoidReward(text, avoided)});
  }
  if (code.trim() !== '') {
    const judge = functionOf(code);
    rewards.push({name: 'function', of: ({text, question}) => judge(text, question)});
  }
  if (rewards.length === 0) {
    throw new Error('Say what answers should look like: fill in at least one field.');
  }
  return rewards;
}

function listed(text: string): string[] {
  return text
    .split(',')
    .map(word => word.trim())
    .filter(word => word !== '');
}

function schemaOf(json: string): Schema {
  if (!json.startsWith('{')) {
    return {type: 'object', required: listed(json)};
  }
  let schema: unknown;
  try {
    schema = JSON.parse(json);
  } catch (error) {
    throw new Error(`The JSON schema cannot be read: ${(error as Error).message}`, {cause: error});
  }
  checkSchema(schema);
  return schema;
}

/** The visitor's own function. Its number is checked, because a reward that is none ends a training. */
function functionOf(code: string): (text: string, question: string) => number {
  let made: unknown;
  try {
    // oxlint-disable-next-line no-implied-eval, no-unsafe-call -- running the visitor's own code is the purpose
    made = new Function(`'use strict'; return (${code}\n);`)();
  } catch (error) {
    throw new Error(`The function cannot be read: ${(error as Error).message}`, {cause: error});
  }
  if (typeof made !== 'function') {
    throw new Error('Write a JavaScript function, such as (answer, question) => answer.length < 40 ? 1 : 0');
  }
  return (text, question) => {
    const reward: unknown = (made as (text: string, question: string) => unknown)(text, question);
    const value = typeof reward === 'boolean' ? Number(reward) : reward;
    if (typeof value !== 'number' || !Number.isFinite(value)) {
      throw new Error(`The function must return a number, and returned ${String(reward)} for "${text}".`);
    }
    return value;
  };
}
