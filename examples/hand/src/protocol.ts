/**
 * What the page asks of the worker, and what the worker tells the page. Everything here is copied from one to the
 * other.
 */

/** A frame that a visitor put right. */
export interface Labelled {
  picture: ImageData;
  /** To the right, down and away of each of the 21 landmarks, in pixels of the picture. `null` without a hand. */
  landmarks: readonly number[] | null;
}

/** Which frames are held out: every fifth of those with a hand, and every fifth of those without one. */
export function heldOutOf(frames: readonly Pick<Labelled, 'landmarks'>[]): boolean[] {
  const counts = {hand: 0, none: 0};
  return frames.map(({landmarks}) => ++counts[landmarks === null ? 'none' : 'hand'] % 5 === 0);
}

/** What the worker does. Every method may fail with a message for the visitor, and has then changed nothing. */
export interface Engine {
  /** Loads the model from the file at a URL. */
  start(url: string): Promise<Start>;
  /** What is in a picture, by the model as it was published, and by what it has learned if there is anything. */
  look(picture: ImageData): Promise<Sight>;
  /** Learns from frames, from the beginning. */
  learn(frames: readonly Labelled[], epochs: number): Promise<Learned>;
  /** Ends a training that is going on. */
  stop(): Promise<void>;
  /** The adapter as a safetensors file. */
  file(): Promise<Blob>;
  /** The whole graph with what it has learned, as the two files that `tf.loadGraphModel` takes. */
  graph(): Promise<{topology: Blob; weights: Blob}>;
  /** Takes on the adapter in a file. */
  open(file: File): Promise<Size>;
  /** Lets go of the adapter. */
  forget(): Promise<void>;
}

export interface Start {
  parameters: number;
}

export interface Sight {
  before: Guess;
  after: Guess | null;
}

/** Three numbers of each landmark, as in `Labelled`; and how likely there is a hand at all. */
export interface Guess {
  landmarks: number[];
  presence: number;
}

/** How many parameters an adapter has, and how many bytes its file. */
export interface Size {
  parameters: number;
  bytes: number;
}

export interface Learned extends Size {
  seconds: number;
  isStopped: boolean;
  /** The frames with a hand that were held out, and the mean error in them, as a share of the hand's diagonal. */
  hands: {count: number; before: number; after: number};
  /** The frames without a hand that were held out, and in how many of them one was seen. */
  grounds: {count: number; before: number; after: number};
}

/** News: how much of the work before the first step is done, or a step of training. */
export type News =
  {kind: 'copies'; done: number; total: number} | {kind: 'step'; step: number; steps: number; loss: number};
