import * as tf from '@tensorflow/tfjs';
import type {Adapter} from '../core/adapter/adapter';
import {exportPEFT} from '../core/peft/exchange';
import type {SavePEFTOptions} from '../core/peft/saveAdapter';
import {checkOptions, kindOf, LoRAError} from '../platform/errors';
import {checkPath, pathOf} from './files';
import {writePEFTFolder} from './peftFolder';

/**
 * Saves an adapter as a folder that `PeftModel.from_pretrained` loads. Both files are replaced or none, also when the
 * process is killed or another one saves there too.
 *
 * @throws LoRAError as `saveAdapter`. The options are checked before anything is written.
 */
export async function savePEFT(
  source: tf.LayersModel | Adapter,
  place: string,
  options: SavePEFTOptions,
): Promise<tf.io.SaveResult> {
  checkOptions(options, {
    ...{format: true, model: true, readme: true, keyMap: true, baseModel: true},
    ...{dtype: true, allowNonFinite: true, signal: true, onProgress: true},
  });
  const {format: _, model, readme, ...exportOptions} = options;
  const folder = pathOf(place);
  checkPath(folder);
  if (/\.(?:safetensors|json)$/i.test(folder)) {
    throw new LoRAError(
      `The format "peft" is a folder of two files, and "${folder}" is the name of one. Pass a folder.`,
    );
  }
  if (readme !== undefined && typeof readme !== 'string') {
    throw new LoRAError(`readme must be the text of README.md, got ${kindOf(readme)}.`);
  }
  const files = await exportPEFT(...exportedOf(source, model, exportOptions));
  await writePEFTFolder({...files, ...(readme !== undefined && {readme})}, folder);
  return {
    modelArtifactsInfo: {dateSaved: new Date(), modelTopologyType: 'JSON', weightDataBytes: files.weights.length},
  };
}

/** What `exportPEFT` takes for a model, or for an adapter and the model that it belongs to. */
function exportedOf(
  source: tf.LayersModel | Adapter,
  model: tf.LayersModel | undefined,
  exportOptions: Omit<SavePEFTOptions, 'format' | 'model' | 'readme'>,
): Parameters<typeof exportPEFT> {
  const isModel = source instanceof tf.layers.Layer;
  if (isModel && model !== undefined) {
    throw new LoRAError('model is the base of an adapter that is saved, and here a model is. Leave model out.');
  }
  if (isModel) {
    return [source, exportOptions];
  }
  if (model === undefined) {
    throw new LoRAError(
      'PEFT stores an adapter under the names of modules. Pass the model that it belongs to: saveAdapter(adapter, ' +
        "folder, {format: 'peft', model}).",
    );
  }
  return [model, {...exportOptions, adapter: source}];
}
