import type {ChatRecord, ChatMessage} from 'tfjs-lora/language';

/** The calls from the page to the worker, and the news from the worker. All values are copied. */

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

/** What the worker does. A method that fails gives a message for the visitor, and has changed nothing. */
export interface Engine {
  /** Loads the model from its file or a URL. A file may stay on the disk. Forgets the adapter of another model. */
  start(source: string | Blob, isStreamed?: boolean): Promise<Start>;
  /** Trains a new adapter. */
  learn(course: Course): Promise<Learned>;
  /** Trains a copy of the adapter on what is liked, then on all ratings; a new adapter if there is none. */
  learnRatings(feedback: Feedback): Promise<Learned>;
  /** Ends training after the current step, or text generation. */
  stop(): Promise<void>;
  /** Continues a text or answers a chat, with or without the adapter. */
  write(prompt: Prompt, learned: boolean): Promise<string>;
  /** Answers a chat on its own, with sampling: another answer each time. */
  sample(prompt: Prompt, learned: boolean): Promise<string>;
  /** The adapter as a file of this library. */
  file(): Promise<Blob>;
  /** The two files of PEFT. */
  peft(): Promise<{config: Blob; weights: Blob}>;
  /** The file for llama.cpp. */
  gguf(): Promise<Blob>;
  /** Opens the adapter in a file of `file`. */
  open(file: Blob): Promise<Size>;
  /** Removes the adapter. */
  forget(): Promise<void>;
}

export interface Start {
  /** The size of the model in memory. */
  bytes: number;
}

/** The size of an adapter and of its file. */
export interface Size {
  parameters: number;
  bytes: number;
}

export interface Learned extends Size {
  seconds: number;
  /** How many texts or answers were truncated. */
  truncated: number;
}

/** What the worker is doing. */
export type News =
  | {kind: 'loading'; done: number; total: number}
  | {kind: 'preparing'; done: number; total: number}
  | {kind: 'step'; step: number; steps: number; loss: number}
  | {kind: 'sample'; epoch: number; text: string}
  | {kind: 'piece'; text: string};
