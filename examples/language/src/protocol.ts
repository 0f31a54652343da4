import type {ChatRecord, Message} from 'tfjs-lora/language';

/**
 * What the page asks of the worker, and what the worker tells the page. Everything here is copied from one to the
 * other.
 */

/** What the model writes on from, or the talk that it answers. */
export type Prompt = string | readonly Message[];

/** How a training is done. */
export interface Course {
  examples: readonly ChatRecord[];
  epochs: number;
  /** What the model is asked after each epoch. */
  sample: Prompt;
}

/** What the worker does. Every method may fail with a message for the visitor, and has then changed nothing. */
export interface Engine {
  /** Loads the model from its file at a URL. */
  start(url: string): Promise<Start>;
  /** Learns from the beginning. */
  learn(course: Course): Promise<Learned>;
  /** Ends a training behind its step, or the writing. */
  stop(): Promise<void>;
  /** Writes on from a text, or answers a talk, with what was learned or without. */
  write(prompt: Prompt, learned: boolean): Promise<string>;
  /** The adapter as a file of this library. */
  file(): Promise<Blob>;
  /** The two files of PEFT. */
  peft(): Promise<{config: Blob; weights: Blob}>;
  /** The file for llama.cpp. */
  gguf(): Promise<Blob>;
  /** Takes on the adapter in a file of `file`. */
  open(file: Blob): Promise<Size>;
  /** Lets go of the adapter. */
  forget(): Promise<void>;
}

export interface Start {
  /** What the model takes in memory. */
  bytes: number;
}

/** An adapter, as it is stored. */
export interface Size {
  parameters: number;
  bytes: number;
}

export interface Learned extends Size {
  seconds: number;
  /** Texts that were longer than what is learned of one. */
  cut: number;
}

/** What the worker is doing. */
export type News =
  | {kind: 'loading'; done: number; total: number}
  | {kind: 'step'; step: number; steps: number; loss: number}
  | {kind: 'sample'; epoch: number; text: string}
  | {kind: 'piece'; text: string};
