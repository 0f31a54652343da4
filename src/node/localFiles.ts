import {openAsBlob} from 'node:fs';
import {readdir, stat} from 'node:fs/promises';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import type {LocalFiles} from '../storage/sources';
import {isFolder, unreadable} from './files';

/** Files on disk, for what takes addresses: plain paths and URLs of files. */
export const localFiles: LocalFiles = {
  open: async place => {
    const path = pathOf(place);
    try {
      await stat(path); // says what is wrong, which `openAsBlob` does not
      return await openAsBlob(path);
    } catch (error) {
      throw unreadable(path, error, 'Check the path.');
    }
  },
  list: async place => {
    const path = pathOf(place);
    return (await isFolder(path)) ? (await readdir(path)).map(name => join(path, name)) : undefined;
  },
};

function pathOf(place: string): string {
  return place.startsWith('file:') ? fileURLToPath(place) : place;
}
