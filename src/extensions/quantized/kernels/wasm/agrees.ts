import type {Native} from '../../../../backends/wasm/module/native';
import {formatNamed} from '../../formats/formats';
import {areProducts, FACTORS, INTEGERS, ROWS, trialMatrix, WIDTH} from '../trial';
import {
  JOINT_FORMATS,
  type QuantizedFunctions,
  MODULE_FORMATS,
  ROUNDED_FORMATS,
  roundedBytes,
  sumBytes,
} from './functions';

const PARTS = WIDTH / 32;

/** Whether the module unpacks each format correctly, in rows and in panels, and multiplies rows. */
export function agrees(native: Native, functions: QuantizedFunctions): boolean {
  return MODULE_FORMATS.every((name, format) => {
    const blockFormat = formatNamed(name);
    if (blockFormat === undefined) {
      return false;
    }
    const {bytes, stride, expected} = trialMatrix(blockFormat);
    const panel = 32 * ROWS;
    const sizes = [bytes.length, 4 * expected.length, 4 * WIDTH, 4 * WIDTH, sumBytes(PARTS), 4 * ROWS];
    const [source = 0, numbers = 0, row = 0, prepared = 0, sums = 0, out = 0, lanes = 0] = native.reserve(...sizes, 32);
    native.writeIntegers(source, new Int32Array(bytes.buffer));
    native.writeFloats(row, FACTORS);
    functions.unpackRows(format, source, stride, ROWS, PARTS, numbers);
    const inRows = same(native.floats(numbers, expected.length), expected, i => i);
    functions.unpackColumns(format, source, stride, ROWS, 0, PARTS, numbers, panel);
    const inPanels = same(native.floats(numbers, expected.length), expected, i => {
      const [at, column] = [Math.floor(i / WIDTH), i % WIDTH];
      return (column >> 3) * 8 * ROWS + 8 * at + (column & 7);
    });
    functions.prepareRow(format, row, WIDTH, PARTS, prepared, sums);
    functions.multiplyRow(format, source, stride, ROWS, PARTS, prepared, sums, out);
    const isProduct = areProducts(native.floats(out, ROWS), expected);
    if (JOINT_FORMATS.has(format)) {
      // The same row twice, whose second result replaces the first.
      functions.multiplyRows(format, source, stride, ROWS, PARTS, prepared, sums, 2, 0, lanes, out, 0);
    }
    return (
      inRows &&
      inPanels &&
      isProduct &&
      areProducts(native.floats(out, ROWS), expected) &&
      (!ROUNDED_FORMATS.has(format) || multipliesRounded(native, functions, format, {bytes, stride, expected}))
    );
  });
}

/** Whether the module rounds a row and multiplies with it, where rounding changes nothing. */
function multipliesRounded(
  native: Native,
  functions: QuantizedFunctions,
  format: number,
  {bytes, stride, expected}: ReturnType<typeof trialMatrix>,
): boolean {
  const sizes = [bytes.length, 4 * WIDTH, roundedBytes(PARTS), 4 * ROWS];
  const [source = 0, row = 0, rounded = 0, out = 0] = native.reserve(...sizes);
  native.writeIntegers(source, new Int32Array(bytes.buffer));
  native.writeFloats(row, INTEGERS);
  functions.roundRow(row, WIDTH, PARTS, rounded);
  functions.multiplyRounded(format, source, stride, ROWS, PARTS, rounded, out);
  return areProducts(native.floats(out, ROWS), expected, INTEGERS);
}

function same(actual: Float32Array, expected: Float32Array, placeOf: (i: number) => number): boolean {
  return expected.every((value, i) => value === actual[placeOf(i)]);
}
