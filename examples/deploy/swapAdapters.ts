import type {AdapterInput} from 'tfjs-lora/onnx';

/** The inputs that `adaptONNX` gives for an adapter. */
export type AdapterInputs = Readonly<Record<string, AdapterInput>>;

type Feeds = Record<string, unknown>;

/** What is used of a session of ONNX Runtime. */
interface Session {
  inputNames: readonly string[];
  inputMetadata: readonly {name: string; type: string; shape: readonly (number | string)[]}[];
  outputNames: readonly string[];
  config: unknown;
  run(feeds: Feeds, ...options: unknown[]): Promise<Feeds>;
  release(): Promise<void>;
}

type TensorClass = new (type: string, data: ArrayBufferView, dims: readonly number[]) => {ort_tensor: unknown};

interface Model {
  sessions: {model: Session};
}

/** A pipeline that generates text. */
export interface Generator {
  model: Model;
  tokenizer: object;
  (texts: readonly string[], options: object): Promise<[{generated_text: string}][]>;
}

/** Ends a text when it is told to. */
export interface StoppingCriteria {
  interrupt(): void;
}

interface StreamerOptions {
  skip_prompt: boolean;
  callback_function: (piece: string) => void;
}

interface PipelineOptions {
  dtype: string;
  device?: string;
  progress_callback?: (progress: {status: string; file?: string; loaded?: number; total?: number}) => void;
}

/** What is used of transformers.js. */
export interface TransformersJs {
  env: {backends: {onnx: {wasm: {wasmPaths?: string}}}};
  Tensor: TensorClass;
  pipeline: (task: string, folder: string, options: PipelineOptions) => Promise<Generator>;
  InterruptableStoppingCriteria: new () => StoppingCriteria;
  TextStreamer: new (tokenizer: object, options: StreamerOptions) => object;
}

/** Lets a loaded model switch adapters, as in docs/deploy.md. `use` makes the tensors of an adapter once. */
export function swapAdapters(model: Model, Tensor: TensorClass): {use: (inputs: AdapterInputs | null) => void} {
  const session = model.sessions.model;
  const isFactor = (name: string) => /\.lora_[AB]$/.test(name);
  const tensorOf = ({type, data, dims}: AdapterInput) => new Tensor(type, data, dims).ort_tensor;
  const tensorsOf = (inputs: AdapterInputs): Feeds =>
    Object.fromEntries(Object.entries(inputs).map(([name, value]) => [name, tensorOf(value)]));
  const off: Feeds = {};
  for (const {name, shape} of session.inputMetadata.filter(input => isFactor(input.name))) {
    const [rows = 1, columns = 1] = shape.map(size => (typeof size === 'number' ? size : 1));
    off[name] = tensorOf({type: 'float32', dims: [rows, columns], data: new Float32Array(rows * columns)});
  }
  const made = new WeakMap<AdapterInputs, Feeds>();
  let factors = off;
  model.sessions.model = {
    inputNames: session.inputNames.filter(name => !isFactor(name)),
    inputMetadata: session.inputMetadata,
    outputNames: session.outputNames,
    config: session.config,
    run: (feeds, ...options) => session.run({...feeds, ...factors}, ...options),
    release: () => session.release(),
  };
  return {
    use: inputs => {
      if (inputs && !made.has(inputs)) {
        made.set(inputs, tensorsOf(inputs));
      }
      factors = inputs ? {...off, ...made.get(inputs)} : off;
    },
  };
}
