import * as tf from '@tensorflow/tfjs';
import {type MatrixProgram, runMatrixProgram, runsMatrixPrograms} from '../../../../backends/webgl/matrixProgram';
import {currentWebgl, type WebglBackend} from '../../../../backends/webgl/program';
import {convertedData} from '../../../../platform/tfjs/cardData';
import {type BlockMatrix, bytesOf, rowBytes} from '../../formats/blockMatrix';
import type {BlockFormat} from '../../formats/formats';
import {type Dialect, formatCode, numbersTogether} from '../formatCode';
import type {QuantizedKernels} from '../quantizedKernels';
import {areNumbers, readTrial, ROWS, runsFormat, trialMatrix, WIDTH} from '../trial';

// Textures hold 32-bit floats; here each holds a 24-bit integer, three bytes. A pixel has four floats.

const BYTES_OF_PIXEL = 12;

const GLSL: Dialect = {
  whole: 'int',
  real: 'float',
  define: (name, parameters, type, expression) =>
    `${type} ${name}(${parameters.map(parameter => `int ${parameter}`).join(', ')}) { return ${expression}; }`,
  primitives: `int bits(int v, int shift, int mask) { return (v >> shift) & mask; }
int byteAt(int offset) {
  vec4 pixel = threes(0, 2 * (offset / ${BYTES_OF_PIXEL}));
  return bits(int(pixel[(offset % ${BYTES_OF_PIXEL}) / 3]), 8 * (offset % 3), 255);
}
float real(int v) { return float(v); }
float fromBits(int v) { return intBitsToFloat(v); }`,
};

/** Uploads blocks as a matrix of two rows, so that pixels hold consecutive bytes. */
function onCard(blocks: tf.Tensor): tf.TensorInfo {
  return convertedData(blocks, () => {
    const bytes = bytesOf(blocks);
    const pixels = Math.ceil(bytes.length / BYTES_OF_PIXEL);
    const columns = 2 * pixels;
    const numbers = new Float32Array(4 * pixels);
    const byteAt = (offset: number) => bytes[offset] ?? 0;
    for (let i = 0; i < numbers.length; i++) {
      const index = (i & 2 ? columns : 0) + 2 * (i >> 2) + (i & 1);
      numbers[index] = byteAt(3 * i) + 256 * byteAt(3 * i + 1) + 65536 * byteAt(3 * i + 2);
    }
    return (currentWebgl() as WebglBackend).makeTensorInfo([2, columns], 'float32', numbers);
  });
}

const INTEGERS = ['stride', 'first', 'count', 'width'];

/** Two adjacent values that share a factor, in each of two rows. */
const PIXEL = [
  ...['rg', 'ba'].map(
    (pair, i) => `{ int p = blockOf(first + row + ${i}, col); int start = indexOf(col);
result.${pair} = factorAt(p, start) * vec2(wholeAt(p, start), wholeAt(p, start + 1)) + shiftAt(p, start); }`,
  ),
  'if (row + 1 >= count) result.ba = vec2(0.0); if (col + 1 >= width) result.ga = vec2(0.0);',
].join('\n');

/** The programs of a format: consecutive rows, and rows by index. */
interface Programs {
  readonly unpack: MatrixProgram;
  readonly lookUp: MatrixProgram;
}

const programs = new Map<BlockFormat, Programs>();

function programsOf(format: BlockFormat): Programs {
  const known = programs.get(format);
  if (known !== undefined) {
    return known;
  }
  const head = formatCode(format, GLSL, 'stride');
  const ofFormat: Programs = {
    unpack: {
      ...{reads: ['three'], integers: INTEGERS, head},
      ...(numbersTogether(format) === 1 ? {value: 'return numberAt(first + row, col);'} : {pixel: PIXEL}),
    },
    lookUp: {
      reads: ['three', 'numbers'],
      integers: INTEGERS,
      head,
      value: 'int n = int(numbers(row, 0)); return n >= 0 && n < count ? numberAt(n, col) : 0.0;',
    },
  };
  programs.set(format, ofFormat);
  return ofFormat;
}

function unpack(blocks: tf.Tensor, matrix: BlockMatrix, first: number, count: number): tf.Tensor2D {
  return runMatrixProgram(programsOf(matrix.format).unpack, {
    inputs: [onCard(blocks)],
    shape: [count, matrix.width],
    numbers: [rowBytes(matrix), first, count, matrix.width],
  }) as tf.Tensor2D;
}

function lookUp(numbers: tf.Tensor, blocks: tf.Tensor, matrix: BlockMatrix): tf.Tensor2D {
  return runMatrixProgram(programsOf(matrix.format).lookUp, {
    inputs: [onCard(blocks), tf.reshape(numbers, [numbers.size, 1])],
    shape: [numbers.size, matrix.width],
    numbers: [rowBytes(matrix), 0, matrix.rows, matrix.width],
  }) as tf.Tensor2D;
}

const KERNELS: QuantizedKernels = {runs: format => runsFormat(format, isRight), unpack, lookUp};

/** The operations as programs, where these run. */
export function webglQuantized(): QuantizedKernels | undefined {
  return runsMatrixPrograms() ? KERNELS : undefined;
}

async function isRight(format: BlockFormat): Promise<boolean> {
  const matrix = {format, rows: ROWS, width: WIDTH};
  const trial = trialMatrix(format);
  const found = await readTrial(trial, blocks => [
    unpack(blocks, matrix, 0, ROWS),
    lookUp(tf.tensor1d([0, 1, 2], 'int32'), blocks, matrix),
  ]);
  return found.every(numbers => areNumbers(numbers, trial.expected, format));
}
