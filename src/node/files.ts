import {renameSync} from 'node:fs';
import {constants, mkdir, open, stat} from 'node:fs/promises';
import {basename, dirname} from 'node:path';
import {fileURLToPath} from 'node:url';
import {ioError, LoRAError, messageOf, notFoundError, prefixed, show} from '../platform/errors';
import {formatError} from '../platform/formats/explained';
import {FORMAT_BYTES, otherFormat} from '../platform/formats/otherFormats';
import {draftOf, findSpares, removeAll} from './drafts';

/** Windows has no such flag. */
const {O_NONBLOCK: NOT_WAITING = 0} = constants as Partial<typeof constants>;

/** @throws LoRAError if it is no path. */
export function checkPath(path: unknown): void {
  if (typeof path !== 'string' || path === '') {
    throw new LoRAError(`The path must be a string such as './out/emoji', got ${show(path)}.`);
  }
}

/**
 * The path of a file's URL. In the names of files `?` and `#` are ordinary characters.
 *
 * @throws LoRAError if it is not a valid one.
 */
function pathOfURL(url: string): string {
  try {
    return fileURLToPath(url.replace(/[?#]/g, encodeURIComponent));
  } catch (error) {
    throw new LoRAError(`"${url}" is not a valid file URL. Pass the plain path instead.`, {cause: error});
  }
}

/**
 * The path that a URL of a file or a path names. A URL with two slashes names a relative path, as in tfjs-node.
 *
 * @throws LoRAError if it is not a valid one.
 */
export function pathOf(place: string): string {
  const relative = /^file:\/\/(?!\/)(.*)$/s.exec(place)?.[1];
  return relative ?? (place.startsWith('file:') ? pathOfURL(place) : place);
}

/** @throws Error if what is at a path is not a file. What is not may never end. */
export function checkIsFile(info: {isFile(): boolean}): void {
  if (!info.isFile()) {
    throw new Error('it is not a file');
  }
}

/**
 * The bytes of a file.
 *
 * @param advice what to do if it is missing.
 * @throws LoRAError if it cannot be read or is no file.
 */
export async function read(file: string, advice: string): Promise<Buffer> {
  try {
    return await readBytes(file);
  } catch (error) {
    throw (await formatOf(dirname(file), error)) ?? unreadable(file, error, advice);
  }
}

/** The error for a file that is not the folder that it was taken for, if its first bytes say what it is. */
async function formatOf(file: string, error: unknown): Promise<LoRAError | undefined> {
  if ((error as NodeJS.ErrnoException).code !== 'ENOTDIR') {
    return undefined;
  }
  const handle = await open(file, constants.O_RDONLY | NOT_WAITING);
  try {
    const {buffer, bytesRead} = await handle.read(Buffer.alloc(FORMAT_BYTES), 0, FORMAT_BYTES, 0);
    const other = otherFormat(buffer.subarray(0, bytesRead), 'a folder with a model.json');
    return other && prefixed(`${file}: `, formatError(other));
  } catch {
    return undefined;
  } finally {
    await handle.close();
  }
}

/** As `read`, but `undefined` if there is no such file. */
export async function readIfThere(file: string, advice: string): Promise<Buffer | undefined> {
  try {
    return await readBytes(file);
  } catch (error) {
    if (isMissing(error)) {
      return undefined;
    }
    throw unreadable(file, error, advice);
  }
}

async function readBytes(file: string): Promise<Buffer> {
  // A pipe that nobody writes to would not even open.
  const handle = await open(file, constants.O_RDONLY | NOT_WAITING);
  try {
    checkIsFile(await handle.stat());
    return await handle.readFile();
  } finally {
    await handle.close();
  }
}

function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ENOENT';
}

/** The error for a file that cannot be read. */
export function unreadable(file: string, error: unknown, advice: string): LoRAError {
  if ((error as NodeJS.ErrnoException).code === 'ENOTDIR') {
    return ioError(`${dirname(file)} is a file, and not a folder with a ${basename(file)}. ${advice}`, {cause: error});
  }
  return isMissing(error)
    ? notFoundError(`There is no file ${file}. ${advice}`, {cause: error})
    : ioError(`Cannot read ${file}: ${messageOf(error)}. ${advice}`, {cause: error});
}

/** Whether there is a folder of that name. */
export async function isFolder(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch {
    return false;
  }
}

/**
 * Replaces a file: the new one is written next to it, and renamed when it is completely on disk. A failure leaves
 * nothing behind. The folder is made as needed, and what killed saves left is removed.
 *
 * @throws LoRAError if it cannot be written.
 */
export async function replaceFile(file: string, data: Uint8Array): Promise<void> {
  const draft = draftOf(file);
  try {
    await mkdir(dirname(file), {recursive: true});
    await writeThrough(draft, data);
    renameSync(draft, file);
  } catch (error) {
    await removeAll([draft]);
    throw ioError(`Cannot save ${file}: ${messageOf(error)}`, {cause: error});
  }
  await removeAll(await findSpares(file));
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
