import type * as tf from '@tensorflow/tfjs';
import {LoRAError, misfitError} from '../../../platform/errors';
import type {FileBytes} from '../../../platform/formats/encodeSafetensors';
import {type FolderOptions, supplyFolderWriter} from '../../onnx/export/folder';
import {hubRecordOf} from '../net/hubRecord';
import {configText} from './configText';
import {tokenizerFiles} from './peers';
import {recordedModel} from './recordedModel';

/**
 * The files that transformers.js loads of an encoder, by their paths.
 *
 * @throws LoRAError if the model generates text, takes sounds, or has no config, or a layer cannot be written.
 */
async function onnxFolder(
  model: tf.LayersModel,
  {tokenizer, ...options}: FolderOptions,
): Promise<Record<string, string | FileBytes>> {
  const tokenizerTexts = tokenizer === undefined ? {} : tokenizerFiles(tokenizer);
  if (tokenizerTexts === undefined) {
    throw new LoRAError('tokenizer must be one that loadTransformer gave.');
  }
  if (hubRecordOf(model) === undefined) {
    throw misfitError(
      'The model has no record of its config, which transformers.js needs. Models of loadTransformer have one. ' +
        'toONNX(model) without {folder: true} writes any model as one file.',
    );
  }
  const {record, architecture, purpose} = await recordedModel(model);
  const {torch_dtype: _, ...config} = record.config as Record<string, unknown>;
  const takes = architecture.takes?.(purpose.head) ?? 'texts';
  const {onnxFiles} = await import('./onnxFiles');
  const written = await onnxFiles(model, {purpose, takes, modelType: String(config.model_type)}, options);
  return {'config.json': configText(config), ...written, ...tokenizerTexts};
}

supplyFolderWriter(onnxFolder);
