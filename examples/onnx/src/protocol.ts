import type {Line} from '../lines';

/** The calls from the page to the worker, and the news from the worker. All values are copied. */

/** What the worker does. A method that fails gives a message for the visitor, and has changed nothing. */
export interface Engine {
  /** Imports an ONNX file. */
  start(file: Uint8Array): Promise<{parameters: number}>;
  /** Trains a new adapter on lines, upright and upside down, and writes it into the file. */
  learn(lines: readonly Line[], epochs: number): Promise<Learned>;
  /** Ends a training that is going on. */
  stop(): Promise<void>;
}

export interface Learned {
  /** The ONNX file with what was learned. */
  file: Uint8Array<ArrayBuffer>;
  parameters: number;
  seconds: number;
  isStopped: boolean;
}

/** News: a training step. */
export interface News {
  step: number;
  steps: number;
  loss: number;
}
