/** The calls from the page to the worker, and the news from the worker. All values are copied. */

/** A frame that a visitor has corrected. */
export interface Labelled {
  picture: ImageData;
  /** The x, y, and z of each of the 21 landmarks, in pixels of the image. `null` without a hand. */
  landmarks: readonly number[] | null;
}

/** Which frames are held out: every fifth of those with a hand, and every fifth of those without one. */
export function heldOutOf(frames: readonly Pick<Labelled, 'landmarks'>[]): boolean[] {
  const counts = {hand: 0, none: 0};
  return frames.map(({landmarks}) => ++counts[landmarks === null ? 'none' : 'hand'] % 5 === 0);
}

/** What the worker does. A method that fails gives a message for the visitor, and has changed nothing. */
export interface Engine {
  /** Loads the model from the file at a URL. */
  start(url: string): Promise<Start>;
  /** Finds the landmarks in an image, without and, if there is one, with the adapter. */
  look(picture: ImageData): Promise<Sight>;
  /** Trains a new adapter on frames. */
  learn(frames: readonly Labelled[], epochs: number): Promise<Learned>;
  /** Ends training after the current step. */
  stop(): Promise<void>;
  /** The adapter as a safetensors file. */
  file(): Promise<Blob>;
  /** The whole graph with the adapter merged, as the two files that `tf.loadGraphModel` takes. */
  graph(): Promise<{topology: Blob; weights: Blob}>;
  /** Opens the adapter in a file. */
  open(file: File): Promise<Size>;
  /** Removes the adapter. */
  forget(): Promise<void>;
}

export interface Start {
  parameters: number;
}

export interface Sight {
  before: Guess;
  after: Guess | null;
}

/** The landmarks, as in `Labelled`, and the probability that there is a hand. */
export interface Guess {
  landmarks: number[];
  presence: number;
}

/** The parameters of an adapter, and the bytes of its file. */
export interface Size {
  parameters: number;
  bytes: number;
}

export interface Learned extends Size {
  seconds: number;
  isStopped: boolean;
  /** The held-out frames with a hand, and their mean error, relative to the hand's diagonal. */
  hands: {count: number; before: number; after: number};
  /** The held-out frames without a hand, and in how many of them one was found. */
  grounds: {count: number; before: number; after: number};
}

/** News: how much of the work before the first step is done, or a training step. */
export type News =
  {kind: 'copies'; done: number; total: number} | {kind: 'step'; step: number; steps: number; loss: number};
