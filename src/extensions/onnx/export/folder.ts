import type * as tf from '@tensorflow/tfjs';
import {misfitError} from '../../../platform/errors';
import type {FileBytes} from '../../../platform/formats/encodeSafetensors';
import type {WriteModelOptions} from './writeModel';

/** How a folder is written. */
export interface FolderOptions extends WriteModelOptions {
  tokenizer?: unknown;
  merge?: boolean;
  mode?: 'inputs' | 'data';
}

/** Writes the files of a model's folder, by their paths. */
export type WriteFolder = (
  model: tf.LayersModel,
  options: FolderOptions,
) => Promise<Record<string, string | FileBytes>>;

let write: WriteFolder | undefined;

/** Supplies how an extension writes the folders of its models. */
export function supplyFolderWriter(writer: WriteFolder): void {
  write = writer;
}

/** @throws LoRAError `ERR_MISFIT` if the model has no config that such a folder needs. */
export const writeFolder: WriteFolder = async (model, options) => {
  if (write === undefined) {
    throw misfitError(
      "{folder: true} writes encoders and language models by 'tfjs-lora/transformers', which is not imported: " +
        "import 'tfjs-lora/transformers'. toONNX(model) writes any model as one file.",
    );
  }
  return write(model, options);
};
