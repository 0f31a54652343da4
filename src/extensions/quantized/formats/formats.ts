import {fromBfloat16, fromFloat16} from '../../../platform/formats/halfFloats';

// The formats of weights in GGUF files: floats, or blocks of 32 or 256 small integers that share scales. Each is
// unpacked bit for bit as in ggml and in `quants.py` of the Python package gguf.

/** The formats, by their names in GGUF. */
export type BlockFormatName =
  'F32' | 'F16' | 'BF16' | 'Q8_0' | 'Q4_0' | 'Q4_1' | 'Q5_0' | 'Q5_1' | 'Q4_K' | 'Q5_K' | 'Q6_K';

export interface BlockFormat {
  readonly name: BlockFormatName;
  /** How many values a block has. */
  readonly numbers: number;
  /** The bytes of a block. */
  readonly bytes: number;
  /** Unpacks the block at byte `at`, and writes its values from index `to` on. */
  readonly unpack: (bytes: Uint8Array, at: number, out: Float32Array, to: number) => void;
}

function byteAt(bytes: Uint8Array, at: number): number {
  return bytes[at] as number;
}

function signedAt(bytes: Uint8Array, at: number): number {
  return (byteAt(bytes, at) << 24) >> 24;
}

function bitsAt(bytes: Uint8Array, at: number): number {
  return byteAt(bytes, at) | (byteAt(bytes, at + 1) << 8);
}

function halfAt(bytes: Uint8Array, at: number): number {
  return fromFloat16(bitsAt(bytes, at));
}

/** Copies a float by its bits, which preserves NaNs. */
function writeBits(out: Float32Array, to: number, bits: number): void {
  new Uint32Array(out.buffer, out.byteOffset, out.length)[to] = bits;
}

/** A block of 32 in two halves of 16: the lower four bits of 16 bytes, then the upper four. */
function unpackNibbles(bytes: Uint8Array, at: number, write: (i: number, value: number) => void): void {
  for (let i = 0; i < 16; i++) {
    const pair = byteAt(bytes, at + i);
    write(i, pair & 15);
    write(i + 16, pair >> 4);
  }
}

/** As `unpackNibbles`, with a fifth bit for each value in the four bytes before. */
function unpackFives(bytes: Uint8Array, at: number, write: (i: number, value: number) => void): void {
  unpackNibbles(bytes, at + 4, (i, value) => {
    const high = (byteAt(bytes, at + (i >> 3)) >> (i & 7)) & 1;
    write(i, value | (high << 4));
  });
}

/** The scale and the minimum of one of the eight parts of a block of 256: 6 bits each, in 12 bytes from `at` on. */
function scaleAndMinimum(bytes: Uint8Array, at: number, subBlock: number): [scale: number, minimum: number] {
  if (subBlock < 4) {
    return [byteAt(bytes, at + subBlock) & 63, byteAt(bytes, at + subBlock + 4) & 63];
  }
  const low = byteAt(bytes, at + subBlock + 4);
  const [ofScale, ofMinimum] = [byteAt(bytes, at + subBlock - 4), byteAt(bytes, at + subBlock)];
  return [(low & 15) | ((ofScale >> 2) & 48), (low >> 4) | ((ofMinimum >> 2) & 48)];
}

/** A block of 256 in eight parts of 32, each `d·scale·q − dmin·minimum`. `valueAt` returns the integers `q`. */
function unpackParts(
  bytes: Uint8Array,
  at: number,
  out: Float32Array,
  to: number,
  valueAt: (subBlock: number, i: number) => number,
): void {
  const [d, dmin] = [halfAt(bytes, at), halfAt(bytes, at + 2)];
  for (let subBlock = 0; subBlock < 8; subBlock++) {
    const [scale, minimum] = scaleAndMinimum(bytes, at + 4, subBlock);
    const [factor, shift] = [d * scale, dmin * minimum];
    for (let i = 0; i < 32; i++) {
      out[to + 32 * subBlock + i] = Math.fround(factor * valueAt(subBlock, i)) - shift;
    }
  }
}

/** Blocks of 32 integers: `d·(value − shift)`, or `d·value + m` if the shift is in the block. */
function shiftedBlocks(
  name: BlockFormatName,
  bytes: number,
  unpackIntegers: typeof unpackNibbles,
  shift?: number,
): BlockFormat {
  const unpack: BlockFormat['unpack'] = (data, at, out, to) => {
    const [d, m] = [halfAt(data, at), shift === undefined ? halfAt(data, at + 2) : 0];
    unpackIntegers(data, at + (shift === undefined ? 4 : 2), (i, value) => {
      out[to + i] = shift === undefined ? d * value + m : d * (value - shift);
    });
  };
  return {name, numbers: 32, bytes, unpack};
}

const FORMATS: readonly BlockFormat[] = [
  {
    name: 'F32',
    numbers: 1,
    bytes: 4,
    unpack: (bytes, at, out, to) => {
      writeBits(out, to, bitsAt(bytes, at) | (bitsAt(bytes, at + 2) << 16));
    },
  },
  {
    name: 'F16',
    numbers: 1,
    bytes: 2,
    unpack: (bytes, at, out, to) => {
      out[to] = halfAt(bytes, at);
    },
  },
  {
    name: 'BF16',
    numbers: 1,
    bytes: 2,
    unpack: (bytes, at, out, to) => {
      writeBits(out, to, fromBfloat16(bitsAt(bytes, at)));
    },
  },
  {
    name: 'Q8_0',
    numbers: 32,
    bytes: 34,
    unpack: (bytes, at, out, to) => {
      const d = halfAt(bytes, at);
      for (let i = 0; i < 32; i++) {
        out[to + i] = signedAt(bytes, at + 2 + i) * d;
      }
    },
  },
  shiftedBlocks('Q4_0', 18, unpackNibbles, 8),
  shiftedBlocks('Q4_1', 20, unpackNibbles),
  shiftedBlocks('Q5_0', 22, unpackFives, 16),
  shiftedBlocks('Q5_1', 24, unpackFives),
  {
    name: 'Q4_K',
    numbers: 256,
    bytes: 144,
    unpack: (bytes, at, out, to) => {
      unpackParts(bytes, at, out, to, (subBlock, i) => {
        return (byteAt(bytes, at + 16 + 32 * (subBlock >> 1) + i) >> (4 * (subBlock & 1))) & 15;
      });
    },
  },
  {
    name: 'Q5_K',
    numbers: 256,
    bytes: 176,
    unpack: (bytes, at, out, to) => {
      unpackParts(bytes, at, out, to, (subBlock, i) => {
        const low = (byteAt(bytes, at + 48 + 32 * (subBlock >> 1) + i) >> (4 * (subBlock & 1))) & 15;
        return low | (((byteAt(bytes, at + 16 + i) >> subBlock) & 1) << 4);
      });
    },
  },
  {
    name: 'Q6_K',
    numbers: 256,
    bytes: 210,
    unpack: (bytes, at, out, to) => {
      const d = halfAt(bytes, at + 208);
      for (let i = 0; i < 256; i++) {
        const half = i >> 7;
        const low = (byteAt(bytes, at + 64 * half + (i & 63)) >> (4 * ((i >> 6) & 1))) & 15;
        const high = (byteAt(bytes, at + 128 + 32 * half + (i & 31)) >> (2 * ((i >> 5) & 3))) & 3;
        out[to + i] = d * signedAt(bytes, at + 192 + (i >> 4)) * ((low | (high << 4)) - 32);
      }
    },
  },
];

const BY_NAME = new Map<string, BlockFormat>(FORMATS.map(format => [format.name, format]));

export const FORMAT_NAMES: readonly BlockFormatName[] = FORMATS.map(({name}) => name);

/**
 * The scale and the minimum of integers in a block: those from index `i` on, of 16 in Q6_K and 32 in the others. Their
 * values are `scale·integer + minimum`, where signed integers have no minimum.
 */
export function scaleIn({name, numbers}: BlockFormat, bytes: Uint8Array, at: number, i: number): [number, number] {
  if (name === 'Q6_K') {
    return [halfAt(bytes, at + 208) * signedAt(bytes, at + 192 + (i >> 4)), 0];
  }
  if (numbers === 256) {
    const [scale, minimum] = scaleAndMinimum(bytes, at + 4, i >> 5);
    return [halfAt(bytes, at) * scale, -halfAt(bytes, at + 2) * minimum];
  }
  return [halfAt(bytes, at), name.endsWith('_1') ? halfAt(bytes, at + 2) : 0];
}

/** Returns the format of this name, if there is one. */
export function formatNamed(name: string): BlockFormat | undefined {
  return BY_NAME.get(name);
}

/** Unpacks `count` blocks from byte `at` on, and writes their values from index `to` on. */
export function dequantize(
  {numbers, bytes: size, unpack}: BlockFormat,
  bytes: Uint8Array,
  at: number,
  count: number,
  out: Float32Array,
  to = 0,
): void {
  for (let i = 0; i < count; i++) {
    unpack(bytes, at + i * size, out, to + i * numbers);
  }
}
