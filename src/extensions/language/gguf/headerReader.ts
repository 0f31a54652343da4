import {brief, damagedError} from '../../../platform/errors';
import {type ByteReader, concatenate} from '../../../platform/formats/byteReader';

/** A value of a pair. The entries of a list have one type. */
export type MetadataValue = number | bigint | boolean | string | MetadataList;
/** Numeric lists come as the smallest typed array that holds them. */
export type MetadataList = readonly MetadataValue[] | ArrayLike<number>;
export type Metadata = ReadonlyMap<string, MetadataValue>;

/** How many bytes are requested at a time. */
const CHUNK = 2 ** 16;
/** The most entries of a setting's list: one value for each block. */
const MAX_SETTING_BYTES = 2 ** 16;
/** The most entries of a tokenizer's list; no vocabulary has that many tokens or merges. */
const MAX_WANTED_BYTES = 2 ** 22;

const TYPES = [
  ...(['uint8', 'int8', 'uint16', 'int16', 'uint32', 'int32', 'float32', 'bool', 'text', 'list'] as const),
  ...(['uint64', 'int64', 'float64'] as const),
];
type Type = (typeof TYPES)[number];
type NumberType = Exclude<Type, 'bool' | 'text' | 'list' | 'uint64' | 'int64'>;

const LISTS: Readonly<Record<NumberType, new (bytes: ArrayBuffer) => ArrayLike<number>>> = {
  ...{uint8: Uint8Array, int8: Int8Array, uint16: Uint16Array, int16: Int16Array},
  ...{uint32: Uint32Array, int32: Int32Array, float32: Float32Array, float64: Float64Array},
};

/** The bytes of a value; for a text and a list, those of their length alone. */
const BYTES: Readonly<Record<Type, number>> = {
  ...{uint8: 1, int8: 1, uint16: 2, int16: 2, uint32: 4, int32: 4, float32: 4, bool: 1, text: 8, list: 12},
  ...{uint64: 8, int64: 8, float64: 8},
};

/**
 * Reads the header of a GGUF file. It trusts no length in the file: each is compared with the bytes that remain, or, if
 * their number is unknown, memory grows only with the bytes that arrive.
 */
export class HeaderReader {
  /** Received bytes; those before `at` are used. */
  private bytes = new Uint8Array(0);
  private view = new DataView(this.bytes.buffer);
  private at = 0;
  /** Keeps a byte order mark, since a token may begin with one. */
  private readonly decoder = new TextDecoder('utf-8', {ignoreBOM: true});

  constructor(private readonly source: ByteReader) {}

  /** How many bytes have been used. */
  get position(): number {
    return this.source.position - (this.bytes.length - this.at);
  }

  /** The remaining bytes, as far as they are known. */
  private get left(): number {
    return this.source.size === null ? Infinity : this.source.size - this.position;
  }

  /** Returns a copy of the next bytes. */
  async take(count: number): Promise<Uint8Array<ArrayBuffer>> {
    const here = Math.min(count, this.bytes.length - this.at);
    if (here === 0) {
      return this.source.take(count);
    }
    const taken = new Uint8Array(count);
    taken.set(this.bytes.subarray(this.at, this.at + here));
    this.at += here;
    if (here < count) {
      taken.set(await this.source.take(count - here), here);
    }
    return taken;
  }

  async skipTo(position: number): Promise<void> {
    while (this.position < position) {
      await this.take(Math.min(CHUNK, position - this.position));
    }
  }

  async word(): Promise<number> {
    return (await this.number('uint32')) as number;
  }

  /** A whole number of 8 bytes. */
  async uint64(): Promise<number> {
    const value = await this.number('uint64');
    if (typeof value === 'bigint') {
      throw damagedError(`The GGUF file has an impossible size or offset, ${value}.`);
    }
    return value;
  }

  /** Reads a count of items of at least `least` bytes each. */
  async count(least: number, what: string): Promise<number> {
    const count = await this.uint64();
    if (count * least > this.left) {
      throw damagedError(
        `The GGUF file claims ${count.toLocaleString('en')} more ${what}, but only ` +
          `${this.left.toLocaleString('en')} bytes are left.`,
      );
    }
    return count;
  }

  async text(most = Infinity): Promise<string> {
    const length = await this.count(1, 'bytes of a text');
    if (length > most) {
      throw damagedError(`The GGUF file has a name of ${length.toLocaleString('en')} bytes.`);
    }
    if (length > this.bytes.length - this.at) {
      await this.more(length);
    }
    this.at += length;
    return this.decoder.decode(this.bytes.subarray(this.at - length, this.at));
  }

  /** Reads a type and a value. Unwanted tokenizer lists are `undefined`. */
  async value(key: string, isWanted: boolean): Promise<MetadataValue | undefined> {
    const type = await this.type();
    return type === 'list' ? this.list(key, isWanted) : this.valueOf(type);
  }

  private async type(): Promise<Type> {
    const number = await this.word();
    const type = TYPES[number];
    if (type === undefined) {
      throw damagedError(`The GGUF file has a value of unknown type ${number}.`);
    }
    return type;
  }

  private async valueOf(type: Exclude<Type, 'list'>): Promise<number | bigint | boolean | string> {
    switch (type) {
      case 'text':
        return this.readyText() ?? this.text();
      case 'bool':
        return (await this.number('uint8')) !== 0;
      default:
        return this.number(type);
    }
  }

  private async list(key: string, isWanted: boolean): Promise<MetadataList | undefined> {
    const type = await this.type();
    if (type === 'list') {
      throw damagedError(`The GGUF file has nested lists, ${brief(key)}, which are not supported.`);
    }
    const count = await this.count(BYTES[type], 'entries of a list');
    const isSetting = !/^(tokenizer|general)\./.test(key);
    if (count > (isSetting ? MAX_SETTING_BYTES : MAX_WANTED_BYTES) && (isSetting || isWanted)) {
      throw damagedError(`The GGUF file has a list of ${count.toLocaleString('en')} entries, ${brief(key)}.`);
    }
    const isNumbers = Object.hasOwn(LISTS, type);
    if (!isSetting && !(isWanted && (isNumbers || type === 'text'))) {
      await (type === 'text' ? this.passTexts(count) : this.skipTo(this.position + count * BYTES[type]));
      return undefined;
    }
    if (isNumbers) {
      return new LISTS[type as NumberType](await this.bulk(count * BYTES[type]));
    }
    const values: (number | bigint | boolean | string)[] = [];
    for (let i = 0; i < count; i++) {
      values.push(type === 'text' ? (this.readyText() ?? (await this.text())) : await this.valueOf(type));
    }
    return values;
  }

  /** Reads this many bytes, and allocates memory only as they arrive. */
  private async bulk(count: number): Promise<ArrayBuffer> {
    const parts: Uint8Array[] = [];
    for (let left = count; left > 0; left -= Math.min(left, CHUNK)) {
      parts.push(await this.take(Math.min(left, CHUNK)));
    }
    return concatenate(parts).buffer;
  }

  /** The length of the next text, if all of it has arrived; moves past the length. Avoids waiting for most texts. */
  private readyLength(): number | undefined {
    const {at, view} = this;
    const ready = this.bytes.length - at - 8;
    const length = ready >= 0 && view.getUint32(at + 4, true) === 0 ? view.getUint32(at, true) : Infinity;
    if (length > ready) {
      return undefined;
    }
    this.at += 8 + length;
    return length;
  }

  private readyText(): string | undefined {
    const length = this.readyLength();
    return length === undefined ? undefined : this.decoder.decode(this.bytes.subarray(this.at - length, this.at));
  }

  private async passTexts(count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      if (this.readyLength() === undefined) {
        await this.skipTo((await this.count(1, 'bytes of a text')) + this.position);
      }
    }
  }

  /** Reads a number; a `bigint` if a number cannot hold its 64 bits. */
  private async number(type: Exclude<Type, 'text' | 'list' | 'bool'>): Promise<number | bigint> {
    const size = BYTES[type];
    if (size > this.bytes.length - this.at) {
      await this.more(size);
    }
    const {at, view} = this;
    this.at += size;
    switch (type) {
      case 'uint8':
        return view.getUint8(at);
      case 'int8':
        return view.getInt8(at);
      case 'uint16':
        return view.getUint16(at, true);
      case 'int16':
        return view.getInt16(at, true);
      case 'uint32':
        return view.getUint32(at, true);
      case 'int32':
        return view.getInt32(at, true);
      case 'float32':
        return view.getFloat32(at, true);
      case 'float64':
        return view.getFloat64(at, true);
      case 'uint64':
        return asNumber(view.getBigUint64(at, true));
      case 'int64':
        return asNumber(view.getBigInt64(at, true));
    }
  }

  /** Has at least this many bytes ready. After the last byte, `take` says where the file ends. */
  private async more(count: number): Promise<void> {
    const parts: Uint8Array[] = [this.bytes.subarray(this.at)];
    for (let ready = parts[0]?.length ?? 0; ready < count;) {
      const next = (await this.source.some(CHUNK)) ?? (await this.source.take(1));
      parts.push(next);
      ready += next.length;
    }
    const bytes = concatenate(parts);
    [this.bytes, this.view, this.at] = [bytes, new DataView(bytes.buffer), 0];
  }
}

function asNumber(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}
