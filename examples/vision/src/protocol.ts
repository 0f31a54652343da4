/**
 * What the page asks of the worker, and what the worker tells the page. Everything here is copied from one to the
 * other.
 */

/** A picture of a visitor, by its number. Of one that was among those of the last look, pixels need not come again. */
export interface Picture {
  id: number;
  pixels?: ImageData;
}

/** Whether a picture is held out, by its place among those of its class: every fifth is. */
export function isHeldOut(place: number): boolean {
  return place % 5 === 4;
}

/** What the worker does. Every method may fail with a message for the visitor, and has then changed nothing. */
export interface Engine {
  /** Loads the model from the files in a folder at a URL. */
  start(folder: string): Promise<Start>;
  /** Says of pictures in which of the classes they are, which have pictures too. */
  look(classes: readonly (readonly Picture[])[], others: readonly Picture[]): Promise<Look[]>;
  /** Learns from the classes that it looked at last, from the beginning. */
  learn(epochs: number): Promise<Learned>;
  /** Ends a training that is going on. */
  stop(): Promise<void>;
  /** The adapter as a safetensors file. */
  file(): Promise<Blob>;
  /** The whole model with what it has learned, as the files of a model of the hub, by their names. */
  model(names: readonly string[]): Promise<Record<string, Blob>>;
  /** Takes on the adapter in a file. */
  open(file: File): Promise<Opened>;
  /** Lets go of the adapter. */
  forget(): Promise<void>;
}

export interface Start {
  parameters: number;
}

/** In which class a picture is. */
export interface Look {
  /** By what the base sees in the pictures of the classes; `null` if fewer than two have any. */
  before: number | null;
  /** By what was learned, and how likely that is; `null` if nothing was. */
  after: {label: number; chance: number} | null;
}

/** How many parameters an adapter has, and how many bytes its file. */
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
  /** How many pictures were held out, and how many of them are right. */
  heldOut: {count: number; before: number; after: number};
}

/** News: bytes of the model that have come, pictures that were looked at, or a step of training. */
export type News =
  | {kind: 'loading'; done: number; total: number}
  | {kind: 'looking'; done: number; total: number}
  | {kind: 'step'; step: number; steps: number; loss: number};
