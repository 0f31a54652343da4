/** The calls from the page to the worker, and the news from the worker. All values are copied. */
import type {NamedFile} from '../../shared/files';
import type {LabelledImages} from './format';

/** The backends of tfjs, usually the fastest first. */
export const BACKENDS = ['webgpu', 'webgl', 'wasm', 'cpu'] as const;
export type Backend = (typeof BACKENDS)[number];

/** What the worker does. A method that fails gives a message for the visitor, and has changed nothing. */
export interface Engine {
  /** Loads the base model from a URL, and the adapter that the browser keeps, if any. */
  start(modelUrl: string, wished: Backend | null): Promise<Start>;
  /** Moves both models to another backend. */
  useBackend(backend: Backend): Promise<void>;
  predict(image: Uint8Array): Promise<Prediction>;
  /** Trains, continuing if the labels are those of the current adapter, and keeps the adapter in the browser. */
  train(job: TrainingJob): Promise<Training>;
  /**
   * Cross-validation: trains up to five new adapters, each without a part of every label's samples, and counts how many
   * of these it reads correctly. The current adapter stays as it is.
   */
  leaveOut(job: RatesJob & Settings): Promise<LeftOut>;
  /** Tries learning rates on the adapter or on a new one, and leaves it as it is. */
  tryRates(job: RatesJob): Promise<Rates>;
  /** Ends training after the current step. */
  stop(): Promise<void>;
  /** Scales the adapter; `null` removes it. */
  setStrength(strength: number | null): Promise<void>;
  /** Renames one of the adapter's labels. */
  renameLabel(from: string, to: string): Promise<AdapterState>;
  /** The adapter as a file. */
  adapterFile(): Promise<NamedFile>;
  /**
   * Opens the adapter in a file that `adapterFile` or `toSafetensors` made, or in the two files of
   * `saveAdapter(model, 'downloads://…')`.
   */
  openAdapter(files: File[]): Promise<AdapterState>;
  /** The merged model as the files of a plain tfjs model. */
  mergedFiles(): Promise<NamedFile[]>;
  /** Removes the adapter, also from the browser's storage. */
  forget(): Promise<void>;
}

export interface Start {
  /** The backends of this browser. */
  backends: Backend[];
  backend: Backend;
  baseParameters: number;
  adapter: AdapterState | null;
  /** Why the kept adapter could not be loaded, if there is one. */
  fault: string | null;
}

export interface AdapterState {
  labels: readonly string[];
  trainableParameters: number;
  totalParameters: number;
  bytes: number;
  /** Whether the browser keeps it when the page is reloaded. */
  kept: boolean;
}

/** Probabilities for each digit of the base and each label of the adapter. */
export interface Prediction {
  base: number[];
  adapted: {labels: readonly string[]; probabilities: number[]} | null;
}

/** How to train. */
export interface Settings {
  epochs: number;
  learningRate: number;
}

export interface TrainingJob extends Settings {
  labels: string[];
  samples: LabelledImages;
  /** Held-out images of these labels, if there are any. */
  heldOut: LabelledImages;
}

export type RatesJob = Pick<TrainingJob, 'labels' | 'samples'>;

export interface Rates {
  /** The loss as a function of the base-10 logarithm of the rate. */
  curve: {x: number; y: number}[];
  /** The rate at which the loss falls fastest, if it falls by more than its noise. */
  suggestion: number | null;
}

export interface Training {
  adapter: AdapterState;
  stopped: boolean;
  /** The loss at the start and at the end, if it increased or is no better than guessing. */
  diverged: Divergence | null;
  /** The accuracy on held-out images at the end, if there are any. */
  heldOutAccuracy: number | null;
}

export interface Divergence {
  from: number;
  /** NaN if it is not a number. */
  to: number;
}

export interface LeftOut {
  /** How many samples were read correctly by an adapter that was trained without them. */
  right: number;
  /** How many samples were tested: those of labels with two samples or more. */
  judged: number;
  /** How many adapters were trained. */
  readers: number;
  stopped: boolean;
}

/** News of a training, or of one of several. */
export type Progress =
  | {kind: 'part'; done: number; reader: number; readers: number}
  | {kind: 'step'; step: number; steps: number; epoch: number; loss: number; milliseconds: number}
  | {kind: 'epoch'; accuracy: number | null; heldOutAccuracy: number | null};
