import {faultLines, listed, LoRAError, show} from '../errors';
import {fromBfloat16, fromFloat16} from './halfFloats';
import {duplicateKeys, nesting} from './jsonText';

// What a safetensors file says of itself, which nobody need believe: each claim is checked against the bytes that are
// there.

/** Bytes a number, by type. */
export const SIZES: Readonly<Record<string, number>> = {
  ...{BOOL: 1, U8: 1, I8: 1, F8_E4M3: 1, F8_E5M2: 1, F8_E8M0: 1, U16: 2, I16: 2, F16: 2, BF16: 2},
  ...{U32: 4, I32: 4, F32: 4, U64: 8, I64: 8, F64: 8, C64: 8},
};
/** The name under which the header has texts. */
export const METADATA = '__metadata__';
/** Some hundred thousand tensors' worth. Enough for any adapter, and a bound on what a parser may be made to hold. */
const MAX_HEADER = 16 * 2 ** 20;
const MAX_FAULTS = 10;

/** Where a tensor lies among the bytes behind the header. */
export interface Entry {
  dtype: string;
  shape: number[];
  begin: number;
  end: number;
}

/**
 * How many bytes the header takes, which the first eight bytes of a file say.
 *
 * @param available how many bytes the file has; `Infinity` where that is not known yet.
 * @throws LoRAError if so many are not there, or not allowed.
 */
export function headerLength(start: Uint8Array, available: number): number {
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
 * What the header says of each tensor, in the order of the file, and the texts that it carries.
 *
 * @param dataLength how many bytes follow it; `null` where that is not known yet.
 * @throws LoRAError if it is damaged, or the tensors do not cover the bytes, with a line for each fault.
 */
export function parseHeader(
  bytes: Uint8Array,
  dataLength: number | null,
): {metadata: Map<string, string>; entries: [name: string, entry: Entry][]} {
  const faults: string[] = [];
  const metadata = new Map<string, string>();
  const entries: [name: string, entry: Entry][] = [];
  for (const [name, value] of Object.entries(headerObject(bytes))) {
    if (name === METADATA) {
      readMetadata(value, metadata, faults);
    } else if (isReserved(name)) {
      faults.push(`a tensor cannot have the name ${show(name)}`);
    } else {
      const entry = entryOf(value);
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
      throw new LoRAError('it is nested more deeply than one of a safetensors file');
    }
    json = JSON.parse(text);
    const twice = duplicateKeys(text);
    if (twice.length > 0) {
      throw new LoRAError(`${listed(twice.map(show), MAX_FAULTS)}: there twice`);
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

/** A tensor's entry of the header, or what is wrong with it. */
function entryOf(value: unknown): Entry | string {
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
  const size = (SIZES[dtype] ?? 0) * (shape.includes(0) ? 0 : shape.reduce((product, axis) => product * axis, 1));
  return size === end - begin
    ? {dtype, shape, begin, end}
    : `of shape ${brief(shape)} and type ${dtype} it takes ${size} bytes, and has ${end - begin}`;
}

/** Checks that the tensors cover the bytes one after the other, each byte once. */
function layoutFaults(entries: readonly [string, Entry][], length: number): string[] {
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

/** The numbers of a tensor; `null` for types other than `F32`, `F16` and `BF16`. */
export function readNumbers(view: DataView, dtype: string, begin: number, end: number): Float32Array | null {
  if (dtype !== 'F32' && dtype !== 'F16' && dtype !== 'BF16') {
    return null;
  }
  const data = new Float32Array((end - begin) / (SIZES[dtype] ?? 4));
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

/** Whether no tensor can have a name. */
export function isReserved(name: string): boolean {
  return name === METADATA || name === '__proto__';
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every(size => Number.isSafeInteger(size) && size >= 0);
}

/** A value of the header, not at full length: who wrote it is not known. */
function brief(value: unknown): string {
  const text = show(value);
  return text.length > 100 ? `${text.slice(0, 100)}…` : text;
}

/** The error for a file that is damaged. */
export function broken(faults: readonly string[]): LoRAError {
  return new LoRAError(`This is not a whole safetensors file:\n${faultLines(faults, MAX_FAULTS)}`);
}
