import {existsSync} from 'node:fs';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {cached, install} from '../../scripts/graphModels/cache';
import type {AdapterInputs} from './swapAdapters';

/** Where the example writes the folder of the model, with the adapters in `adapters.json`. */
export const OUTPUT = fileURLToPath(new URL('output/', import.meta.url));

/** The folder of transformers.js, which npm downloads to a cache outside of the repository. */
export function transformersJs(): string {
  install(['@huggingface/transformers@4.3.2']);
  return cached('@huggingface/transformers/dist');
}

/** The folder of the version of onnxruntime-web that transformers.js depends on. */
export function runtime(): string {
  const own = join(transformersJs(), '../node_modules/onnxruntime-web/dist');
  return existsSync(own) ? own : cached('onnxruntime-web/dist');
}

/** Adapters as JSON, by their names. */
export function packed(adapters: Readonly<Record<string, AdapterInputs>>): string {
  return JSON.stringify(adapters, (_, value: unknown) =>
    ArrayBuffer.isView(value)
      ? Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64')
      : value,
  );
}
