// What a program writes whose TypeScript knows `Symbol.dispose`.

import type * as tf from '@tensorflow/tfjs';
import {type Adapter, getAdapter, toSafetensors} from 'tfjs-lora';

export async function bytesOf(model: tf.LayersModel): Promise<Uint8Array> {
  using adapter: Adapter = getAdapter(model);
  return await toSafetensors(adapter);
}
