import type {ByteReader} from './byteReader';
import {broken, type Entry, headerLength, parseHeader, readNumbers} from './safetensorsHeader';

/** A safetensors file whose header has been read, and whose tensors are still to come. */
export interface OpenSafetensors {
  /** What the header says of each tensor, in the order of their bytes. */
  entries: [name: string, entry: Entry][];
  /**
   * Reads the tensors one after the other, and holds one at a time.
   *
   * @param visit is given the numbers; `null` for types other than `F32`, `F16` and `BF16`.
   * @throws LoRAError if the file ends before the last, or goes on behind it.
   */
  read(visit: (name: string, entry: Entry, data: Float32Array | null) => void): Promise<void>;
}

/** Whether numbers lie in memory as files have them. */
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
        visit(name, entry, numbersOf(await reader.take(entry.end - entry.begin), entry));
      }
      if (await reader.hasMore()) {
        throw broken(['bytes behind the last tensor belong to none']);
      }
    },
  };
}

function numbersOf(bytes: Uint8Array<ArrayBuffer>, {dtype}: Entry): Float32Array | null {
  return dtype === 'F32' && IS_LITTLE_ENDIAN
    ? new Float32Array(bytes.buffer)
    : readNumbers(new DataView(bytes.buffer), dtype, 0, bytes.length);
}
