import {damagedError} from '../errors';

/** Bytes that arrive in pieces. */
export interface ByteStream {
  /** The next bytes, any number of them; `undefined` after the last. */
  next(): Promise<Uint8Array | undefined>;
  /** The total number of bytes; `null` if unknown. */
  readonly size: number | null;
  cancel(reason: unknown): void;
}

/** Reads bytes in order as they arrive. Holds no more of them than requested. */
export class ByteReader {
  /** Bytes that arrived and are not taken yet. */
  private chunk: Uint8Array = new Uint8Array(0);
  /** How many bytes have been read. */
  position = 0;

  constructor(private readonly stream: ByteStream) {}

  get size(): number | null {
    return this.stream.size;
  }

  cancel(reason: unknown): void {
    this.stream.cancel(reason);
  }

  /**
   * The next `count` bytes, as a copy.
   *
   * @throws LoRAError if there are not so many.
   */
  async take(count: number): Promise<Uint8Array<ArrayBuffer>> {
    const end = (missing: number) =>
      damagedError(`The file ends at byte ${this.size ?? this.position}, where ${missing} more should follow.`);
    if (this.size !== null && count > this.size - this.position) {
      throw end(count);
    }
    const taken = new Uint8Array(count);
    for (let filled = 0; filled < count;) {
      const bytes = await this.some(count - filled);
      if (bytes === undefined) {
        throw end(count - filled);
      }
      taken.set(bytes, filled);
      filled += bytes.length;
    }
    return taken;
  }

  /** The next bytes that have arrived, up to `most`; `undefined` after the last. Not a copy. */
  async some(most: number): Promise<Uint8Array | undefined> {
    if (!(await this.hasMore())) {
      return undefined;
    }
    const bytes = this.chunk.subarray(0, most);
    this.position += bytes.length;
    this.chunk = this.chunk.subarray(bytes.length);
    return bytes;
  }

  /** Whether there are more bytes. */
  async hasMore(): Promise<boolean> {
    while (this.chunk.length === 0) {
      const chunk = await this.stream.next();
      if (chunk === undefined) {
        return false;
      }
      this.chunk = chunk;
    }
    return true;
  }
}

export function concatenate(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const joined = new Uint8Array(parts.reduce((sum, bytes) => sum + bytes.byteLength, 0));
  let offset = 0;
  for (const bytes of parts) {
    joined.set(bytes, offset);
    offset += bytes.byteLength;
  }
  return joined;
}
