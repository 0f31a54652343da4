import {toFloat16} from '../../../platform/formats/halfFloats';

const bits32 = new DataView(new ArrayBuffer(4));

/** The float16 bits of a number. */
export function halfOf(value: number): number {
  bits32.setFloat32(0, value);
  return toFloat16(bits32.getUint32(0));
}

/** Packs rows into the blocks of GGUF: for 32 values, a float16 scale and then the integers. */
export function inBlocks({
  bits,
  units,
  width,
  valueOf,
  scaleOf,
}: {
  bits: number;
  units: number;
  width: number;
  valueOf: (row: number, at: number) => number;
  scaleOf: (row: number, at: number) => number;
}): Int32Array {
  const size = bits === 4 ? 18 : 34;
  const words = new Int32Array(Math.ceil((units * (width / 32) * size) / 4));
  const view = new DataView(words.buffer);
  let place = 0;
  for (let row = 0; row < units; row++) {
    for (let at = 0; at < width; at += 32, place += size) {
      view.setUint16(place, halfOf(scaleOf(row, at)), true);
      for (let i = 0; i < size - 2; i++) {
        // In Q4_0, the low bits of the bytes hold the first half of the values.
        const value = valueOf(row, at + i);
        view.setUint8(place + 2 + i, bits === 8 ? (value - 128) & 255 : value | (valueOf(row, at + i + 16) << 4));
      }
    }
  }
  return words;
}
