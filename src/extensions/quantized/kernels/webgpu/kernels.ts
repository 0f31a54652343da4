import * as tf from '@tensorflow/tfjs';
import {type Program, programOf, runsPrograms} from '../../../../backends/webgpu/program';
import {type BlockMatrix, rowBytes} from '../../formats/blockMatrix';
import type {BlockFormat} from '../../formats/formats';
import type {BlockPart, QuantizedKernels} from '../quantizedKernels';
import {areJointRight, areNumbers, readTrial, ROWS, runsFormat, trialMatrix, WIDTH} from '../trial';
import {jointProducts, numbersOf, runWith} from './products';

// Programs that unpack the blocks of a matrix as they compute, without ever holding all its values.

/** Rows by index; zeros for invalid indices. */
function lookUpProgram(format: BlockFormat): Program {
  return programOf(['blockLookUp', format.name].join(), () => ({
    reads: ['numbers', 'packed0'],
    writes: ['y'],
    integers: ['stride', 'count', 'width'],
    head: numbersOf(format),
    body: `let row = i32(numbers[i / u.width]); var v = 0.0;
if (row >= 0 && row < u.count) { v = numberAt(row, i % u.width); } y[i] = v;`,
  }));
}

function lookUp(numbers: tf.Tensor, blocks: tf.Tensor, matrix: BlockMatrix): tf.Tensor2D {
  const {format, rows, width} = matrix;
  const [y] = runWith([blocks], lookUpProgram(format), {
    inputs: [numbers, blocks],
    outputs: [[numbers.size, width]],
    numbers: [rowBytes(matrix), rows, width],
  });
  return y as tf.Tensor2D;
}

function multiplyBack(dz: tf.Tensor2D, part: BlockPart): tf.Tensor2D {
  return jointProducts.backward(dz, dz, [part]).ofInput() as tf.Tensor2D; // without factors, it needs no input
}

const KERNELS: QuantizedKernels = {
  runs: format => runsFormat(format, isRight),
  multiply: (x, blocks, matrix) => jointProducts.forward(x, [{blocks, matrix, factors: null}], null) as tf.Tensor2D,
  multiplyBack: (dz, blocks, matrix) => multiplyBack(dz, {blocks, matrix, factors: null}),
  joint: jointProducts,
  lookUp,
};

/** The operations as programs, where these run. */
export function webgpuQuantized(): QuantizedKernels | undefined {
  return runsPrograms() ? KERNELS : undefined;
}

async function isRight(format: BlockFormat): Promise<boolean> {
  const matrix = {format, rows: ROWS, width: WIDTH};
  const trial = trialMatrix(format);
  const [looked] = await readTrial(trial, blocks => [lookUp(tf.tensor1d([0, 1, 2], 'int32'), blocks, matrix)]);
  return areNumbers(looked ?? [], trial.expected, format) && (await areJointRight(jointProducts, trial, format));
}
