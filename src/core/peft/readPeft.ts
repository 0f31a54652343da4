import {kindOf, listed, LoRAError, notFoundError} from '../../platform/errors';
import {checkLimits, type LoadOptions} from '../storage/limits';
import {bytesOf, type ByteSource} from '../storage/sources';
import {PEFT_FILES, type PEFTFiles} from './files';

/** The two files of a PEFT adapter. */
export interface PEFTSources {
  /** `adapter_config.json`. */
  config: ByteSource | PromiseLike<ByteSource>;
  /** `adapter_model.safetensors`. */
  weights: ByteSource | PromiseLike<ByteSource>;
}

/**
 * The two files of a PEFT adapter, for `importPEFT`.
 *
 *     importPEFT(await readPEFT(input.files), model)
 *     const config = fetch(`${url}/adapter_config.json`);
 *     const weights = fetch(`${url}/adapter_model.safetensors`);
 *     importPEFT(await readPEFT({config, weights}), model)
 *
 * @param sources the two, or files among which those of their names are.
 * @throws LoRAError if one is missing, a response is no success, or one has more bytes than are allowed.
 */
export async function readPEFT(sources: PEFTSources | ArrayLike<File>, options: LoadOptions = {}): Promise<PEFTFiles> {
  checkLimits(options);
  if (typeof sources !== 'object' || (sources as unknown) === null) {
    throw new LoRAError(
      `Give the two files of a PEFT adapter, {config, weights}, or files among which they are, got ${kindOf(sources)}.`,
    );
  }
  const {config, weights} = 'length' in sources ? amongFiles(Array.from(sources)) : sources;
  const [configBytes, weightBytes] = await Promise.all([config, weights].map(source => bytesOf(source, options)));
  return {config: new TextDecoder().decode(configBytes), weights: weightBytes as Uint8Array};
}

function amongFiles(files: readonly File[]): PEFTSources {
  const named = (wanted: string) => {
    const file = files.find(({name}) => name === wanted);
    if (file === undefined) {
      throw notFoundError(
        `There is no ${wanted} among the files: ${listed(files.map(({name}) => name)) || 'there are none'}.`,
      );
    }
    return file;
  };
  return {config: named(PEFT_FILES.config), weights: named(PEFT_FILES.weights)};
}
