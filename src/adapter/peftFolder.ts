import {join} from 'node:path';
import {checkFiles, PEFT_FILES, type PEFTFiles} from '../formats/peft';
import {checkPath, read, writeAtomically} from './files';

/**
 * The files of a PEFT adapter in a folder as `save_pretrained` makes it, for `importPEFT`.
 *
 *     const adapter = importPEFT(await readPEFTFolder('out/emoji'), base);
 *
 * @throws LoRAError if one of them is missing.
 */
export async function readPEFTFolder(folder: string): Promise<PEFTFiles> {
  checkPath(folder);
  const advice = `A PEFT adapter is ${PEFT_FILES.config} and ${PEFT_FILES.weights} in one folder.`;
  const [config, weights] = await Promise.all(
    [PEFT_FILES.config, PEFT_FILES.weights].map(name => read(join(folder, name), advice)),
  );
  return {config: new TextDecoder().decode(config), weights: weights as Uint8Array};
}

/**
 * Writes what `exportPEFT` made as a folder that `PeftModel.from_pretrained` loads. Both files are written in full before either takes its
 * place.
 *
 *     await writePEFTFolder('out/emoji', await exportPEFT(adapter, base));
 *
 * @throws LoRAError if they cannot be written. Then earlier files are as they were.
 */
export async function writePEFTFolder(folder: string, files: PEFTFiles): Promise<void> {
  checkPath(folder);
  checkFiles(files);
  const {config, weights} = files;
  const text = typeof config === 'string' ? config : JSON.stringify(config, null, 2);
  await writeAtomically([
    [join(folder, PEFT_FILES.weights), weights],
    [join(folder, PEFT_FILES.config), text],
  ]);
}
