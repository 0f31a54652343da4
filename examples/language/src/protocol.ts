import type {ChatMessage, ChatRecord} from 'tfjs-lora/language';
import type {LoadingNews} from '../../shared/page/ggufEngine';
import type {Size} from '../../shared/page/results';

// What the page and its worker send each other. All values are copied.

/** The text that the model continues, or the chat that it answers. */
export type Prompt = string | readonly ChatMessage[];

/** An answer in a chat with a thumb up (`true`) or down: a record of `encodePreferences`. */
export interface Rating {
  prompt: readonly ChatMessage[];
  completion: string;
  label: boolean;
}

/** The length of a training. */
export interface Training {
  epochs: number;
  /** What the model answers after each epoch. */
  sample: Prompt;
}

/** The data and length of a training on texts. */
export interface Course extends Training {
  examples: readonly ChatRecord[];
}

/** The data and length of a training on ratings. */
export interface Feedback extends Training {
  ratings: readonly Rating[];
}

export interface Learned extends Size {
  seconds: number;
  /** How many texts or answers were truncated. */
  truncated: number;
}

/** What the worker is doing. */
export type News =
  | LoadingNews
  | {kind: 'preparing'; done: number; total: number}
  | {kind: 'step'; step: number; steps: number; loss: number}
  | {kind: 'sample'; epoch: number; text: string}
  | {kind: 'piece'; text: string};
