import * as tf from '@tensorflow/tfjs';
import type {LayerConfig} from '../layers/layerConfig';
import type {LayerEntry} from '../../platform/tfjs/configs';

/** A new head of a model: layers that replace those of a pretrained model. */
export interface HeadConfig {
  /** Name of the last layer of the pretrained model that is kept. */
  at: string;
  /** The layers after it, in order. */
  layers: LayerEntry[];
}

/** The config of an adapter: which layers it adapts and which it holds whole, by path. */
export interface AdapterConfig {
  /** How each adapted layer updates its base, by the path of the layer. */
  layers: Record<string, LayerConfig>;
  /** The paths of layers that train in full. */
  trainable: string[];
  /** Layers of which it holds only the bias. Default: none. */
  biases?: string[];
  /** The new head of the adapter, if any. Its layers are among those that it holds whole. */
  head?: HeadConfig;
}

/**
 * An adapter as a value: a config, and tensors by name (`<layer path>/lora_A`, `<layer path>/lora_B`; for layers that
 * train in full `<layer path>/kernel` and so on).
 *
 * Whoever gets one from a function owns it and calls `dispose()` when it is no longer needed, or declares it with
 * `using`. The exception is `applyLoRA(base, adapter)`: `disposeModel` of its result disposes of the adapter too.
 *
 *     using cats = await loadAdapter('cats.safetensors');
 *     setAdapter(model, cats);
 */
export interface Adapter extends Disposing {
  /** Which layers are adapted, and how. */
  readonly config: AdapterConfig;
  /** The values, by `<path of the layer>/<name of the parameter>`. They belong to the adapter. */
  readonly tensors: Readonly<Record<string, tf.Tensor>>;
  /** Frees the adapter's tensors. Models that took values from it keep theirs. A second call does nothing. */
  dispose(): void;
  /** A line that says what it is, such as `LoRA adapter: 12 layers of rank 8, 1 trained in full, 73,728 parameters`. */
  toString(): string;
}

/**
 * `[Symbol.dispose]`, which a `using` declaration calls, if the types of the program have that symbol. Without them a
 * member of that name would be an error in every program that checks its declarations.
 */
type Disposing = SymbolConstructor extends {readonly dispose: infer S extends symbol}
  ? Readonly<Record<S, () => void>>
  : {dispose: () => void};

/** Engines without `using` have no such symbol. */
const DISPOSE = (Symbol.dispose as symbol | undefined) ?? Symbol('Symbol.dispose');

/** How an adapter updates a layer, if it does. Own properties only: a path may be `constructor`. */
export function layerConfigAt({layers}: AdapterConfig, path: string): LayerConfig | undefined {
  return Object.hasOwn(layers, path) ? layers[path] : undefined;
}

/** Whether a value looks like an adapter: unlike a config, it holds tensors. `checkAdapter` looks closer. */
export function isAdapter(value: unknown): value is Adapter {
  return typeof value === 'object' && value !== null && 'tensors' in value && 'config' in value;
}

/** Makes an adapter, which owns the given tensors. */
export function makeAdapter(config: AdapterConfig, tensors: Record<string, tf.Tensor>): Adapter {
  // An adapter lives until it is disposed, wherever it is made.
  Object.values(tensors).forEach(tensor => tf.keep(tensor));
  const dispose = () => tf.dispose(tensors);
  return {
    config,
    tensors,
    dispose,
    [DISPOSE as typeof Symbol.dispose]: dispose,
    toString: () => describe(config, tensors),
  };
}

function describe({layers, trainable, head}: AdapterConfig, tensors: Adapter['tensors']): string {
  const ranks = new Set(Object.values(layers).map(({rank}) => rank));
  const size = Object.values(tensors).reduce((sum, tensor) => sum + tensor.size, 0);
  return [
    `LoRA adapter: ${Object.keys(layers).length} layers${ranks.size > 0 ? ` of rank ${[...ranks].join(', ')}` : ''}`,
    ...(trainable.length > 0 ? [`${trainable.length} trained in full`] : []),
    ...(head ? [`a new head after ${head.at}`] : []),
    `${size.toLocaleString('en')} parameters`,
  ].join(', ');
}
