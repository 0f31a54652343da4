import * as tf from '@tensorflow/tfjs';
import {applyLoRA, toSafetensors} from '../../../src';
import {modelFiles} from '../makeFiles';

const plain = tf.sequential({layers: [tf.layers.dense({units: 2, inputShape: [3]})]});
export const model = applyLoRA(plain, {rank: 1});
export const signal = new AbortController().signal;

const input: Pick<HTMLInputElement, 'files' | 'onchange'> = {files: null, onchange: null};
export const document: {querySelector(selectors: string): HTMLInputElement | null} = {
  querySelector: () => input as HTMLInputElement,
};

const bytes = () => toSafetensors(model);

export async function files() {
  return {'https://example.com/emoji.safetensors': await bytes(), ...(await modelFiles('model', plain))};
}

/** A user chooses a file. */
export async function afterwards(): Promise<void> {
  const file = new File([await bytes()], 'emoji.safetensors');
  await (input.onchange as () => Promise<void>)();
  input.files = [file] as unknown as FileList;
  await (input.onchange as () => Promise<void>)();
}
