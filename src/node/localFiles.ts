import {closeSync, fstatSync, openAsBlob, openSync, readSync, type Stats, statSync} from 'node:fs';
import {readdir, stat} from 'node:fs/promises';
import {join} from 'node:path';
import type {LocalFiles, RandomAccess} from '../core/storage/localFiles';
import {ioError, messageOf} from '../platform/errors';
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
  openForReads: place => {
    if (typeof place === 'number') {
      return openFile(place, `The file of descriptor ${place}`, () => undefined);
    }
    const path = pathOf(place);
    try {
      checkIsFile(statSync(path)); // what is not may never open
      const descriptor = openSync(path, 'r');
      return openFile(descriptor, path, () => {
        closeSync(descriptor);
      });
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

/** An open file. What has changed it is not known, so it is read no more then. */
function openFile(descriptor: number, name: string, close: () => void): RandomAccess {
  const stats = (): Stats => {
    try {
      return fstatSync(descriptor);
    } catch (error) {
      throw ioError(`${name} is no longer open: ${messageOf(error)}.`, {cause: error});
    }
  };
  const first = stats();
  return {
    size: first.size,
    read: (target, begin) => {
      const {size, mtimeMs} = stats();
      if (size !== first.size || mtimeMs !== first.mtimeMs) {
        throw ioError(`${name} has changed since the model was loaded. Load the model again.`);
      }
      let count = 0;
      for (let more = -1; count < target.length && more !== 0; count += more) {
        more = readSync(descriptor, target, count, target.length - count, begin + count);
      }
      return count;
    },
    close,
  };
}
