import * as tf from '@tensorflow/tfjs';
import {applyLoRA, exportPEFT, getAdapter} from '../../../src';

const {layers} = tf;
export const base = tf.sequential({
  layers: [
    layers.dense({name: 'layer_0_query', units: 4, inputShape: [3]}),
    layers.dense({name: 'layer_0_norm', units: 4}),
    layers.dense({name: 'head', units: 2}),
  ],
});
export const url = 'https://example.com/adapter';

const input: Pick<HTMLInputElement, 'files' | 'onchange'> = {files: null, onchange: null};
export const document: {querySelector(selectors: string): HTMLInputElement | null} = {
  querySelector: () => input as HTMLInputElement,
};

/** The files of an adapter; they are made before the page runs. */
let adapterFiles: Awaited<ReturnType<typeof makeFiles>>;

async function makeFiles() {
  const adapter = getAdapter(applyLoRA(base, {rank: 2, targets: ['layer_0_query']}));
  const {config, weights} = await exportPEFT(base, {adapter, keyMap: {'encoder.layer.*.attention.*': 'layer_*_*'}});
  return {config: JSON.stringify(config), weights};
}

export async function files() {
  adapterFiles = await makeFiles();
  const {config, weights} = adapterFiles;
  return Object.fromEntries<string | Uint8Array>(
    ['trained-in-python', url].flatMap((folder): [string, string | Uint8Array][] => [
      [`${folder}/adapter_config.json`, config],
      [`${folder}/adapter_model.safetensors`, weights],
    ]),
  );
}

/** A user chooses both files. */
export async function afterwards(): Promise<void> {
  const {config, weights} = adapterFiles;
  await (input.onchange as () => Promise<void>)();
  input.files = [
    new File([config], 'adapter_config.json'),
    new File([weights], 'adapter_model.safetensors'),
  ] as unknown as FileList;
  await (input.onchange as () => Promise<void>)();
}
