import {mkdtempSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';

const folders: string[] = [];

/** Makes a folder that is removed after the tests of the file. */
export function temporaryFolder(prefix = 'tfjs-lora-'): string {
  const folder = mkdtempSync(join(tmpdir(), prefix));
  folders.push(folder);
  return folder;
}

export function removeTemporaryFolders(): void {
  folders.splice(0).forEach(folder => rmSync(folder, {recursive: true, force: true}));
}
