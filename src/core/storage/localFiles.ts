/** Bytes that stay where they are and are read synchronously, such as those of an open file. */
export interface RandomAccess {
  /** How many bytes there are. */
  readonly size: number;
  /** Reads bytes from `begin` on into `target`. Returns how many: fewer than `target` has only at the end. */
  read(target: Uint8Array, begin: number): number;
  /** Is called once, when nothing will be read any more. */
  close(): void;
}

/** Node's access to files by paths and `file:` URLs. */
export interface LocalFiles {
  open(place: string): Promise<Blob>;
  /** Opens a file, by its path or descriptor, that is read until it is closed, and refused once it has changed. */
  openForReads(place: string | number): RandomAccess;
  /** The paths of what is in a folder; `undefined` if it is none. */
  list(place: string): Promise<string[] | undefined>;
  /** The two files of a PEFT adapter in a folder, of one save. */
  readPEFT(place: string): Promise<{config: string; weights: Uint8Array}>;
}

let localFiles: LocalFiles | undefined;

/** Lets this library read files, which the entry point `node` supplies. */
export function supplyLocalFiles(files: LocalFiles): void {
  localFiles = files;
}

/** The files of this machine, if an address is that of one. A single letter before a colon is a drive of Windows. */
export function localFilesFor(address: URL | string): LocalFiles | undefined {
  const [, scheme = 'file'] = /^([a-z][a-z\d+.-]+):/i.exec(String(address)) ?? [];
  return scheme.toLowerCase() === 'file' ? localFiles : undefined;
}
