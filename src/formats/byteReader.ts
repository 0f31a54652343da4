import {LoRAError} from '../errors';

/** Reads bytes one after the other, as they come. It holds no more of them than it was asked for. */
export class ByteReader {
  /** What came and is not taken yet. */
  private chunk: Uint8Array = new Uint8Array(0);
  /** How many bytes have been read. */
  position = 0;

  /**
   * @param next the next bytes, of any number; `undefined` after the last.
   * @param size how many bytes there are in all; `null` where that is not known.
   * @param cancel says that no more are wanted.
   */
  constructor(
    private readonly next: () => Promise<Uint8Array | undefined>,
    readonly size: number | null,
    readonly cancel: (reason: unknown) => void = () => undefined,
  ) {}

  /** Reads bytes that are there as a whole. */
  static of(bytes: Uint8Array): ByteReader {
    const chunks = [bytes];
    return new ByteReader(() => Promise.resolve(chunks.pop()), bytes.length);
  }

  /**
   * The next `count` bytes, as a copy.
   *
   * @throws LoRAError if there are not so many.
   */
  async take(count: number): Promise<Uint8Array<ArrayBuffer>> {
    const end = (missing: number) =>
      new LoRAError(`The file ends at byte ${this.size ?? this.position}, where ${missing} more should follow.`);
    if (this.size !== null && count > this.size - this.position) {
      throw end(count);
    }
    const taken = new Uint8Array(count);
    for (let filled = 0; filled < count;) {
      if (!(await this.hasMore())) {
        throw end(count - filled);
      }
      const part = this.takeChunk(count - filled);
      taken.set(part, filled);
      filled += part.length;
    }
    return taken;
  }

  /** All bytes that are left, as a copy. */
  async takeAll(): Promise<Uint8Array<ArrayBuffer>> {
    const parts: Uint8Array[] = [];
    const start = this.position;
    while (await this.hasMore()) {
      parts.push(this.takeChunk(Infinity));
    }
    const taken = new Uint8Array(this.position - start);
    let filled = 0;
    for (const part of parts) {
      taken.set(part, filled);
      filled += part.length;
    }
    return taken;
  }

  /** Whether there are more bytes. */
  async hasMore(): Promise<boolean> {
    while (this.chunk.length === 0) {
      const chunk = await this.next();
      if (chunk === undefined) {
        return false;
      }
      this.chunk = chunk;
    }
    return true;
  }

  private takeChunk(most: number): Uint8Array {
    const part = this.chunk.subarray(0, most);
    this.chunk = this.chunk.subarray(part.length);
    this.position += part.length;
    return part;
  }
}
