import {existsSync, mkdirSync, mkdtempSync, renameSync, rmSync} from 'node:fs';
import {homedir} from 'node:os';
import {dirname, join} from 'node:path';

/** A folder of this project in the user's cache. */
export function inCache(name: string): string {
  return join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'tfjs-lora', name);
}

/**
 * A folder that is filled where it is missing. It appears in one step, so that nobody finds half of it.
 *
 * @param fill writes the content to another folder, which then becomes this one.
 */
export function folderOnce(folder: string, fill: (beside: string) => void): string {
  if (!existsSync(folder)) {
    mkdirSync(dirname(folder), {recursive: true});
    const beside = mkdtempSync(`${folder}-`);
    try {
      fill(beside);
      renameSync(beside, folder);
    } catch (error) {
      rmSync(beside, {recursive: true, force: true});
      // Another process that filled the folder at the same time was faster.
      if (!existsSync(folder)) {
        throw error;
      }
    }
  }
  return folder;
}
