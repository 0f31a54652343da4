import * as tf from '@tensorflow/tfjs';
import {ERF, GATES, SIGMOID} from '../gateCode';
import type {GateKind, RotationSettings, TransformerKernels} from '../transformer';
import {type MatrixProgram, runMatrixProgram, runsMatrixPrograms} from '../../../kernels/webgl/matrixProgram';
import {attend, attendGradient} from './attention';
import {crossEntropy, crossEntropyGradient} from './crossEntropy';
import {normalizeRows, normalizeRowsGradient} from './rows';

const FUNCTIONS = `float sigmoid(float z) { return ${SIGMOID}; }
float erf(float z) { float t = ${ERF.t}; float p = ${ERF.p}; return ${ERF.erf}; }`;

/** A program for one result of an activation or of its gradient, from its expression in `x`, `c` and `f`. */
function gateProgram(kind: GateKind, reads: readonly string[], result: string): MatrixProgram {
  const {c, f} = GATES[kind];
  return {
    reads: ['in_x', ...reads],
    head: FUNCTIONS,
    value: `float x = in_x(row, col); float c = ${c}; float f = ${f}; return ${result};`,
  };
}

const ROTATE: MatrixProgram = {
  reads: ['x', 'cosines', 'sines'],
  integers: ['places', 'turned', 'size', 'pairs', 'interleaved'],
  floats: ['sense'],
  value: `int k = col % size; int place = row % places;
if (k >= 2 * pairs || col / size >= turned) return x(row, col);
bool apart = interleaved == 1; int j = apart ? k / 2 : k % pairs; bool first = apart ? k % 2 == 0 : k < pairs;
int step = apart ? 1 : pairs; float s = sines(place, j) * sense;
return x(row, col) * cosines(place, j) + (first ? -x(row, col + step) : x(row, col - step)) * s;`,
};

/** The operations of transformers as programs, where these run. */
export function webglTransformer(): TransformerKernels | undefined {
  return runsMatrixPrograms() ? KERNELS : undefined;
}

/** Frees the tensors that are made on the way to the results. */
function tidied<Args extends unknown[], Result extends tf.TensorContainer | undefined>(
  compute: (...args: Args) => Result,
): (...args: Args) => Result {
  return (...args) => tf.tidy(() => compute(...args) as tf.TensorContainer) as Result;
}

const KERNELS: TransformerKernels = {
  turnsSome: true,
  attention: tidied(attend),
  attentionGradient: tidied(attendGradient),
  crossEntropy: tidied(crossEntropy),
  crossEntropyGradient: tidied(crossEntropyGradient),
  gate: (x, up, kind) => {
    const program = up ? gateProgram(kind, ['up'], 'x * c * up(row, col)') : gateProgram(kind, [], 'x * c');
    return runMatrixProgram(program, {inputs: up ? [x, up] : [x], shape: x.shape});
  },
  gateGradient: (x, up, dy, kind) => {
    const back = (result: string, reads: string[], others: tf.Tensor[]) =>
      runMatrixProgram(gateProgram(kind, reads, result), {inputs: [x, ...others], shape: x.shape});
    return up
      ? [back('dy(row, col) * f * up(row, col)', ['dy', 'up'], [dy, up]), back('dy(row, col) * x * c', ['dy'], [dy])]
      : [back('dy(row, col) * f', ['dy'], [dy])];
  },
  normalizeRows,
  normalizeRowsGradient,
  rotate,
};

function rotate(
  x: tf.Tensor3D,
  {cosines, sines}: {cosines: tf.Tensor; sines: tf.Tensor},
  {heads, turned = heads, interleaved, back}: RotationSettings & {back: boolean},
): tf.Tensor {
  const [, places, width] = x.shape;
  const numbers = [places, turned, width / heads, cosines.shape[1] ?? 0, interleaved ? 1 : 0, back ? -1 : 1];
  return runMatrixProgram(ROTATE, {inputs: [x, cosines, sines], shape: x.shape, numbers});
}
