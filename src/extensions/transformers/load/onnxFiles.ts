import type * as tf from '@tensorflow/tfjs';
import {misfitError, unsupportedError} from '../../../platform/errors';
import type {FileBytes} from '../../../platform/formats/encodeSafetensors';
import {whileMerged} from '../../../core/model/whileMerged';
import {type Interface, writeModel, type WriteModelOptions} from '../../onnx/export/writeModel';
import {isDecoder} from './isDecoder';
import {loadedPreprocessor} from '../net/preprocessorKey';
import {LearnedQuery} from '../layers/pairLayers';
import type {Purpose, Takes} from '../net/architecture';

/** The properties of a model that determine its inputs and outputs. */
interface Described {
  purpose: Purpose;
  takes: Takes;
  modelType: string;
}

/**
 * The files of an encoder that transformers.js reads in addition to its config, by their paths.
 *
 * @throws LoRAError if the model generates text, or a layer cannot be written.
 */
export async function onnxFiles(
  model: tf.LayersModel,
  described: Described,
  options: WriteModelOptions,
): Promise<Record<string, string | FileBytes>> {
  checkEncoder(model, described);
  const {file} = await whileMerged(model, plain =>
    writeModel(plain, options, {inputs: inputsOf(plain, described.takes), outputs: outputsOf(plain, described)}),
  );
  const preprocessor = loadedPreprocessor(model);
  return {
    'onnx/model.onnx': file,
    ...(preprocessor !== undefined && {'preprocessor_config.json': `${JSON.stringify(preprocessor, null, 2)}\n`}),
  };
}

function checkEncoder(model: tf.LayersModel, {takes, modelType}: Described): void {
  if (!['texts', 'images', 'pairs'].includes(takes)) {
    throw unsupportedError(
      `Models of sound, such as those of model_type ${modelType}, cannot be written with {folder: true}.`,
    );
  }
  // The text encoders of CLIP and SigLIP are causal, like language models.
  if (isDecoder(model) && !/^(?:clip|siglip)/.test(modelType)) {
    throw unsupportedError(
      `Models of model_type ${modelType} read texts in one direction and give no next tokens. Encoders and language ` +
        'models can be written with {folder: true}. toONNX(model) writes this one as one file.',
    );
  }
  if (model.outputs.length > 1) {
    throw misfitError('The model has several outputs, and its config one.');
  }
}

/** Token ids are whole numbers of 64 bits, and images have their channels first. */
function inputsOf(model: tf.LayersModel, takes: Described['takes']): NonNullable<Interface['inputs']> {
  const isPair = takes === 'pairs';
  return model.inputs.map(({shape}, i) => {
    const name = model.inputNames[i] ?? '';
    if (/^(?:pixel|spatial)_/.test(name)) {
      const images = isPair ? 'images' : 'batch';
      return shape.length === 4
        ? {name, channelsFirst: true, axes: [images, 'height', 'width']}
        : {name, ...(name !== 'pixel_values' && {type: INT64}), axes: [images, 'patches']};
    }
    const batch = isPair ? 'texts' : 'batch';
    return {name, type: INT64, axes: shape.length === 3 ? [batch, 'choices', 'sequence'] : [batch, 'sequence']};
  });
}

const INT64 = 7;

/** The outputs under the names that transformers.js reads. */
function outputsOf(model: tf.LayersModel, {purpose, takes}: Described): NonNullable<Interface['outputs']> {
  const [tensor] = model.outputs as [tf.SymbolicTensor];
  const {head, pooling} = purpose;
  switch (head) {
    case 'none': {
      const states = pooling === 'none' ? tensor : statesBefore(tensor);
      const outputName = takes === 'images' || pooling === 'pooler' ? 'pooler_output' : 'sentence_embedding';
      const pooled = states === tensor ? [] : [{name: outputName, tensor}];
      return [...(states === undefined ? [] : [{name: 'last_hidden_state', tensor: states}]), ...pooled];
    }
    case 'spans':
      return [
        {name: 'start_logits', tensor, index: 0},
        {name: 'end_logits', tensor, index: 1},
      ];
    case 'projection':
      return [{name: takes === 'images' ? 'image_embeds' : 'text_embeds', tensor}];
    case 'pairs':
      return [{name: 'logits_per_image', tensor, isPaired: true}];
    default:
      return [{name: 'logits', tensor}];
  }
}

/**
 * The states of all positions that an output is computed from: those that a learned query attends to, or else the
 * closest tensor of three axes before the output.
 */
function statesBefore(output: tf.SymbolicTensor): tf.SymbolicTensor | undefined {
  const seen = new Set([output]);
  for (const tensor of seen) {
    tensor.inputs.forEach(input => seen.add(input)); // goes on with what it was given
  }
  const all = [...seen];
  const query = all.find(({sourceLayer}) => sourceLayer.getClassName() === LearnedQuery.className);
  return query?.inputs[0] ?? all.find(({shape}) => shape.length === 3);
}
