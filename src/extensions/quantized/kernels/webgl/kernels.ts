import * as tf from '@tensorflow/tfjs';
import {type MatrixProgram, runMatrixProgram, runsMatrixPrograms} from '../../../../backends/webgl/matrixProgram';
import {type BlockMatrix, rowBytes} from '../../formats/blockMatrix';
import type {BlockFormat} from '../../formats/formats';
import {formatCode, numbersTogether} from '../formatCode';
import type {QuantizedKernels} from '../quantizedKernels';
import {areJointRight, areNumbers, readTrial, ROWS, runsFormat, trialMatrix, WIDTH} from '../trial';
import {glsl, onCard} from './blocks';
import {jointProducts} from './products';

const INTEGERS = ['stride', 'first', 'count', 'width'];

/** Two adjacent values that share a factor, in each of two rows. */
const PIXEL = [
  ...['rg', 'ba'].map(
    (pair, i) => `{ int p = blockOf(first + row + ${i}, col); int start = indexOf(col);
result.${pair} = factorAt(p, start) * vec2(quantAt(p, start), quantAt(p, start + 1)) + shiftAt(p, start); }`,
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
  const program = programs.get(format);
  if (program !== undefined) {
    return program;
  }
  const head = formatCode(format, glsl('return threes(0, 2 * i);'), 'stride');
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

const KERNELS: QuantizedKernels = {runs: format => runsFormat(format, isRight), unpack, lookUp, joint: jointProducts};

/** The operations as programs, where these run. */
export function webglQuantized(): QuantizedKernels | undefined {
  return runsMatrixPrograms() ? KERNELS : undefined;
}

async function isRight(format: BlockFormat): Promise<boolean> {
  const matrix = {format, rows: ROWS, width: WIDTH};
  const trial = trialMatrix(format);
  const trialBits = await readTrial(trial, blocks => [
    unpack(blocks, matrix, 0, ROWS),
    lookUp(tf.tensor1d([0, 1, 2], 'int32'), blocks, matrix),
  ]);
  const isRight = trialBits.every(numbers => areNumbers(numbers, trial.expected, format));
  return isRight && areJointRight(jointProducts, trial, format);
}
