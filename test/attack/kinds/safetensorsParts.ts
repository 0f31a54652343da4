import type {Json, Parts} from '../kind';

/** The header of a safetensors file. */
export type Header = Record<string, {dtype: string; shape: number[]; data_offsets: [number, number]}>;

/** A safetensors file as its header and the bytes behind it. */
export function partsOf(bytes: Uint8Array): Parts {
  const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length))) as Json;
  return {header, data: bytes.slice(8 + length)};
}

/** The file that has these parts. One that is a part as a whole is taken as it is. */
export function fileOf({file, header, data}: Parts): Uint8Array {
  if (file !== undefined) {
    return file as Uint8Array;
  }
  const json = new TextEncoder().encode(JSON.stringify(header));
  const bytes = new Uint8Array(8 + json.length + (data as Uint8Array).length);
  new DataView(bytes.buffer).setUint32(0, json.length, true);
  bytes.set(json, 8);
  bytes.set(data as Uint8Array, 8 + json.length);
  return bytes;
}
