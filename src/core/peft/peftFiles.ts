import {LoRAError} from '../../platform/errors';

/** What PEFT calls its files. */
export const PEFT_FILES = {config: 'adapter_config.json', weights: 'adapter_model.safetensors'} as const;

/** A PEFT adapter, as its two files hold it. */
export interface PEFTFiles {
  /** `adapter_config.json`: the text, or the object that it holds. */
  config: string | Readonly<Record<string, unknown>>;
  /** The bytes of `adapter_model.safetensors`. */
  weights: Uint8Array;
}

/** @throws LoRAError if one of the files is missing. */
export function checkFiles(files: unknown): void {
  const {config, weights} = (files ?? {}) as {config?: unknown; weights?: unknown};
  if (config == null || weights == null) {
    throw new LoRAError('The two files of a PEFT adapter are needed, {config, weights}, such as exportPEFT returns.');
  }
}
