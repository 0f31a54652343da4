import {readdir, readFile, rm, stat} from 'node:fs/promises';
import {homedir} from 'node:os';
import {join} from 'node:path';
import type {HubStore} from '../core/storage/hub/settings';
import {isWriterGone} from './drafts';
import {replaceFile} from './files';

/** The names of this store's files, and their drafts. Other files in the folder stay. */
const NAME = /^[\da-f]{40}\.\w+(?:\.(.+)\.draft)?$/;

/** Keeps downloaded files in a folder, which several processes may share. */
export function folderStore(folder = defaultFolder()): HubStore {
  const remove = (key: string) => rm(join(folder, key), {force: true});
  return {
    read: key => readFile(join(folder, key)).catch(() => undefined), // what cannot be read is downloaded again
    write: (key, bytes) => replaceFile(join(folder, key), bytes),
    remove,
    entries: async () => {
      const entries: {key: string; bytes: number}[] = [];
      for (const key of await readdir(folder).catch((): string[] => [])) {
        const file = join(folder, key);
        const [name, tag] = NAME.exec(key) ?? [];
        // Of drafts, those that killed processes left.
        if (name !== undefined && (tag === undefined || (await isWriterGone(tag, file)))) {
          entries.push({key, bytes: (await stat(file).catch(() => undefined))?.size ?? 0});
        }
      }
      return entries;
    },
  };
}

function defaultFolder(): string {
  const {XDG_CACHE_HOME, LOCALAPPDATA} = process.env;
  return join(XDG_CACHE_HOME ?? LOCALAPPDATA ?? join(homedir(), '.cache'), 'tfjs-lora', 'hub');
}
