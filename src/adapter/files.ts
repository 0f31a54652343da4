import {randomUUID} from 'node:crypto';
import {renameSync} from 'node:fs';
import {mkdir, open, readFile, rm} from 'node:fs/promises';
import {dirname} from 'node:path';
import {show} from '../config';
import {LoRAError} from '../errors';

/** @throws LoRAError if it is no path. */
export function checkPath(path: unknown): void {
  if (typeof path !== 'string' || path === '') {
    throw new LoRAError(`A path is needed, such as './out/emoji', got ${show(path)}.`);
  }
}

/**
 * The bytes of a file.
 *
 * @param advice what to do if there is none.
 * @throws LoRAError if it cannot be read.
 */
export async function read(file: string, advice: string): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    const what = missing ? `There is no file ${file}.` : `Cannot read ${file}: ${(error as Error).message}.`;
    throw new LoRAError(`${what} ${advice}`);
  }
}

/**
 * Puts files in place of earlier ones: all are written beside them first, and then renamed one after the other. Until all bytes are on disk
 * the earlier files are whole, and a failure leaves nothing behind. Folders are made as needed.
 *
 * @throws LoRAError if they cannot be written.
 */
export async function writeAtomically(
  files: readonly (readonly [path: string, data: Uint8Array | string])[],
): Promise<void> {
  const drafts = files.map(([path]) => `${path}.${randomUUID()}`);
  try {
    for (const [i, [path, data]] of files.entries()) {
      await mkdir(dirname(path), {recursive: true});
      await writeThrough(drafts[i] ?? '', data);
    }
    files.forEach(([path], i) => renameSync(drafts[i] ?? '', path));
  } catch (error) {
    throw new LoRAError(`Cannot save ${files.map(([path]) => path).join(', ')}: ${(error as Error).message}`, {
      cause: error,
    });
  } finally {
    // Settled, since the error that led here is the one to be told.
    await Promise.allSettled(drafts.map(draft => rm(draft, {force: true})));
  }
}

/** Writes a file and waits until the disk has it: a rename must not overtake the bytes that it names. */
export async function writeThrough(file: string, data: Uint8Array | string): Promise<void> {
  const handle = await open(file, 'wx');
  try {
    await handle.writeFile(data);
    await handle.sync();
  } finally {
    await handle.close();
  }
}
