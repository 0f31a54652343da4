import {LoRAError} from '../errors';

/** Reads bytes one after the other, as they come, and holds no more of them than was asked for. */
export class ByteReader {
  private rest: Uint8Array = new Uint8Array(0);
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
    let given = false;
    const next = () => {
      const first = given ? undefined : bytes;
      given = true;
      return Promise.resolve(first);
    };
    return new ByteReader(next, bytes.length);
  }

  /**
   * The next `count` bytes, as a copy.
   *
   * @throws LoRAError if there are not so many.
   */
  async take(count: number): Promise<Uint8Array<ArrayBuffer>> {
    if (this.size !== null && count > this.size - this.position) {
      throw this.ended(count);
    }
    const taken = new Uint8Array(count);
    for (let filled = 0; filled < count;) {
      if (this.rest.length === 0) {
        const chunk = await this.next();
        if (chunk === undefined) {
          throw this.ended(count - filled);
        }
        this.rest = chunk;
      }
      const part = this.rest.subarray(0, count - filled);
      taken.set(part, filled);
      filled += part.length;
      this.position += part.length;
      this.rest = this.rest.subarray(part.length);
    }
    return taken;
  }

  /** Whether there are more bytes. */
  async hasMore(): Promise<boolean> {
    while (this.rest.length === 0) {
      const chunk = await this.next();
      if (chunk === undefined) {
        return false;
      }
      this.rest = chunk;
    }
    return true;
  }

  private ended(wanted: number): LoRAError {
    return new LoRAError(`The file ends at byte ${this.size ?? this.position}, where ${wanted} more should follow.`);
  }
}
