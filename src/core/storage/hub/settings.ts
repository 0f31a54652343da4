/** How `hf://` addresses are read. */
export interface HubOptions {
  /** The hub or a mirror of it. Default: `https://huggingface.co`. */
  endpoint?: string | URL;
  /** A token that may read gated or private models. Only the endpoint receives it. Default: none. */
  token?: string;
  /** Where files are kept, or `false` to download them each time. */
  cache?: false | HubCacheOptions;
}

/** Where downloaded files are kept. */
export interface HubCacheOptions {
  /**
   * In Node, the folder. Default: `tfjs-lora/hub` in `$XDG_CACHE_HOME`, on Windows in `%LOCALAPPDATA%`, and else in
   * `~/.cache`. Pages use the Cache API.
   */
  folder?: string;
  /** The most bytes that are kept: the files that were used last. Default: 10,737,418,240 (10 GiB). */
  maxBytes?: number;
}

/** A file in the cache. */
export interface CachedFile {
  /** Its address, with the commit that it was downloaded from: `hf://org/name@commit/file`. */
  readonly address: string;
  /** Its size. */
  readonly bytes: number;
  /** When it was read last, to the minute. */
  readonly lastUsed: Date;
}

/** The downloaded files. */
export interface HubCache {
  /** The complete files. */
  list(): Promise<CachedFile[]>;
  /** Removes all files, incomplete ones too. */
  clear(): Promise<void>;
}

/** Keeps bytes under keys of letters, digits and a dot. A write is seen whole or not at all, by other processes too. */
export interface HubStore {
  read(key: string): Promise<Uint8Array<ArrayBuffer> | undefined>;
  /** @throws Error if there is no room. */
  write(key: string, bytes: Uint8Array<ArrayBuffer>): Promise<void>;
  remove(key: string): Promise<void>;
  entries(): Promise<{key: string; bytes: number}[]>;
}

export interface HubSettings {
  readonly endpoint: string;
  readonly token: string | undefined;
  readonly cache: false | HubCacheOptions;
}

export const DEFAULTS: HubSettings = {endpoint: 'https://huggingface.co', token: undefined, cache: {}};

let settings = DEFAULTS;
let folderStore: ((folder: string | undefined) => HubStore) | undefined;

export function hubSettings(): HubSettings {
  return settings;
}

export function changeHubSettings(changed: HubSettings): void {
  settings = changed;
}

/** Keeps files in a folder, which the entry point `node` supplies. */
export function supplyHubStore(store: (folder: string | undefined) => HubStore): void {
  folderStore = store;
}

export function suppliedHubStore(): typeof folderStore {
  return folderStore;
}

/** `undefined` if it is not a valid one. `URL.canParse` is younger than some browsers. */
export function urlOf(address: string | URL, base?: URL): URL | undefined {
  try {
    return new URL(address, base);
  } catch {
    return undefined;
  }
}
