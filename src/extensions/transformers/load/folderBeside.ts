import type * as tf from '@tensorflow/tfjs';
import {unsupportedError} from '../../../platform/errors';
import type {FileBytes} from '../../../platform/formats/encodeSafetensors';
import {getAdapter} from '../../../core/model/currentAdapter';
import {removeLoRA} from '../../../core/model/restore';
import {disposeModel} from '../../../core/rewire/dispose';
import {adaptFile} from '../../onnx/adapt/adaptFile';
import type {WriteFolder} from '../../onnx/export/folder';
import {configText} from './configText';

/**
 * Writes the folder of an adapted model's base, with the adapter beside the products of its graph, as `adaptONNX` puts
 * it there.
 *
 * @throws LoRAError `ERR_NOT_ADAPTED` if the model is not adapted; also what `adaptONNX` throws.
 */
export async function folderBeside(
  model: tf.LayersModel,
  {mode = 'inputs', ...options}: Parameters<WriteFolder>[1],
  write: WriteFolder,
): Promise<Record<string, string | FileBytes>> {
  const base = removeLoRA(model);
  const adapter = getAdapter(model);
  try {
    const files = await write(base, options);
    const [path = '', ...otherGraphs] = Object.keys(files).filter(name => name.endsWith('.onnx'));
    if (otherGraphs.length > 0) {
      throw unsupportedError(
        `{merge: false} is for models of one graph, and this model has ${[path, ...otherGraphs].join(' and ')}. ` +
          "adaptONNX adapts each of them: pass the path of its modules, such as {prefix: 'model.encoder'}.",
      );
    }
    const count = Object.keys(files).filter(name => name.startsWith(`${path}_data`)).length;
    const dataPath = `${path}_data${count === 0 ? '' : `_${count}`}`;
    const {signal, allowNonFinite} = options;
    const {file, data} = await adaptFile(files[path] as FileBytes, adapter, {
      mode,
      dataFile: dataPath.slice(dataPath.lastIndexOf('/') + 1),
      ...(signal && {signal}),
      ...(allowNonFinite !== undefined && {allowNonFinite}),
    });
    if (mode === 'inputs') {
      return {...files, [path]: file};
    }
    const config = JSON.parse(files['config.json'] as string) as Record<string, object | undefined>;
    const settings = {...config['transformers.js_config'], use_external_data_format: count + 1};
    const text = configText({...config, 'transformers.js_config': settings});
    return {...files, 'config.json': text, [path]: file, [dataPath]: data};
  } finally {
    adapter.dispose();
    disposeModel(base);
  }
}
