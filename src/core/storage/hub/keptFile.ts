import {type FileCache, type FileNote, idOf, PIECE_BYTES, type Version} from './cache';

/** Notes are written again, when a file is used, after this many milliseconds. */
const NOTE_AGE = 60_000;

/** A version whose size is perhaps known when it has been read. */
export type Incoming = Omit<Version, 'bytes'> & {readonly bytes?: number};

/** Where a file at a commit is. */
export interface Place {
  readonly endpoint: string;
  readonly repo: string;
  readonly commit: string;
  readonly path: string;
  readonly address: string;
}

/** The pieces of a version of a file that the cache has. */
export class KeptFile {
  private constructor(
    private readonly cache: FileCache,
    private readonly place: Place,
    private readonly version: Incoming,
    private readonly id: string,
  ) {}

  /** `undefined` if the version is larger than the cache may be. */
  static async of(cache: FileCache, place: Place, version: Incoming): Promise<KeptFile | undefined> {
    const id = await idOf(place.endpoint, place.repo, place.path, version.etag);
    return (version.bytes ?? 0) > cache.maxBytes ? undefined : new KeptFile(cache, place, version, id);
  }

  /** The version that a file had when it was downloaded from this commit. */
  static async versionAt(cache: FileCache, place: Place): Promise<Version | undefined> {
    return cache.note<Version>(await atOf(place));
  }

  /** The note on the file, if all of it was downloaded, from this commit or another one. */
  async completeVersion(): Promise<Version | undefined> {
    const note = await this.cache.note<FileNote>(`${this.id}.json`);
    if (note?.isWhole !== true) {
      return undefined;
    }
    if (Date.now() - note.used > NOTE_AGE) {
      await this.note({...note, used: Date.now()});
    }
    return note;
  }

  /** A piece of the file, if all of it is there. */
  async piece(index: number, bytes = Infinity): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const piece = await this.cache.piece(this.id, index);
    return piece?.length === Math.min(PIECE_BYTES, bytes - index * PIECE_BYTES) ? piece : undefined;
  }

  /** Keeps a piece. Where there is no room, the file has none. */
  async keep(index: number, piece: Uint8Array<ArrayBuffer>): Promise<void> {
    try {
      if (index === 0) {
        await this.cache.makeRoom(this.id, this.version.bytes ?? 0);
        await this.note({...this.version, bytes: 0, isWhole: false});
      }
      await this.cache.keepPiece(this.id, index, piece);
    } catch (error) {
      await this.cache.remove(this.id).catch(() => undefined);
      throw error;
    }
  }

  /** Notes that all pieces are there, or were for another commit. */
  async finish(bytes: number): Promise<void> {
    const {etag, validator} = this.version;
    const version: Version = {etag, bytes, ...(validator !== undefined && {validator})};
    await this.cache.keepNote(await atOf(this.place), version);
    await this.note({...version, isWhole: true});
    await this.cache.makeRoom(this.id, bytes);
  }

  private note(note: Version & Partial<FileNote>): Promise<void> {
    return this.cache.keepNote(`${this.id}.json`, {address: this.place.address, used: Date.now(), ...note});
  }
}

async function atOf({endpoint, repo, commit, path}: Place): Promise<string> {
  return `${await idOf(endpoint, repo, commit, path)}.at`;
}
