import {LoRAError} from '../../errors';
import {type ByteReader, concatenate} from '../../formats/byteReader';

/** A value of a pair. A list is of one kind. */
export type MetadataValue = number | bigint | boolean | string | MetadataList;
/** Numbers come as what holds them in the fewest bytes. */
export type MetadataList = readonly MetadataValue[] | ArrayLike<number>;
export type Metadata = ReadonlyMap<string, MetadataValue>;

/** How many bytes are asked for at a time. */
const CHUNK = 2 ** 16;
/** Lists in lists are not more than so many deep. */
const MOST_NESTED = 4;

const TYPES = [
  ...(['uint8', 'int8', 'uint16', 'int16', 'uint32', 'int32', 'float32', 'bool', 'text', 'list'] as const),
  ...(['uint64', 'int64', 'float64'] as const),
];
type Type = (typeof TYPES)[number];
type NumberType = Exclude<Type, 'bool' | 'text' | 'list' | 'uint64' | 'int64'>;

/** How a list of numbers is held. */
const LISTS: Readonly<Record<NumberType, (count: number) => {[i: number]: number; readonly length: number}>> = {
  uint8: count => new Uint8Array(count),
  int8: count => new Int8Array(count),
  uint16: count => new Uint16Array(count),
  int16: count => new Int16Array(count),
  uint32: count => new Uint32Array(count),
  int32: count => new Int32Array(count),
  float32: count => new Float32Array(count),
  float64: count => new Float64Array(count),
};

/** Bytes of a value; of a text and a list of their lengths alone. */
const BYTES: Readonly<Record<Type, number>> = {
  ...{uint8: 1, int8: 1, uint16: 2, int16: 2, uint32: 4, int32: 4, float32: 4, bool: 1, text: 8, list: 12},
  ...{uint64: 8, int64: 8, float64: 8},
};

/**
 * Reads what stands in the header of a GGUF file. No length in it is believed: it is compared with the bytes that the
 * file still has, or where their number is not known, grows with those that came.
 */
export class HeaderReader {
  /** What came, from `at` on not used yet. */
  private bytes = new Uint8Array(0);
  private view = new DataView(this.bytes.buffer);
  private at = 0;
  /** A mark of the order of bytes may begin a token. */
  private readonly decoder = new TextDecoder('utf-8', {ignoreBOM: true});

  constructor(private readonly source: ByteReader) {}

  /** How many bytes have been used. */
  get position(): number {
    return this.source.position - (this.bytes.length - this.at);
  }

  /** Bytes that are left, as far as that is known. */
  private get left(): number {
    return this.source.size === null ? Infinity : this.source.size - this.position;
  }

  /** The next bytes, as a copy. */
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

  /** Leaves out what stands before a place. */
  async skipTo(place: number): Promise<void> {
    while (this.position < place) {
      await this.take(Math.min(CHUNK, place - this.position));
    }
  }

  async word(): Promise<number> {
    return (await this.number('uint32')) as number;
  }

  /** A whole number of 8 bytes. */
  async whole(): Promise<number> {
    const value = await this.number('uint64');
    if (typeof value === 'bigint') {
      throw new LoRAError(`The GGUF file has a size or place of ${value}, which no file can have.`);
    }
    return value;
  }

  /** How many things follow, of at least so many bytes each. */
  async count(least: number, what: string): Promise<number> {
    const count = await this.whole();
    if (count * least > this.left) {
      throw new LoRAError(
        `The GGUF file says that ${count.toLocaleString('en')} ${what} follow, and ${this.left.toLocaleString('en')} ` +
          'bytes are left.',
      );
    }
    return count;
  }

  async text(most = Infinity): Promise<string> {
    const length = await this.count(1, 'bytes of a text');
    if (length > most) {
      throw new LoRAError(`The GGUF file has a name of ${length.toLocaleString('en')} bytes.`);
    }
    if (length > this.bytes.length - this.at) {
      await this.more(length);
    }
    this.at += length;
    return this.decoder.decode(this.bytes.subarray(this.at - length, this.at));
  }

  /** A value, with its type before it. */
  async value(): Promise<MetadataValue> {
    return this.valueOf(await this.type(), 0);
  }

  private async type(): Promise<Type> {
    const number = await this.word();
    const type = TYPES[number];
    if (type === undefined) {
      throw new LoRAError(`The GGUF file has a value of type ${number}, which is not known.`);
    }
    return type;
  }

  private async valueOf(type: Type, depth: number): Promise<MetadataValue> {
    switch (type) {
      case 'text':
        return this.text();
      case 'list':
        return this.list(depth + 1);
      case 'bool':
        return (await this.number('uint8')) !== 0;
      default:
        return this.number(type);
    }
  }

  private async list(depth: number): Promise<MetadataList> {
    if (depth > MOST_NESTED) {
      throw new LoRAError(`The GGUF file has lists in lists, more than ${MOST_NESTED} deep.`);
    }
    const type = await this.type();
    const count = await this.count(BYTES[type], 'entries of a list');
    if (Object.hasOwn(LISTS, type) && this.left !== Infinity) {
      const numbers = LISTS[type as NumberType](count);
      for (let i = 0; i < count; i++) {
        numbers[i] = (await this.number(type as NumberType)) as number;
      }
      return numbers;
    }
    const values: MetadataValue[] = [];
    for (let i = 0; i < count; i++) {
      values.push(await this.valueOf(type, depth));
    }
    return values;
  }

  /** A number; one of 64 bits that a number cannot hold as a `bigint`. */
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

  /** Has at least so many bytes ready. What was said is not asked for at once, if it is not known to be there. */
  private async more(count: number): Promise<void> {
    const parts = [this.bytes.subarray(this.at)];
    let ready = parts[0]?.length ?? 0;
    while (ready < count) {
      const missing = count - ready;
      const known = this.source.size === null ? missing : this.source.size - this.source.position;
      const next = await this.source.take(Math.min(CHUNK, Math.max(1, this.source.size === null ? missing : known)));
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
