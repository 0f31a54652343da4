import {createHash} from 'node:crypto';
import {existsSync, mkdirSync, readFileSync, renameSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {inCache} from '../../scripts/folderOnce';

/** A folder in the user's cache, for what takes minutes to generate. Delete it after a change to what generates it. */
export const CACHE = inCache('sounds');

/** Bytes that are made once, and read from the cache after that. The key is everything that they depend on. */
export async function kept(key: readonly unknown[], make: () => Promise<Uint8Array>): Promise<Uint8Array> {
  const name = createHash('sha256').update(JSON.stringify(key)).digest('hex').slice(0, 16);
  const file = join(CACHE, `${String(key[0])}-${name}`);
  if (!existsSync(file)) {
    const bytes = await make();
    mkdirSync(CACHE, {recursive: true});
    writeFileSync(`${file}.${process.pid}`, bytes);
    renameSync(`${file}.${process.pid}`, file);
  }
  return readFileSync(file);
}
