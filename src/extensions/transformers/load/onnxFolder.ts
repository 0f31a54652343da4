import type * as tf from '@tensorflow/tfjs';
import {LoRAError, misfitError} from '../../../platform/errors';
import type {FileBytes} from '../../../platform/formats/encodeSafetensors';
import {type FolderOptions, supplyFolderWriter} from '../../onnx/export/folder';
import {hubRecordOf} from '../net/hubRecord';
import {isDecoder} from './isDecoder';
import {languageFacts} from './languageFacts';
import {configText} from './configText';
import {tokenizerFiles} from './peers';
import {recordedModel} from './recordedModel';

/**
 * The files that transformers.js loads of an encoder or a language model, by their paths.
 *
 * @throws LoRAError if the model takes sounds or has no config, or a layer cannot be written.
 */
async function onnxFolder(
  model: tf.LayersModel,
  {merge = true, ...folderOptions}: FolderOptions,
): Promise<Record<string, string | FileBytes>> {
  if (!merge) {
    const {folderBeside} = await import('./folderBeside');
    return folderBeside(model, folderOptions, onnxFolder);
  }
  const {tokenizer, mode: _mode, ...options} = folderOptions;
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
  const {record, architecture, purpose, config: hubConfig} = await recordedModel(model);
  const {torch_dtype: _type, ...config} = record.config as Record<string, unknown>;
  if (purpose.head === 'tokens' && architecture.takes === undefined && isDecoder(model)) {
    const {decoderFiles} = await import('./decoderFiles');
    const {files, config: added} = await decoderFiles(model, architecture.positions?.(hubConfig) ?? 0, options);
    const {ends = [], template} = languageFacts(model);
    const {bos_token_id, pad_token_id} = config;
    return {
      'config.json': configText({...config, ...added}),
      'generation_config.json': configText({bos_token_id, eos_token_id: ends, pad_token_id}),
      ...files,
      ...withTemplate(tokenizerTexts, template),
    };
  }
  const takes = architecture.takes?.(purpose.head) ?? 'texts';
  if (takes === 'speech' && purpose.head === 'tokens') {
    const {speechFiles} = await import('./speechFiles');
    const positions = architecture.positions?.(hubConfig) ?? 0;
    const {files, config: added} = await speechFiles(model, positions, config, options);
    return {'config.json': configText({...config, ...added}), ...files, ...tokenizerTexts};
  }
  const {onnxFiles} = await import('./onnxFiles');
  const written = await onnxFiles(model, {purpose, takes, modelType: String(config.model_type)}, options);
  return {'config.json': configText(config), ...written, ...tokenizerTexts};
}

/** The files of a tokenizer, with the chat template where transformers.js reads it. */
function withTemplate(texts: Record<string, string>, template: string | undefined): Record<string, string> {
  const name = 'tokenizer_config.json';
  const config = texts[name];
  return config === undefined || template === undefined
    ? texts
    : {...texts, [name]: JSON.stringify({...(JSON.parse(config) as object), chat_template: template})};
}

supplyFolderWriter(onnxFolder);
