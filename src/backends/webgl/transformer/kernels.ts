import * as tf from '@tensorflow/tfjs';
import type {GateKind, RotationSettings, TransformerKernels} from '../../transformer';
import {type MatrixProgram, runMatrixProgram, runsMatrixPrograms} from '../matrixProgram';
import {attend, attendGradient} from './attention';
import {crossEntropy, crossEntropyGradient} from './crossEntropy';
import {normalizeRows, normalizeRowsGradient} from './rows';

const TWICE = 2 * Math.sqrt(2 / Math.PI); // ½·(1 + tanh(u)) = sigmoid(2u)
const CUBIC = 0.044715;
const number = (value: number) => value.toPrecision(12);

/** `1/(1 + exp(−z))` without an overflow, and the error function as tfjs has it (Abramowitz and Stegun, 7.1.26). */
const FUNCTIONS = `float sigmoid(float z) { return 1.0 / (1.0 + exp(-clamp(z, -80.0, 80.0))); }
float erf(float z) {
  float t = 1.0 / (1.0 + 0.3275911 * abs(z));
  float p = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
  return sign(z) * (1.0 - p * exp(-z * z));
}`;

/** The factor `c` of `z` in the activation, and the activation's slope `f`. */
const GATES: Record<GateKind, string> = {
  gelu: `float c = 0.5 + 0.5 * erf(z * ${number(Math.SQRT1_2)});
float f = c + z * ${number(1 / Math.sqrt(2 * Math.PI))} * exp(-0.5 * z * z);`,
  gelu_tanh: `float c = sigmoid(z * (${number(TWICE)} + ${number(TWICE * CUBIC)} * z * z));
float f = c + z * c * (1.0 - c) * (${number(TWICE)} + ${number(3 * TWICE * CUBIC)} * z * z);`,
  silu: 'float c = sigmoid(z); float f = c + z * c * (1.0 - c);',
};

/** A result of an activation or of its gradient, by what it is of `z`, `c` and `f`. */
function gateProgram(kind: GateKind, reads: readonly string[], result: string): MatrixProgram {
  return {reads, head: FUNCTIONS, value: `float z = x(row, col); ${GATES[kind]} return ${result};`};
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

/** What is made on the way to the results is freed. */
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
  gate: (x, up, kind) =>
    runMatrixProgram(up ? gateProgram(kind, ['x', 'up'], 'z * c * up(row, col)') : gateProgram(kind, ['x'], 'z * c'), {
      inputs: up ? [x, up] : [x],
      shape: x.shape,
    }),
  gateGradient: (x, up, dy, kind) => {
    const {shape} = x;
    const back = (result: string, reads: string[], inputs: tf.Tensor[]) =>
      runMatrixProgram(gateProgram(kind, reads, result), {inputs, shape});
    return up
      ? [
          back('dy(row, col) * f * up(row, col)', ['x', 'dy', 'up'], [x, dy, up]),
          back('dy(row, col) * z * c', ['x', 'dy'], [x, dy]),
        ]
      : [back('dy(row, col) * f', ['x', 'dy'], [x, dy])];
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
