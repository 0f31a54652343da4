import {openAsBlob} from 'node:fs';
import {readdir, stat} from 'node:fs/promises';
import {join} from 'node:path';
import type {LocalFiles} from '../core/storage/localFiles';
import {readPEFTFolder} from './peftFolder';
import {checkIsFile, isFolder, pathOf, unreadable} from './files';

const ADVICE = 'Check the path.';

/** Files on disk, for what takes addresses: plain paths and URLs of files. */
export const localFiles: LocalFiles = {
  open: async place => {
    const path = pathOf(place);
    try {
      checkIsFile(await stat(path)); // says what is wrong, which `openAsBlob` does not
      return await openAsBlob(path);
    } catch (error) {
      throw unreadable(path, error, ADVICE);
    }
  },
  list: async place => {
    const path = pathOf(place);
    if (!(await isFolder(path))) {
      return undefined;
    }
    const names = await readdir(path).catch((error: unknown) => {
      throw unreadable(path, error, ADVICE);
    });
    return names.map(name => join(path, name));
  },
  readPEFT: place => readPEFTFolder(pathOf(place)),
};
