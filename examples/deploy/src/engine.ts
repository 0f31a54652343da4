import {fetched} from '../../shared/page/fetched';
import {firstLine, MAX_TOKENS, promptOf} from '../data';
import {
  type AdapterInputs,
  type Generator,
  type StoppingCriteria,
  swapAdapters,
  type TransformersJs,
} from '../swapAdapters';
import type {Answer, News} from './protocol';

/** The values of an adapter in base64, with their shapes, by the names of inputs. */
type PackedAdapter = Readonly<Record<string, {dims: [number, number]; data: string}>>;

interface Opened {
  transformers: TransformersJs;
  generator: Generator;
  use: (inputs: AdapterInputs | null) => void;
}

/** Runs one model with several adapters in transformers.js. Only opening an adapter's file loads TensorFlow.js. */
export class DeployEngine {
  private opened: Opened | undefined;
  private graph = '';
  private readonly adapters = new Map<string, AdapterInputs>();
  private stopping: StoppingCriteria | undefined;

  constructor(private readonly tell: (news: News) => void) {}

  /** Loads the model and the adapters from next to the page. @returns where the model runs. */
  async start(page: string): Promise<{device: string}> {
    const at = (path: string) => new URL(path, page).href;
    const adapters = (await (await fetched(at('model/adapters.json'))).json()) as Record<string, PackedAdapter>;
    Object.entries(adapters).forEach(([name, packed]) => this.adapters.set(name, unpacked(packed)));
    this.graph = at('model/onnx/model_q4.onnx');
    // As from a CDN.
    const transformers = (await import(/* @vite-ignore */ at('transformers/transformers.min.js'))) as TransformersJs;
    const {env, pipeline, Tensor} = transformers;
    const localModelPath = new URL('.', page).pathname;
    Object.assign(env, {allowRemoteModels: false, allowLocalModels: true, localModelPath, useBrowserCache: false});
    env.backends.onnx.wasm.wasmPaths = at('runtime/');
    const hasCard = 'gpu' in navigator && (await navigator.gpu.requestAdapter()) !== null;
    const device = hasCard ? 'webgpu' : 'wasm';
    const generator = await pipeline('text-generation', 'model', {
      device,
      dtype: 'q4',
      progress_callback: ({status, file = '', loaded = 0, total = 0}) => {
        if (status === 'progress' && file.endsWith('_data')) {
          this.tell({kind: 'loading', done: loaded, total});
        }
      },
    });
    this.opened = {transformers, generator, use: swapAdapters(generator.model, Tensor).use};
    return {device};
  }

  /** Switches to an adapter, or to none, and generates a line. */
  async answer(adapter: string, asked: string): Promise<Answer> {
    if (this.opened === undefined) {
      throw new Error('The model is not loaded.');
    }
    const {transformers, generator, use} = this.opened;
    const {InterruptableStoppingCriteria, TextStreamer} = transformers;
    const stopping = (this.stopping = new InterruptableStoppingCriteria());
    let text = '';
    const streamer = new TextStreamer(generator.tokenizer, {
      skip_prompt: true,
      callback_function: piece => {
        text += piece;
        this.tell({kind: 'piece', text: firstLine(text)});
        // A model without an adapter does not end with its line.
        if (text.trimStart().includes('\n')) {
          stopping.interrupt();
        }
      },
    });
    const begin = performance.now();
    use(this.adapters.get(adapter) ?? null);
    const switched = performance.now() - begin;
    const options = {max_new_tokens: MAX_TOKENS, do_sample: false, stopping_criteria: stopping, streamer};
    await generator([promptOf(asked)], options);
    return {text: firstLine(text), switched, seconds: (performance.now() - begin) / 1000};
  }

  /** Adds an adapter by its file, or by the two files of PEFT. @returns the bytes of its values. */
  async open(name: string, weights: Blob, config?: string): Promise<number> {
    const [tf, {loadAdapter}, {adaptONNX}] = await Promise.all([
      import('@tensorflow/tfjs'),
      import('tfjs-lora'),
      import('tfjs-lora/onnx'),
    ]);
    await tf.setBackend('cpu');
    const graph = new Uint8Array(await (await fetched(this.graph)).arrayBuffer());
    const bytes = new Uint8Array(await weights.arrayBuffer());
    const adapter = config === undefined ? await loadAdapter(bytes) : {config, weights: bytes};
    try {
      const {file, inputs} = await adaptONNX(graph, adapter);
      if (file.length !== graph.length) {
        throw new Error(
          'The adapter has modules that the file of this page has no inputs for: train it on q_proj and v_proj.',
        );
      }
      this.adapters.set(name, inputs);
      return Object.values(inputs).reduce((sum, {data}) => sum + data.byteLength, 0);
    } finally {
      if ('dispose' in adapter) {
        adapter.dispose();
      }
    }
  }

  /** Ends an answer after its current token. */
  stop(): Promise<void> {
    this.stopping?.interrupt();
    return Promise.resolve();
  }
}

function unpacked(adapter: PackedAdapter): AdapterInputs {
  return Object.fromEntries(
    Object.entries(adapter).map(([name, {dims, data}]) => {
      const bytes = Uint8Array.from(atob(data), character => character.charCodeAt(0));
      return [name, {type: 'float32', dims, data: new Float32Array(bytes.buffer)}];
    }),
  );
}
