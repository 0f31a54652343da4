/** The calls from the page to the worker, and the news from the worker. All values are copied. */

/** An image, by its number. Its pixels can be left out if it was among the images of the previous call. */
export interface Picture {
  id: number;
  pixels?: ImageData;
}

/** Whether an image is held out, by its position in its class: every fifth is. */
export function isHeldOut(place: number): boolean {
  return place % 5 === 4;
}

/** What the worker does. A method that fails gives a message for the visitor, and has changed nothing. */
export interface Engine {
  /** Loads the model from the files in a folder at a URL. */
  start(folder: string): Promise<Start>;
  /** Classifies other images, by the images of the classes and by what was learned. */
  look(classes: readonly (readonly Picture[])[], others: readonly Picture[]): Promise<Look[]>;
  /** Trains a new adapter on the classes of the latest `look`, and calibrates it on their held-out images. */
  learn(epochs: number): Promise<Learned>;
  /** Ends a training that is going on. */
  stop(): Promise<void>;
  /** The adapter as a safetensors file. */
  file(): Promise<Blob>;
  /** The whole model with the adapter merged, as the files of a model on the hub, by their names. */
  model(names: readonly string[]): Promise<Record<string, Blob>>;
  /** Opens the adapter in a file. */
  open(file: File): Promise<Opened>;
  /** Removes the adapter. */
  forget(): Promise<void>;
}

export interface Start {
  parameters: number;
}

/** The class of an image. */
export interface Look {
  /** By similarity to the images of the classes; `null` if fewer than two classes have images. */
  before: number | null;
  /** As the trained model predicts, with its probability; `null` if there is no adapter. */
  after: {label: number; chance: number} | null;
}

/** The parameters of an adapter, and the bytes of its file. */
export interface Size {
  parameters: number;
  bytes: number;
}

export interface Opened extends Size {
  /** How many classes the adapter tells apart. */
  classes: number;
}

export interface Learned extends Size {
  seconds: number;
  isStopped: boolean;
  /** How many images were held out, and how many of them are classified correctly. */
  heldOut: {count: number; before: number; after: number};
}

/** News: bytes of the model that were loaded, images that were processed, or a training step. */
export type News =
  | {kind: 'loading'; done: number; total: number}
  | {kind: 'looking'; done: number; total: number}
  | {kind: 'step'; step: number; steps: number; loss: number};
