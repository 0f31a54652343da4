import {brief, damagedError, faultLines, kindOf, listed, LoRAError, show} from '../errors';
import type {ByteReader} from './byteReader';
import {isReserved, METADATA, SIZES} from './encodeSafetensors';
import {fromBfloat16, fromFloat16} from './halfFloats';
import {duplicateKeys, nesting} from './jsonText';

export interface StoredTensor {
  /** The type that the file gives: `F32`, `F16`, `BF16`, `I64`, … */
  dtype: string;
  shape: number[];
  /** The values; `null` for types other than `F32`, `F16` and `BF16`. */
  data: Float32Array | null;
}

/** The contents of a safetensors file. */
interface Safetensors {
  metadata: Map<string, string>;
  tensors: Map<string, StoredTensor>;
}

/**
 * Reads an untrusted safetensors file: checks each claim of the header against the actual bytes before using it. The
 * tensors' values are copies, 4 bytes for each in the file.
 *
 * @throws LoRAError if the file is damaged or not of this format, with a line for each fault.
 */
export function decodeSafetensors(bytes: Uint8Array): Safetensors {
  if (!((bytes as unknown) instanceof Uint8Array)) {
    throw new LoRAError(`Expected the bytes of a safetensors file, a Uint8Array, got ${kindOf(bytes)}.`);
  }
  if (bytes.length < 8) {
    throw broken([`it has ${bytes.length} bytes, and a header takes more`]);
  }
  const start = 8 + headerLength(bytes, bytes.length);
  const {metadata, entries} = parseHeader(bytes.subarray(8, start), bytes.length - start);
  const view = new DataView(bytes.buffer, bytes.byteOffset + start, bytes.length - start);
  const tensors = new Map(
    entries.map(([name, {dtype, shape, begin, end}]) => [
      name,
      {dtype, shape, data: readNumbers(view, dtype, begin, end)},
    ]),
  );
  return {metadata, tensors};
}

// Each claim of the header is checked against the bytes that are there.

/** Enough for some hundred thousand tensors; limits the parser's memory. */
const MAX_HEADER = 16 * 2 ** 20;
const MAX_FAULTS = 10;

/** The position of a tensor among the bytes after the header. */
interface TensorEntry {
  dtype: string;
  shape: number[];
  begin: number;
  end: number;
}

/**
 * The number of bytes in the header, from the first eight bytes of a file.
 *
 * @param available how many bytes the file has; `Infinity` if unknown.
 * @throws LoRAError if there are fewer, or more than allowed.
 */
function headerLength(start: Uint8Array, available: number): number {
  const view = new DataView(start.buffer, start.byteOffset, start.length);
  const length = view.getUint32(0, true) + view.getUint32(4, true) * 2 ** 32;
  if (length > available - 8) {
    throw broken([`its header should have ${length} bytes, and ${available - 8} are there`]);
  }
  if (length > MAX_HEADER) {
    throw broken([`its header has ${length} bytes, more than the ${MAX_HEADER} that are allowed`]);
  }
  return length;
}

/**
 * The header's entries for tensors, in the order of the file, and its texts.
 *
 * @param dataLength how many bytes follow it; `null` if unknown.
 * @throws LoRAError if it is damaged, or the tensors do not cover the bytes, with a line for each fault.
 */
function parseHeader(
  bytes: Uint8Array,
  dataLength: number | null,
): {metadata: Map<string, string>; entries: [name: string, entry: TensorEntry][]} {
  const faults: string[] = [];
  const metadata = new Map<string, string>();
  const entries: [name: string, entry: TensorEntry][] = [];
  for (const [name, value] of Object.entries(headerObject(bytes))) {
    if (name === METADATA) {
      readMetadata(value, metadata, faults);
    } else if (isReserved(name)) {
      faults.push(`a tensor cannot have the name ${show(name)}`);
    } else {
      const entry = readEntry(value);
      if (typeof entry === 'string') {
        faults.push(`${name}: ${entry}`);
      } else {
        entries.push([name, entry]);
      }
    }
  }
  if (faults.length === 0) {
    const claimed = entries.reduce((most, [, {end}]) => Math.max(most, end), 0);
    faults.push(...layoutFaults(entries, dataLength ?? claimed));
  }
  if (faults.length > 0) {
    throw broken(faults);
  }
  return {metadata, entries};
}

function headerObject(bytes: Uint8Array): object {
  let json: unknown;
  try {
    // A byte order mark is not skipped, so that it is no JSON.
    const text = new TextDecoder('utf-8', {fatal: true, ignoreBOM: true}).decode(bytes);
    if (nesting(text) > 3) {
      throw damagedError('it is nested more deeply than one of a safetensors file');
    }
    json = JSON.parse(text);
    const twice = duplicateKeys(text);
    if (twice.length > 0) {
      throw damagedError(`${listed(twice.map(show), MAX_FAULTS)}: there twice`);
    }
  } catch (error) {
    throw broken([`its header cannot be read: ${(error as Error).message}`]);
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) {
    throw broken([`its header is ${brief(json)}, not an object`]);
  }
  return json;
}

function readMetadata(value: unknown, metadata: Map<string, string>, faults: string[]): void {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    faults.push(`its metadata is ${brief(value)}, not an object`);
    return;
  }
  for (const [key, text] of Object.entries(value)) {
    if (typeof text === 'string') {
      metadata.set(key, text);
    } else {
      faults.push(`the metadata of ${show(key)} is ${brief(text)}, not a text`);
    }
  }
}

/** A tensor's entry of the header, or its fault. */
function readEntry(value: unknown): TensorEntry | string {
  const {dtype, shape, data_offsets: offsets} = (value ?? {}) as Record<string, unknown>;
  if (typeof dtype !== 'string' || !Object.hasOwn(SIZES, dtype)) {
    return `of type ${brief(dtype)}; there are ${Object.keys(SIZES).join(', ')}`;
  }
  if (!isSizes(shape)) {
    return `its shape is ${brief(shape)}, not a list of whole numbers`;
  }
  const [begin, end] = isSizes(offsets) ? offsets : [];
  if (begin === undefined || end === undefined || (offsets as unknown[]).length !== 2 || begin > end) {
    return `its offsets are ${brief(offsets)}, not [begin, end]`;
  }
  const size = (SIZES[dtype] as number) * (shape.includes(0) ? 0 : shape.reduce((product, axis) => product * axis, 1));
  return size === end - begin
    ? {dtype, shape, begin, end}
    : `of shape ${brief(shape)} and type ${dtype} it takes ${size} bytes, and has ${end - begin}`;
}

/** Checks that the tensors cover the bytes in order, each byte once. */
function layoutFaults(entries: readonly [string, TensorEntry][], length: number): string[] {
  const faults: string[] = [];
  let covered = 0;
  for (const [name, {begin, end}] of [...entries].sort(
    ([, one], [, two]) => one.begin - two.begin || one.end - two.end,
  )) {
    if (end > length) {
      faults.push(`${name}: ends at byte ${end} of ${length}`);
    } else if (begin < covered) {
      faults.push(`${name}: begins at byte ${begin}, inside the tensor before, which ends at ${covered}`);
    } else if (begin > covered) {
      faults.push(`${name}: begins at byte ${begin}; bytes ${covered} to ${begin} belong to no tensor`);
    }
    covered = Math.max(covered, end);
  }
  if (covered < length) {
    faults.push(`bytes ${covered} to ${length} belong to no tensor`);
  }
  return faults;
}

/** The values of a tensor; `null` for types other than `F32`, `F16` and `BF16`. */
function readNumbers(view: DataView, dtype: string, begin: number, end: number): Float32Array | null {
  if (dtype !== 'F32' && dtype !== 'F16' && dtype !== 'BF16') {
    return null;
  }
  const data = new Float32Array((end - begin) / (SIZES[dtype] as number));
  const bits = new Uint32Array(data.buffer);
  for (let i = 0; i < data.length; i++) {
    if (dtype === 'F32') {
      bits[i] = view.getUint32(begin + 4 * i, true);
    } else if (dtype === 'BF16') {
      bits[i] = fromBfloat16(view.getUint16(begin + 2 * i, true));
    } else {
      data[i] = fromFloat16(view.getUint16(begin + 2 * i, true));
    }
  }
  return data;
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every(size => Number.isSafeInteger(size) && size >= 0);
}

function broken(faults: readonly string[]): LoRAError {
  return damagedError(`This is not a whole safetensors file:\n${faultLines(faults, MAX_FAULTS)}`, {faults});
}

/** A safetensors file with its header read and its tensors not yet read. */
export interface OpenSafetensors {
  /** The header's entries for tensors, in the order of their bytes. */
  entries: [name: string, entry: TensorEntry][];
  /**
   * Reads the tensors one after the other, and holds one at a time.
   *
   * @param visit gets the values; `null` for types other than `F32`, `F16` and `BF16`. It is awaited.
   * @throws LoRAError if the file ends before the last tensor, or continues after it.
   */
  read(visit: (name: string, entry: TensorEntry, data: Float32Array | null) => void | Promise<void>): Promise<void>;
}

/** Whether values in memory have the byte order of files. */
const IS_LITTLE_ENDIAN = new Uint8Array(Uint32Array.of(1).buffer)[0] === 1;

/**
 * Reads the header of a safetensors file.
 *
 * @throws LoRAError if the header is damaged, or the file is shorter or longer than it says.
 */
export async function openSafetensors(reader: ByteReader): Promise<OpenSafetensors> {
  const length = headerLength(await reader.take(8), reader.size ?? Infinity);
  const header = await reader.take(length);
  const {entries} = parseHeader(header, reader.size === null ? null : reader.size - reader.position);
  entries.sort(([, one], [, other]) => one.begin - other.begin || one.end - other.end);
  return {
    entries,
    read: async visit => {
      for (const [name, entry] of entries) {
        await visit(name, entry, takeNumbers(await reader.take(entry.end - entry.begin), entry));
      }
      if (await reader.hasMore()) {
        throw broken(['bytes after the last tensor belong to none']);
      }
    },
  };
}

/** The values of a tensor that has these bytes; `null` for types other than `F32`, `F16` and `BF16`. */
export function takeNumbers(bytes: Uint8Array<ArrayBuffer>, {dtype}: TensorEntry): Float32Array | null {
  return dtype === 'F32' && IS_LITTLE_ENDIAN
    ? new Float32Array(bytes.buffer)
    : readNumbers(new DataView(bytes.buffer), dtype, 0, bytes.length);
}
