// What a program with `exactOptionalPropertyTypes` writes: options that it may not have.

import type * as tf from '@tensorflow/tfjs';
import {applyLoRA, type CallOptions, combineAdapters, type Adapter, loadAdapter, progress} from 'tfjs-lora';
import {generate, type Tokenizer} from 'tfjs-lora/language';
import {loadTransformer} from 'tfjs-lora/transformers';

interface Settings {
  rank?: number;
  seed?: number;
  signal?: AbortSignal;
}

export async function adapt(base: tf.LayersModel, {rank, seed, signal}: Settings): Promise<tf.LayersModel> {
  const onProgress: CallOptions['onProgress'] = undefined;
  const adapter: Adapter = await loadAdapter('adapter.safetensors', {signal, onProgress, maxBytes: undefined});
  await combineAdapters(adapter, {rank, signal});
  await loadTransformer('model', {signal, labels: undefined, preprocessor: undefined, tokenizer: false});
  progress({label: undefined, onProgress: undefined});
  return applyLoRA(base, {rank, seed, targets: undefined, overrides: [{targets: ['q'], rank}]});
}

export function answer(model: tf.LayersModel, tokenizer: Tokenizer, {seed, signal}: Settings): AsyncGenerator<string> {
  return generate(model, tokenizer, [{role: 'user', content: 'Hi'}], {seed, signal, stop: undefined});
}
