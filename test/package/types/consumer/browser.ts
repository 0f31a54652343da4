// What a page writes.

import * as tf from '@tensorflow/tfjs';
import {
  type Adapter,
  applyLoRA,
  type FileBytes,
  getAdapter,
  loadAdapter,
  LoRAError,
  mergeLoRA,
  saveAdapter,
  summarizeLoRA,
  toSafetensors,
} from 'tfjs-lora';
import {digitReader, rotatedDigits} from 'tfjs-lora/quickstart';

export async function adapt(base: tf.LayersModel, url: string): Promise<Blob> {
  const model: tf.LayersModel = applyLoRA(base, {rank: 8, targets: ['dense_1', /^block/, 'Conv2D']});
  model.compile({optimizer: tf.train.adam(1e-3), loss: 'meanSquaredError'});
  await saveAdapter(model, url);
  const adapter: Adapter = getAdapter(model);
  const bytes: FileBytes = await toSafetensors(adapter, {dtype: 'float16'});
  const asArray: Uint8Array = bytes;
  console.log(String(summarizeLoRA(model)), asArray.length);
  adapter.dispose();
  const plain: tf.LayersModel = mergeLoRA(applyLoRA(base, await loadAdapter(url)));
  plain.dispose();
  return new Blob([bytes]);
}

export function refusal(f: () => void): string {
  try {
    f();
    return '';
  } catch (error) {
    return error instanceof LoRAError ? error.message : 'another error';
  }
}

// @ts-expect-error: an option that does not exist
export const misspelt = (base: tf.LayersModel) => applyLoRA(base, {rnk: 8});

// @ts-expect-error: a method that does not exist
export const misspeltMethod = (base: tf.LayersModel) => applyLoRA(base, {method: 'drora'});

// @ts-expect-error: an object that is no config
export const wrongConfig = (base: tf.LayersModel) => applyLoRA(base, new Date());

export async function first(): Promise<tf.LayersModel> {
  const {images, labels} = rotatedDigits();
  const model: tf.LayersModel = applyLoRA(digitReader(), {rank: 8});
  model.compile({optimizer: 'adam', loss: 'categoricalCrossentropy'});
  await model.fit(images, labels);
  return mergeLoRA(model);
}
