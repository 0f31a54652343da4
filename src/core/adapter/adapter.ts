import * as tf from '@tensorflow/tfjs';
import type {LayerConfig} from '../layers/layerConfig';
import type {LayerEntry} from '../../platform/tfjs/configs';

/** A new head of a model: layers in the place of those of a pretrained model. */
export interface HeadConfig {
  /** Name of the last layer of the pretrained model that is kept. */
  at: string;
  /** The layers after it, in order. */
  layers: LayerEntry[];
}

/** What an adapter says beside its tensors: which layers it adapts and which it brings whole, by path. */
export interface AdapterConfig {
  layers: Record<string, LayerConfig>;
  trainable: string[];
  /** Layers of which it brings the bias alone. Default: none. */
  biases?: string[];
  /** The new head that the adapter brings, if it does. Its layers are among those that it brings whole. */
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
export interface Adapter {
  readonly config: AdapterConfig;
  readonly tensors: Readonly<Record<string, tf.Tensor>>;
  /** Frees the adapter's tensors. Models that took values from it keep theirs. A second call does nothing. */
  dispose(): void;
  [Symbol.dispose](): void;
}

/** Engines without `using` have no such symbol. */
const DISPOSE = (Symbol.dispose as symbol | undefined) ?? Symbol('Symbol.dispose');

/** How an adapter updates a layer, if it does. A path may be `constructor` or another property of every object. */
export function layerConfigAt({layers}: AdapterConfig, path: string): LayerConfig | undefined {
  return Object.hasOwn(layers, path) ? layers[path] : undefined;
}

/** Whether a value looks like an adapter, which unlike a config holds tensors. `checkAdapter` looks closer. */
export function isAdapter(value: unknown): value is Adapter {
  return typeof value === 'object' && value !== null && 'tensors' in value && 'config' in value;
}

/** The one way to make an adapter, which owns the given tensors. */
export function makeAdapter(config: AdapterConfig, tensors: Record<string, tf.Tensor>): Adapter {
  // An adapter lives until it is disposed, wherever it is made.
  Object.values(tensors).forEach(tensor => tf.keep(tensor));
  const dispose = () => tf.dispose(tensors);
  return {config, tensors, dispose, [DISPOSE as typeof Symbol.dispose]: dispose};
}
