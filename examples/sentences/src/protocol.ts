/**
 * What the page asks of the worker, and what the worker tells the page. Everything here is copied from one to the
 * other.
 */

/** A sentence and the name of the group that it belongs to. */
export interface Labelled {
  text: string;
  group: string;
}

/** What the worker does. Every method may fail with a message for the visitor, and has then changed nothing. */
export interface Engine {
  /** Loads the encoder from the files under a URL. */
  start(url: string): Promise<Start>;
  /** Where sentences lie, by what the encoder has learned, or without it. */
  place(texts: readonly string[], learned: boolean): Promise<Places>;
  /** Learns the groups of some sentences, from the beginning. */
  learn(examples: readonly Labelled[], epochs: number): Promise<Learned>;
  /** The adapter as a safetensors file. */
  file(): Promise<Blob>;
  /** Takes on the adapter in a file of `file`, or in the two files of an adapter that PEFT saved. */
  open(files: readonly File[]): Promise<Size>;
  /** Lets go of the adapter. */
  forget(): Promise<void>;
}

export interface Start {
  parameters: number;
}

/** Where sentences lie. */
export interface Places {
  /** In a plane, each coordinate from −1 to 1. */
  points: [x: number, y: number][];
  /** The cosine of the angle between each two. */
  cosines: number[][];
}

/** How many parameters an adapter has, and how many bytes its file. */
export interface Size {
  parameters: number;
  bytes: number;
}

export interface Learned extends Size {
  seconds: number;
}

/** News: how far the encoder is loaded, or a step of training. */
export type News =
  {kind: 'loading'; done: number; total: number} | {kind: 'step'; step: number; steps: number; loss: number};
