import {fromFloat16} from '../../../platform/formats/halfFloats';
import {halfOf, inBlocks} from './blocks';

/** The attributes of a node of `MatMulNBits`. */
export interface NBitsSizes {
  bits: number;
  /** How many values share a scale. */
  block: number;
  width: number;
  units: number;
}

/** @param of the value of an integer attribute, or else a default. */
export function nBitsSizes(of: (name: string, fallback: number) => number): NBitsSizes {
  return {bits: of('bits', 4), block: of('block_size', 32), width: of('K', 0), units: of('N', 0)};
}

/** The values of the inputs of a node of `MatMulNBits`. */
export interface NBitsValues {
  packed: ArrayLike<number>;
  scales: ArrayLike<number>;
  zeros: ArrayLike<number> | undefined;
  /** Whether zero points are floats, and not packed like the matrix. */
  hasFloatZeros: boolean;
}

/** Whether the lengths of values are those of the attributes. */
export function nBitsFit({bits, block, width, units}: NBitsSizes, packed: number, scales: number): boolean {
  const blocks = Math.ceil(width / block);
  return (
    (bits === 4 || bits === 8) &&
    block > 0 &&
    width > 0 &&
    packed === (units * blocks * block * bits) / 8 &&
    scales === units * blocks
  );
}

/** The matrix of a node of `MatMulNBits`: a row of integers for each output; blocks have a scale and a zero point. */
export class NBitsMatrix {
  private readonly blocks: number;

  constructor(
    private readonly sizes: NBitsSizes,
    private readonly values: NBitsValues,
  ) {
    this.blocks = Math.ceil(sizes.width / sizes.block);
  }

  /** The format of GGUF whose blocks compute the same, if there is one. */
  get format(): 'Q4_0' | 'Q8_0' | undefined {
    const {bits, block, width, units} = this.sizes;
    if (width % 32 !== 0 || block % 32 !== 0) {
      return undefined;
    }
    for (let row = 0; row < units; row++) {
      for (let group = 0; group < this.blocks; group++) {
        const d = this.scale(row, group);
        if (fromFloat16(halfOf(d)) !== d || this.zero(row, group) !== 2 ** (bits - 1)) {
          return undefined;
        }
      }
    }
    return bits === 4 ? 'Q4_0' : 'Q8_0';
  }

  /** How many bytes the blocks of the format have. */
  get bytes(): number {
    const {bits, width, units} = this.sizes;
    return units * (width / 32) * (4 * bits + 2);
  }

  /** The blocks of the format. */
  words(): Int32Array {
    const {bits, block, width, units} = this.sizes;
    return inBlocks({
      ...{bits, units, width},
      valueOf: (row, at) => this.integer(row, at),
      scaleOf: (row, at) => this.scale(row, Math.floor(at / block)),
    });
  }

  /** The weight of an input for an output. */
  weight(row: number, at: number): number {
    const group = Math.floor(at / this.sizes.block);
    return (this.integer(row, at) - this.zero(row, group)) * this.scale(row, group);
  }

  private integer(row: number, at: number): number {
    const {bits, block} = this.sizes;
    return this.unpacked(this.values.packed, (row * this.blocks * block * bits) / 8, at);
  }

  private scale(row: number, group: number): number {
    return this.values.scales[row * this.blocks + group] ?? 0;
  }

  private zero(row: number, group: number): number {
    const {zeros, hasFloatZeros} = this.values;
    const {bits} = this.sizes;
    if (zeros === undefined) {
      return 2 ** (bits - 1);
    }
    return hasFloatZeros
      ? (zeros[row * this.blocks + group] ?? 0)
      : this.unpacked(zeros, row * Math.ceil((this.blocks * bits) / 8), group);
  }

  private unpacked(list: ArrayLike<number>, first: number, at: number): number {
    const {bits} = this.sizes;
    const perByte = 8 / bits;
    return ((list[first + Math.floor(at / perByte)] ?? 0) >> (bits * (at % perByte))) & (2 ** bits - 1);
  }
}
