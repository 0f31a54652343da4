import type {LoadingNews} from '../../shared/page/ggufEngine';
import type {Size} from '../../shared/page/results';
import type {Wishes} from './wishes';

// What the page and its worker send each other. All values are copied.

/** What the model practices on, and for how long. */
export interface Course {
  questions: readonly string[];
  wishes: Wishes;
  steps: number;
  /** How many answers each question gets. */
  group: number;
  /** The most tokens of an answer. */
  maxTokens: number;
}

export interface Learned extends Size {
  seconds: number;
}

/** An answer with the mean of its rewards. */
export interface Judged {
  text: string;
  reward: number;
}

/** What a step of a training was like. */
export interface StepNews {
  kind: 'step';
  step: number;
  steps: number;
  /** The mean over all answers. */
  reward: number;
  question: string;
  best: Judged;
  worst: Judged;
}

/** What the worker is doing. */
export type News = LoadingNews | StepNews | {kind: 'piece'; text: string};
