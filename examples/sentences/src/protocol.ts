/** The calls from the page to the worker, and the news from the worker. All values are copied. */

/** A sentence and the name of the group that it belongs to. */
export interface Labelled {
  text: string;
  group: string;
}

/** What the worker does. A method that fails gives a message for the visitor, and has changed nothing. */
export interface Engine {
  /** Loads the encoder from the files under a URL. */
  start(url: string): Promise<Start>;
  /** Places sentences, with or without the adapter. */
  place(texts: readonly string[], learned: boolean): Promise<Places>;
  /** Trains a new adapter on sentences and their groups. */
  learn(examples: readonly Labelled[], epochs: number): Promise<Learned>;
  /** The adapter as a safetensors file. */
  file(): Promise<Blob>;
  /** Opens the adapter in a file of `file`, or in the two files of an adapter that PEFT saved. */
  open(files: readonly File[]): Promise<Size>;
  /** Removes the adapter. */
  forget(): Promise<void>;
}

export interface Start {
  parameters: number;
}

/** Where sentences are. */
export interface Places {
  /** In a plane, each coordinate from −1 to 1. */
  points: [x: number, y: number][];
  /** The cosine of the angle between each two. */
  cosines: number[][];
}

/** The parameters of an adapter, and the bytes of its file. */
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
