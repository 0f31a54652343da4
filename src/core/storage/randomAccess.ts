import {asLoRAError, kindOf, LoRAError, unsupportedError} from '../../platform/errors';
import {isByteSource} from './sources';
import {localFilesFor, type RandomAccess} from './localFiles';

/** A file of the origin private file system, in a worker: `FileSystemSyncAccessHandle`. */
export interface SyncAccessHandle {
  /** The size of the file in bytes. */
  getSize(): number;
  /** Reads bytes from `at` on into `target`. Returns how many. */
  read(target: Uint8Array, options: {at: number}): number;
  /** Frees the file for other handles. */
  close(): void;
}

/** A file that gives such a handle: `FileSystemFileHandle`. */
export interface SyncAccessFile {
  /** Opens the file for this worker alone. */
  createSyncAccessHandle(): Promise<SyncAccessHandle>;
}

/**
 * A file from which bytes are read where they are, synchronously: in Node a path, a `file:` URL, or a file descriptor;
 * in a worker a `Blob`, or a file of the origin private file system or its handle; anywhere a `RandomAccess`.
 */
export type RandomAccessSource =
  string | URL | number | Blob | RandomAccess | SyncAccessHandle | SyncAccessFile | DOMFileHandle;

/** `FileSystemFileHandle` as TypeScript's library of pages declares it: it has what a worker opens, but untyped. */
interface DOMFileHandle {
  getFile(): Promise<Blob>;
}

const has = <Name extends string>(value: unknown, ...names: Name[]): value is Record<Name, unknown> =>
  typeof value === 'object' && value !== null && names.every(name => name in value);

/**
 * Opens a file for random access.
 *
 * @throws LoRAError `ERR_UNSUPPORTED` where a source cannot be read synchronously, with what can.
 */
export async function openRandomAccess(source: unknown): Promise<RandomAccess> {
  if (typeof source === 'number' || typeof source === 'string' || source instanceof URL) {
    const files = localFilesFor(typeof source === 'number' ? 'file:' : source);
    if (files === undefined) {
      throw unsupportedError(
        'Weights cannot be streamed from an address. Save the file in the origin private file system, and pass its ' +
          'handle in a worker; in Node pass a path.',
      );
    }
    return files.openForReads(typeof source === 'number' ? source : String(source));
  }
  if (has(source, 'size', 'read', 'close')) {
    return source as unknown as RandomAccess;
  }
  if (has(source, 'getSize', 'read', 'close')) {
    return ofHandle(source as unknown as SyncAccessHandle);
  }
  if (has(source, 'createSyncAccessHandle')) {
    const file = source as unknown as SyncAccessFile;
    return ofHandle(
      await file.createSyncAccessHandle().catch((error: unknown) => {
        throw asLoRAError(error, 'The file cannot be opened', 'ERR_IO');
      }),
    );
  }
  if (source instanceof Blob) {
    return ofBlob(source);
  }
  if (has(source, 'getFile')) {
    throw unsupportedError(NOT_HERE); // a handle of a file, on a page
  }
  const kind = isByteSource(source) ? 'what is in memory already or still arrives' : kindOf(source);
  throw new LoRAError(
    'Streamed weights need a path or a file descriptor in Node; a Blob, a file of the origin private file system or ' +
      `its access handle in a worker; or {size, read, close}. Got ${kind}.`,
  );
}

const NOT_HERE =
  'Streamed weights are read synchronously, which browsers allow only in a worker. Load and train the model in one; ' +
  'in Node pass a path instead of a Blob.';

function ofHandle(handle: SyncAccessHandle): RandomAccess {
  return {
    size: handle.getSize(),
    read: (target, begin) => handle.read(target, {at: begin}),
    close: () => {
      handle.close();
    },
  };
}

/** `FileReaderSync`, which only workers have. */
interface SyncReader {
  readAsArrayBuffer(blob: Blob): ArrayBuffer;
}

function ofBlob(blob: Blob): RandomAccess {
  const {FileReaderSync: Reader} = globalThis as {FileReaderSync?: new () => SyncReader};
  if (Reader === undefined) {
    throw unsupportedError(NOT_HERE);
  }
  const reader = new Reader();
  return {
    size: blob.size,
    read: (target, begin) => {
      const bytes = new Uint8Array(reader.readAsArrayBuffer(blob.slice(begin, begin + target.length)));
      target.set(bytes);
      return bytes.length;
    },
    close: () => undefined,
  };
}
