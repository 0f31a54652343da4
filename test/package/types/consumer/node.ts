// What a program in Node writes.

import type * as tf from '@tensorflow/tfjs';
import {applyLoRA, exportPEFT, fileHandler, loadAdapter, saveAdapter} from 'tfjs-lora';

export async function convert(base: tf.LayersModel, folder: string): Promise<tf.io.SaveResult> {
  const adapter = await loadAdapter(folder, {model: base});
  await exportPEFT(base, {adapter});
  await saveAdapter(adapter, 'out', {format: 'peft', model: base});
  const model = applyLoRA(base, adapter);
  const handler: tf.io.IOHandler = fileHandler('adapter.json');
  return saveAdapter(model, handler);
}
