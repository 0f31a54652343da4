import {disposedError, ioError, asLoRAError, tooLargeError} from '../../../platform/errors';
import type {RandomAccess} from '../../../core/storage/localFiles';

/** Tensors that follow each other in a file and are read together, such as those of a block of a model. */
export interface Run {
  readonly begin: number;
  readonly bytes: number;
  /** The matrices in it whose rows are in another order. */
  readonly reordered: readonly Place[];
}

/** Where the bytes of a matrix are. */
export interface Place {
  readonly file: StreamedFile;
  readonly begin: number;
  readonly bytes: number;
  /** The run that it belongs to. A matrix without one may be read in slices of rows. */
  readonly run: Run | undefined;
  /** For each row of the file, the row of the matrix. `undefined` if the order is the same. */
  readonly order: Int32Array | undefined;
  /** Whether the model would hold the values as float32 in memory, so that results are to have the bits of floats. */
  readonly widens: boolean;
}

/** A file whose matrices stay there. It is closed with the last of them. */
export class StreamedFile {
  /** The bytes of all matrices that stay in the file. */
  streamedBytes = 0;
  /** The bytes of the largest run. */
  largestRun = 0;
  private matrices = 0;
  private isClosed = false;

  /** @param maxReadBytes how many bytes an operation may read that needs all values. */
  constructor(
    private readonly source: RandomAccess,
    private readonly maxReadBytes: number,
  ) {}

  get size(): number {
    return this.source.size;
  }

  /**
   * Fills `target` with the bytes from `begin` on.
   *
   * @throws LoRAError `ERR_IO` if the file has changed, is closed, or ends before.
   */
  read(target: Uint8Array, begin: number): void {
    if (this.isClosed) {
      throw disposedError('The model was disposed of, and the file of its weights is closed.');
    }
    let count: number;
    try {
      count = this.source.read(target, begin);
    } catch (error) {
      throw asLoRAError(error, 'Streamed weights cannot be read', 'ERR_IO');
    }
    if (count !== target.length) {
      throw ioError(
        `The file of the weights gave ${String(count)} of ${target.length} bytes from byte ${begin} on. It was ` +
          'truncated, or its read() does not return how many bytes it read.',
      );
    }
  }

  /** Reads a matrix as a whole, with its rows in order. */
  readAll({begin, bytes, order}: Place, target: Uint8Array): void {
    this.read(target.subarray(0, bytes), begin);
    if (order !== undefined) {
      orderRows(target.subarray(0, bytes), order);
    }
  }

  /** @throws LoRAError if operations that need all values would read too much. */
  checkWholeRead(): void {
    if (this.streamedBytes > this.maxReadBytes) {
      const megabytes = (bytes: number) => Math.ceil(bytes / 1e6).toLocaleString('en');
      throw tooLargeError(
        `The weights are streamed from their file, and this would read them into memory, ` +
          `${megabytes(this.streamedBytes)} MB in all. Operations that need all values, such as mergeLoRA, save and ` +
          `the data of a weight, may read ${megabytes(this.maxReadBytes)} MB. Load the model with a larger ` +
          "maxReadBytes, or without {weights: 'streamed'}.",
      );
    }
  }

  /** Counts one more matrix that stays in the file. */
  add(bytes: number): void {
    this.matrices++;
    this.streamedBytes += bytes;
  }

  /** Counts one less, and closes the file after the last. */
  drop(bytes: number): void {
    this.matrices--;
    this.streamedBytes -= bytes;
    if (this.matrices === 0) {
      this.close();
    }
  }

  close(): void {
    if (!this.isClosed) {
      this.isClosed = true;
      this.source.close();
    }
  }
}

/** Fills `target` with rows of `size` bytes from row `first` of a matrix on. */
export function readRowsAt({file, begin, order}: Place, size: number, first: number, target: Uint8Array): void {
  if (order === undefined) {
    file.read(target, begin + first * size);
    return;
  }
  for (let at = 0; at < target.length; at += size) {
    file.read(target.subarray(at, at + size), begin + order.indexOf(first + at / size) * size);
  }
}

/** Orders rows in place: row `i` becomes row `order[i]`. */
export function orderRows(bytes: Uint8Array, order: Int32Array): void {
  const size = bytes.length / order.length;
  const isDone = new Uint8Array(order.length);
  let [row, next] = [new Uint8Array(size), new Uint8Array(size)];
  for (let first = 0; first < order.length; first++) {
    if (isDone[first] === 1 || order[first] === first) {
      continue;
    }
    row.set(bytes.subarray(first * size, (first + 1) * size));
    for (let at = order[first] as number; isDone[first] === 0; at = order[at] as number) {
      const there = bytes.subarray(at * size, (at + 1) * size);
      next.set(there);
      there.set(row);
      isDone[at] = 1;
      [row, next] = [next, row];
    }
  }
}
