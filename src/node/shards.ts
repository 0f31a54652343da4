import {realpath, stat} from 'node:fs/promises';
import {dirname, isAbsolute, relative, resolve} from 'node:path';
import {damagedError, listed, LoRAError} from '../platform/errors';
import {read, unreadable} from './files';

/** Files whose bytes, one after the other, are weights. */
interface Shards {
  paths: readonly string[];
  /** How many bytes they should have together, if that is known. */
  size: number | undefined;
}

/**
 * Reads the files that a JSON names as its weights: only files in its own folder, each once, and none before it is
 * clear that all of them have the sizes that they should have.
 *
 * @returns for each group its bytes.
 * @throws LoRAError if that is not so, or a file cannot be read.
 */
export async function readShards(json: string, groups: readonly Shards[]): Promise<Uint8Array[]> {
  const folders = [await realpath(dirname(json)), dirname(await realpath(json))]; // a cache may link to the JSON
  const seen = new Set<string>();
  const plans: {paths: readonly string[]; files: string[]; size: number}[] = [];
  for (const {paths, size} of groups) {
    const files: string[] = [];
    let present = 0;
    for (const path of paths) {
      const file = await locate(json, path, folders);
      const info = await stat(file, {bigint: true});
      if (!info.isFile()) {
        throw unreadable(file, new Error('it is not a file'), adviceFor(json));
      }
      const identity = `${info.dev}:${info.ino}`;
      if (seen.has(identity)) {
        throw damagedError(`${json} is damaged: it names the weights file "${path}" twice.`);
      }
      seen.add(identity);
      files.push(file);
      present += Number(info.size);
    }
    if (size !== undefined && size !== present) {
      throw damaged(json, paths, `should have ${size} bytes but has ${present}`);
    }
    plans.push({paths, files, size: present});
  }
  const results: Uint8Array[] = [];
  for (const {paths, files, size} of plans) {
    const bytes = new Uint8Array(size);
    let offset = 0;
    for (const file of files) {
      const fileBytes = await read(file, adviceFor(json));
      if (offset + fileBytes.length > size) {
        throw damaged(json, paths, 'grew while it was read');
      }
      bytes.set(fileBytes, offset);
      offset += fileBytes.length;
    }
    results.push(bytes.subarray(0, offset));
  }
  return results;
}

/** The error for weights that are not those that the JSON describes. */
export function damaged(json: string, paths: readonly string[], what: string): LoRAError {
  return damagedError(
    `The weights of ${json} are damaged: ${listed(paths, 5)} ${what}. Copy the weights again from where the JSON ` +
      'came from.',
  );
}

function adviceFor(json: string): string {
  return `${json} names it: put the weights beside the JSON.`;
}

/** Where a weights file really is. An untrusted model must not name, or link to, files elsewhere. */
async function locate(json: string, path: string, folders: readonly string[]): Promise<string> {
  const folder = resolve(dirname(json));
  const named = resolve(folder, path);
  if (isAbsolute(path) || !isInside(named, folder)) {
    throw outside(json, path);
  }
  let file: string;
  try {
    file = await realpath(named);
  } catch (error) {
    throw unreadable(named, error, adviceFor(json));
  }
  if (!folders.some(parent => isInside(file, parent))) {
    throw outside(json, path);
  }
  return file;
}

function isInside(file: string, folder: string): boolean {
  const inside = relative(folder, file);
  return !isAbsolute(inside) && inside !== '' && !/^\.\.(?:[\\/]|$)/.test(inside);
}

function outside(json: string, path: string): LoRAError {
  return damagedError(
    `${json} names the weights file "${path}", which is not inside its own folder. Put the weights beside the JSON ` +
      'and name them relative to it.',
  );
}
