/**
 * What the page asks of the worker, and what the worker tells the page. Everything here is copied from one to the
 * other.
 */
import type {NamedFile} from '../../shared/files';
import type {LabelledImages} from './format';

/** The backends of tfjs, the fastest first, as a rule. */
export const BACKENDS = ['webgpu', 'webgl', 'wasm', 'cpu'] as const;
export type Backend = (typeof BACKENDS)[number];

/** What the worker does. Every method may fail with a message for the visitor, and has then changed nothing. */
export interface Engine {
  /** Loads the base model from a URL, and the adapter that the browser keeps, if any. */
  start(modelUrl: string, wished: Backend | null): Promise<Start>;
  /** Moves both models to another backend. */
  useBackend(backend: Backend): Promise<void>;
  predict(image: Uint8Array): Promise<Prediction>;
  /** Trains, further where the labels are those of the present adapter, and keeps the adapter in the browser. */
  train(job: TrainingJob): Promise<Training>;
  /**
   * Counts how many samples are read right by readers that trained without them, from the beginning: five readers at
   * most, each without another part of every label's samples. The adapter stays as it is.
   */
  leaveOut(job: RatesJob & Settings): Promise<LeftOut>;
  /** Tries learning rates on the adapter, or on a new one, and leaves it as it is. */
  tryRates(job: RatesJob): Promise<Rates>;
  /** Ends the training after the present step. */
  stop(): Promise<void>;
  /** Scales the adapter; `null` takes it off. */
  setStrength(strength: number | null): Promise<void>;
  /** Calls one of the adapter's labels something else. */
  renameLabel(from: string, to: string): Promise<AdapterState>;
  /** The adapter as a file. */
  adapterFile(): Promise<NamedFile>;
  /**
   * Takes on the adapter in a file that `adapterFile` or `toSafetensors` made, or in the two files of
   * `saveAdapter(model, 'downloads://…')`.
   */
  openAdapter(files: File[]): Promise<AdapterState>;
  /** The adapted model without need of this library, as the files of a plain tfjs model. */
  mergedFiles(): Promise<NamedFile[]>;
  /** Takes the adapter off and out of the browser's storage. */
  forget(): Promise<void>;
}

export interface Start {
  /** Those that this browser has. */
  backends: Backend[];
  backend: Backend;
  baseParameters: number;
  adapter: AdapterState | null;
  /** Why the browser's adapter could not be had, if there should be one. */
  fault: string | null;
}

export interface AdapterState {
  labels: readonly string[];
  trainableParameters: number;
  totalParameters: number;
  bytes: number;
  /** Whether the browser keeps it beyond a reload. */
  kept: boolean;
}

/** Probabilities, one for each digit of the base and for each label of the adapter. */
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
  /** Images to be judged by, if there are any of these labels. */
  heldOut: LabelledImages;
}

export type RatesJob = Pick<TrainingJob, 'labels' | 'samples'>;

export interface Rates {
  /** The loss over the logarithm of the rate to base 10. */
  curve: {x: number; y: number}[];
  /** Where the loss falls fastest, if it falls beyond its noise. */
  suggestion: number | null;
}

export interface Training {
  adapter: AdapterState;
  stopped: boolean;
  /** The loss at the start and at the end, if it went up and not down, or is no better than guessing. */
  diverged: Divergence | null;
  /** Share of the held-out images that were read right at the end, if there are any. */
  heldOutAccuracy: number | null;
}

export interface Divergence {
  from: number;
  /** NaN where it is no number any more. */
  to: number;
}

export interface LeftOut {
  /** How many samples were read right by a reader that trained without them, … */
  right: number;
  /** … of how many: those of labels that have two samples or more. */
  judged: number;
  /** How many readers were trained. */
  readers: number;
  stopped: boolean;
}

/** News from a training, or from one of several. */
export type Progress =
  | {kind: 'part'; done: number; reader: number; readers: number}
  | {kind: 'step'; step: number; steps: number; epoch: number; loss: number; milliseconds: number}
  | {kind: 'epoch'; accuracy: number | null; heldOutAccuracy: number | null};
