// What a program in Node writes.

import type * as tf from '@tensorflow/tfjs';
import {applyLoRA, exportPEFT, fileHandler, importPEFT, saveAdapter, writePEFTFolder} from 'tfjs-lora/node';

export async function convert(base: tf.LayersModel, folder: string): Promise<tf.io.SaveResult> {
  const adapter = await importPEFT(folder, base);
  await writePEFTFolder(await exportPEFT(base, {adapter}), 'out');
  const model = applyLoRA(base, adapter);
  const handler: tf.io.IOHandler = fileHandler('adapter.json');
  return saveAdapter(model, handler);
}
