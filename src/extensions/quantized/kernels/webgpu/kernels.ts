import * as tf from '@tensorflow/tfjs';
import {type Program, programOf, runsPrograms} from '../../../../backends/webgpu/program';
import {type BlockMatrix, rowBytes} from '../../formats/blockMatrix';
import type {BlockFormat} from '../../formats/formats';
import type {AdaptedMatrix, QuantizedKernels} from '../quantizedKernels';
import {areJointRight, areNumbers, readTrial, ROWS, runsFormat, trialMatrix, WIDTH} from '../trial';
import {groupsOf, runWith} from './largeMatrix';
import {jointProducts, numbersOf} from './products';

// Programs that unpack the blocks of a matrix as they compute, without ever holding all its values.

/** Rows by index, of a matrix in parts; zeros for invalid indices. */
function lookUpProgram(format: BlockFormat, parts: number): Program {
  return programOf(['blockLookUp', format.name, parts].join(), () => ({
    reads: ['numbers', ...Array.from({length: parts}, (_, i) => `packed${i}`)],
    writes: ['y'],
    integers: ['stride', 'first', 'count', 'width', 'each'],
    head: numbersOf(format, parts),
    body: `let row = i32(numbers[i / u.width]) - u.first; var v = 0.0;
if (row >= 0 && row < u.count) { part = row / u.each; v = numberAt(row % u.each, i % u.width); } y[i] = v;`,
  }));
}

function lookUp(numbers: tf.Tensor, blocks: tf.Tensor, matrix: BlockMatrix): tf.Tensor2D {
  const groupRows = groupsOf(blocks, matrix).map(({first, parts}) => {
    const [firstSize = 0, ...laterSizes] = parts.map(({matrix: {rows}}) => rows);
    const packed = parts.map(({blocks: bytes}) => bytes);
    const [y] = runWith(packed, lookUpProgram(matrix.format, parts.length), {
      inputs: [numbers, ...packed],
      outputs: [[numbers.size, matrix.width]],
      numbers: [
        rowBytes(matrix),
        first,
        laterSizes.reduce((sum, rows) => sum + rows, firstSize),
        matrix.width,
        firstSize,
      ],
    });
    return y as tf.Tensor2D;
  });
  return added(groupRows);
}

function multiply(x: tf.Tensor2D, blocks: tf.Tensor, matrix: BlockMatrix): tf.Tensor2D {
  const beside = groupsOf(blocks, matrix).map(({parts}) => jointProducts.forward(x, parts, null) as tf.Tensor2D);
  const [first, ...laterColumns] = beside as [tf.Tensor2D, ...tf.Tensor2D[]];
  return laterColumns.length === 0 ? first : tidied(() => tf.concat2d(beside, 1), beside);
}

function multiplyBack(dz: tf.Tensor2D, blocks: tf.Tensor, matrix: BlockMatrix): tf.Tensor2D {
  const groups = groupsOf(blocks, matrix);
  const rowCount = (parts: readonly AdaptedMatrix[]) => parts.reduce((sum, {matrix: {rows}}) => sum + rows, 0);
  return added(
    groups.map(({first, parts}) => {
      const dy = groups.length === 1 ? dz : tf.slice2d(dz, [0, first], [-1, rowCount(parts)]);
      const dx = jointProducts.backward(dy, dy, parts).ofInput() as tf.Tensor2D; // without factors, it needs no input
      tf.dispose(dy === dz ? [] : dy);
      return dx;
    }),
  );
}

/** The sum of some tensors, which are freed. */
function added(terms: readonly tf.Tensor2D[]): tf.Tensor2D {
  return terms.reduce((sum, term) => tidied(() => tf.add(sum, term), [sum, term]));
}

function tidied<T extends tf.Tensor>(f: () => T, free: tf.Tensor[]): T {
  const result = f();
  tf.dispose(free);
  return result;
}

const KERNELS: QuantizedKernels = {
  runs: format => runsFormat(format, isRight),
  multiply,
  multiplyBack,
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
