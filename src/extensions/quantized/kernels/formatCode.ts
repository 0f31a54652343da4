import type {BlockFormat, BlockFormatName} from '../formats/formats';

// Unpacks blocks in WGSL and GLSL, by expressions that are valid in both languages.

export interface Dialect {
  /** The types of integers and floats. */
  readonly integer: string;
  readonly real: string;
  /** An integer function that returns the value of an expression. */
  define(name: string, parameters: readonly string[], type: string, expression: string): string;
  /** Integer functions: `bits(v, shift, mask)`, `byteAt(offset)`, `real(v)`, and `fromBits(v)`, a float by its bits. */
  readonly primitives: string;
}

type Definition = [name: string, parameters: readonly string[], type: 'integer' | 'real', expression: string];

/** The exponent and mantissa of a float16. */
const EXPONENT = 'bits(v, 10, 31)';
const FRACTION = 'bits(v, 0, 1023)';
/** The exponent of a float16, converted for float32; the highest one stands for infinity there too. */
const RAISED = `(max(${EXPONENT}, 1) + 102 + 122 * (${EXPONENT} / 31))`;

/** Functions of byte offsets, as in `formats.ts`. */
const DEFINITIONS: readonly Definition[] = [
  ['signedAt', ['o'], 'integer', 'byteAt(o) - 256 * bits(byteAt(o), 7, 1)'],
  ['shortAt', ['o'], 'integer', 'byteAt(o) + 256 * byteAt(o + 1)'],
  [
    ...(['fromHalf', ['v'], 'real'] as const),
    `real((1 - 2 * bits(v, 15, 1)) * (1024 * min(${EXPONENT}, 1) + ${FRACTION})) * fromBits(${RAISED} * 8388608)`,
  ],
  ['halfAt', ['o'], 'real', 'fromHalf(shortAt(o))'],
  ['fourAt', ['o', 'i'], 'integer', 'bits(byteAt(o + i % 16), 4 * (i / 16), 15)'],
  ['fiveAt', ['o', 'i'], 'integer', 'fourAt(o + 4, i) + 16 * bits(byteAt(o + i / 8), i % 8, 1)'],
  ['lowScale', ['o', 'part'], 'integer', 'bits(byteAt(o + part), 0, 63)'],
  ['highScale', ['o', 'part'], 'integer', 'bits(byteAt(o + part + 4), 0, 15) + 16 * bits(byteAt(o + part - 4), 6, 3)'],
  ['highMinimum', ['o', 'part'], 'integer', 'bits(byteAt(o + part + 4), 4, 15) + 16 * bits(byteAt(o + part), 6, 3)'],
  [
    ...(['scaleAt', ['o', 'part'], 'integer'] as const),
    '(1 - part / 4) * lowScale(o, part) + (part / 4) * highScale(o, part)',
  ],
  [
    ...(['minimumAt', ['o', 'part'], 'integer'] as const),
    '(1 - part / 4) * lowScale(o, part + 4) + (part / 4) * highMinimum(o, part)',
  ],
  // For blocks of 256.
  ['fourIn', ['o', 'i'], 'integer', 'bits(byteAt(o + 32 * (i / 64) + i % 32), 4 * ((i / 32) % 2), 15)'],
  ['twoIn', ['o', 'i'], 'integer', 'bits(byteAt(o + 32 * (i / 128) + i % 32), 2 * ((i / 32) % 4), 3)'],
  ['lowIn', ['o', 'i'], 'integer', 'bits(byteAt(o + 64 * (i / 128) + i % 64), 4 * ((i / 64) % 2), 15)'],
];

/** A value `factor·quant + shift`, as code of the byte `p` where its block begins and the index `i` in that block. */
interface NumberCode {
  /** Eight values from a multiple of eight on share the factor and the shift, if a block has as many. */
  readonly factor: string;
  readonly quant: string;
  readonly shift?: string;
}

/** `d·scale·q − dmin·minimum`. */
const ofParts = (quant: string): NumberCode => ({
  factor: 'halfAt(p) * real(scaleAt(p + 4, i / 32))',
  quant,
  shift: '-halfAt(p + 2) * real(minimumAt(p + 4, i / 32))',
});

const NUMBERS: Readonly<Record<BlockFormatName, NumberCode>> = {
  F32: {factor: 'fromBits(shortAt(p) + 65536 * shortAt(p + 2))', quant: '1'},
  F16: {factor: 'halfAt(p)', quant: '1'},
  BF16: {factor: 'fromBits(65536 * shortAt(p))', quant: '1'},
  Q8_0: {factor: 'halfAt(p)', quant: 'signedAt(p + 2 + i)'},
  Q4_0: {factor: 'halfAt(p)', quant: 'fourAt(p + 2, i) - 8'},
  Q4_1: {factor: 'halfAt(p)', quant: 'fourAt(p + 4, i)', shift: 'halfAt(p + 2)'},
  Q5_0: {factor: 'halfAt(p)', quant: 'fiveAt(p + 2, i) - 16'},
  Q5_1: {factor: 'halfAt(p)', quant: 'fiveAt(p + 4, i)', shift: 'halfAt(p + 2)'},
  Q4_K: ofParts('fourIn(p + 16, i)'),
  Q5_K: ofParts('fourIn(p + 48, i) + 16 * bits(byteAt(p + 16 + i % 32), i / 32, 1)'),
  Q6_K: {
    factor: 'halfAt(p + 208) * real(signedAt(p + 192 + i / 16))',
    quant: 'lowIn(p, i) + 16 * twoIn(p + 128, i) - 32',
  },
};

/** How many consecutive values, from a multiple of this on, share the factor and the shift. */
export function numbersTogether({numbers}: BlockFormat): 1 | 8 {
  return numbers === 1 ? 1 : 8;
}

/**
 * Declares `numberAt(row, column)` for a matrix with rows `stride` bytes apart, and its parts: the byte `blockOf(row,
 * column)` and the index `indexOf(column)` in that block, then `factorAt`, `quantAt` and `shiftAt` of these two.
 */
export function formatCode({name, numbers, bytes}: BlockFormat, dialect: Dialect, stride: string): string {
  const code = NUMBERS[name];
  const definitions: Definition[] = [
    ...DEFINITIONS,
    ['blockOf', ['row', 'column'], 'integer', `row * ${stride} + (column / ${numbers}) * ${bytes}`],
    ['indexOf', ['column'], 'integer', `column % ${numbers}`],
    ['factorAt', ['p', 'i'], 'real', code.factor],
    ['quantAt', ['p', 'i'], 'integer', code.quant],
    ['shiftAt', ['p', 'i'], 'real', code.shift ?? '0.0'],
    ['numberIn', ['p', 'i'], 'real', 'factorAt(p, i) * real(quantAt(p, i)) + shiftAt(p, i)'],
    ['numberAt', ['row', 'column'], 'real', 'numberIn(blockOf(row, column), indexOf(column))'],
  ];
  const declared = definitions.map(([called, parameters, type, expression]) =>
    dialect.define(called, parameters, dialect[type], expression),
  );
  return [dialect.primitives, ...declared].join('\n');
}
