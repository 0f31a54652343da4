import {ioError, messageOf} from '../../../platform/errors';
import type {CachedFile, HubCache, HubSettings, HubStore} from './settings';
import {suppliedHubStore} from './settings';
import {pageStore} from './pageStore';

// The store has, under the digests of what they are about:
//
//     <repository, revision>.ref        the commit, and the names of its files
//     <repository, commit, path>.at     the version of a file at a commit
//     <repository, path, etag>.json     a note on a version of a file: its size, and when it was used
//     <repository, path, etag>.<i>      its bytes, in pieces
//
// A piece is written when all of it is there, so a file that was not downloaded to its end continues after its last
// piece, and two processes that download the same file write the same pieces. A piece that is missing, because another
// process made room, is downloaded again.

export const PIECE_BYTES = 2 ** 22;
const DEFAULT_BYTES = 10 * 2 ** 30;
/** A version of a file. */
export interface Version {
  readonly etag: string;
  readonly bytes: number;
  /** The etag with which its host continues a download, if it is a strong one. */
  readonly validator?: string;
}

export interface FileNote extends Version {
  readonly address: string;
  readonly used: number;
  readonly isWhole: boolean;
}

/** The cache of the settings; `undefined` if nothing is kept. */
export function cacheOf({cache}: HubSettings): FileCache | undefined {
  const store = cache === false ? undefined : (suppliedHubStore()?.(cache.folder) ?? pageStore());
  return store && new FileCache(store, (cache || {}).maxBytes ?? DEFAULT_BYTES);
}

export class FileCache implements HubCache {
  constructor(
    private readonly store: HubStore,
    readonly maxBytes: number,
  ) {}

  /** The note under a key; a damaged note counts as missing. */
  async note<T>(key: string): Promise<T | undefined> {
    const bytes = await this.store.read(key);
    try {
      return bytes && (JSON.parse(new TextDecoder().decode(bytes)) as T);
    } catch {
      return undefined;
    }
  }

  async keepNote(key: string, note: unknown): Promise<void> {
    await this.write(key, new TextEncoder().encode(JSON.stringify(note)));
  }

  async piece(id: string, index: number): Promise<Uint8Array<ArrayBuffer> | undefined> {
    return this.store.read(`${id}.${index}`);
  }

  async keepPiece(id: string, index: number, piece: Uint8Array<ArrayBuffer>): Promise<void> {
    await this.write(`${id}.${index}`, piece);
  }

  /** Removes a file, or what is there of it. */
  async remove(id: string): Promise<void> {
    const entries = await this.store.entries();
    await this.removeAll(entries.filter(({key}) => key.startsWith(id)));
  }

  /** Removes files, those first that were not used for the longest time, until there is room for another one. */
  async makeRoom(id: string, bytes: number): Promise<void> {
    const entries = await this.store.entries();
    let total = bytes + entries.reduce((sum, entry) => sum + (entry.key.startsWith(id) ? 0 : entry.bytes), 0);
    if (total <= this.maxBytes) {
      return;
    }
    const otherFiles = new Map<string, {used: number; bytes: number}>();
    for (const {key, bytes: size} of entries) {
      const [owner = '', kind = ''] = key.split('.');
      if (kind === 'ref' || kind === 'at') {
        continue; // small, and needed without a network
      }
      const other = otherFiles.get(owner) ?? {used: 0, bytes: 0};
      const note = kind === 'json' ? await this.note<FileNote>(key) : undefined;
      otherFiles.set(owner, {used: note?.used ?? other.used, bytes: other.bytes + size});
    }
    otherFiles.delete(id);
    const oldest = [...otherFiles].sort(([, one], [, other]) => one.used - other.used);
    for (const [owner, other] of oldest) {
      if (total <= this.maxBytes) {
        return;
      }
      await this.removeAll(entries.filter(({key}) => key.startsWith(owner)));
      total -= other.bytes;
    }
  }

  async list(): Promise<CachedFile[]> {
    const keys = (await this.store.entries()).map(({key}) => key).filter(key => key.endsWith('.json'));
    const notes = await Promise.all(keys.map(key => this.note<FileNote>(key)));
    return notes
      .filter(note => note?.isWhole === true)
      .map(note => note as FileNote)
      .map(({address, bytes, used}) => ({address, bytes, lastUsed: new Date(used)}));
  }

  async clear(): Promise<void> {
    await this.removeAll(await this.store.entries());
  }

  private async removeAll(entries: readonly {key: string}[]): Promise<void> {
    // Notes first: what is left of a file, if this ends too early, is none that is taken for a whole one.
    const isNote = (key: string) => Number(key.endsWith('.json'));
    for (const {key} of [...entries].sort((one, other) => isNote(other.key) - isNote(one.key))) {
      await this.store.remove(key);
    }
  }

  private async write(key: string, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    try {
      await this.store.write(key, bytes);
    } catch (error) {
      throw ioError(
        `The cache of hub files cannot be written: ${messageOf(error)}. Make room, choose another place with ` +
          'setHub({cache: {folder}}) in Node, or download files each time with setHub({cache: false}).',
        {cause: error},
      );
    }
  }
}

/** The name of what some texts identify, for the keys of a store. */
export async function idOf(...texts: readonly string[]): Promise<string> {
  const bytes = new TextEncoder().encode(JSON.stringify(texts));
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return Array.from(digest.subarray(0, 20), byte => byte.toString(16).padStart(2, '0')).join('');
}
