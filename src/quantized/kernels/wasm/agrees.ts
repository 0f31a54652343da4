import type {Native} from '../../../kernels/wasm/module/native';
import {dequantize, formatNamed} from '../../formats';
import {type QuantizedFunctions, MODULE_FORMATS} from './functions';

/** Rows and parts of the matrices that it is tried with. */
const ROWS = 3;
const PARTS = 8;
const NUMBERS = 32 * PARTS;

/** Whether the module unpacks each format as it should, in rows and in panels, and multiplies a row. */
export function agrees(native: Native, own: QuantizedFunctions): boolean {
  return MODULE_FORMATS.every((name, format) => {
    const known = formatNamed(name);
    if (known === undefined) {
      return false;
    }
    const stride = (NUMBERS / known.numbers) * known.bytes;
    const bytes = Uint8Array.from({length: Math.ceil((ROWS * stride) / 4) * 4}, (_, i) => byteOf(i));
    const expected = new Float32Array(ROWS * NUMBERS);
    dequantize(known, bytes, 0, (ROWS * NUMBERS) / known.numbers, expected);
    const x = Float32Array.from({length: NUMBERS}, (_, i) => (i % 5) - 2);
    const panel = 32 * ROWS;
    const sizes = [bytes.length, 4 * expected.length, 4 * NUMBERS, NUMBERS, 4 * ROWS];
    const [source = 0, numbers = 0, row = 0, scratch = 0, out = 0] = native.reserve(...sizes);
    native.writeIntegers(source, new Int32Array(bytes.buffer));
    native.writeFloats(row, x);
    own.unpackRows(format, source, stride, ROWS, PARTS, numbers);
    const inRows = same(native.floats(numbers, expected.length), expected, i => i);
    own.unpackColumns(format, source, stride, ROWS, 0, PARTS, numbers, panel);
    const inPanels = same(native.floats(numbers, expected.length), expected, i => {
      const [at, column] = [Math.floor(i / NUMBERS), i % NUMBERS];
      return (column >> 3) * 8 * ROWS + 8 * at + (column & 7);
    });
    own.multiplyRow(format, source, stride, ROWS, PARTS, row, scratch, out);
    const products = native.floats(out, ROWS);
    const multiplied = products.every((product, at) => {
      const terms = Array.from(x, (value, i) => value * (expected[at * NUMBERS + i] as number));
      const size = terms.reduce((sum, term) => sum + Math.abs(term), 0);
      return Math.abs(product - terms.reduce((sum, term) => sum + term)) <= 1e-5 * size;
    });
    return inRows && inPanels && multiplied;
  });
}

/** Bytes without a pattern, none of which has the bit that an infinity or a NaN needs. */
function byteOf(i: number): number {
  return Math.floor(256 * Math.abs(Math.sin(12.9898 * i + 78.233 * (i % 7)))) & 0xbf;
}

function same(actual: Float32Array, expected: Float32Array, placeOf: (i: number) => number): boolean {
  return expected.every((value, i) => value === actual[placeOf(i)]);
}
