import type {LoadingNews} from '../../shared/page/ggufEngine';

/** What the worker tells the page: how much of the model is loaded, and pieces of an answer. */
export type News = LoadingNews | {kind: 'piece'; text: string};

/** What the model makes of a text. */
export interface Answer {
  text: string;
  /** How long the switch to the adapter took, in milliseconds. */
  switched: number;
  /** How long the answer took. */
  seconds: number;
}
