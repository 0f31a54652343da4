/** What PEFT calls its files. */
export const PEFT_FILES = {config: 'adapter_config.json', weights: 'adapter_model.safetensors'} as const;

/** A PEFT adapter, as its two files hold it. */
export interface PEFTFiles {
  /** `adapter_config.json`: the text, or the object that it holds. */
  config: string | Readonly<Record<string, unknown>>;
  /** The bytes of `adapter_model.safetensors`. */
  weights: Uint8Array;
}
