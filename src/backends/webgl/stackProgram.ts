import * as tf from '@tensorflow/tfjs';
import {currentWebgl, type WebglBackend} from './program';

// Our programs on tfjs's webgl backend that compute a stack of matrices from stacks. The last two axes of a tensor are
// its matrices, and all others together index them, so no tensor has to be rearranged. Values are packed four in a
// pixel, two rows by two columns, as tfjs's own products leave them.

/** A program in GLSL. */
export interface StackProgram {
  /** Names of stacks: `x(b, row, col)` is a pixel at an even `row` and `col`: one row in `rg`, the next in `ba`. */
  readonly reads: readonly string[];
  /** Names of its scalars. */
  readonly floats?: readonly string[];
  /** Functions that the code calls. */
  readonly head?: string;
  /** Computes the pixel at `b`, `row` and `col` as `result`, which is zero before. */
  readonly code: string;
}

/** A program with what it reads and computes. */
export interface StackCall {
  readonly program: StackProgram;
  readonly sources: readonly Source[];
  /** The shape of the result. */
  readonly stack: Stack;
  /** Values of `floats`. */
  readonly numbers?: readonly number[];
}

/** How many matrices, and the rows and columns of each. */
export type Stack = readonly [count: number, rows: number, columns: number];

/** A stack that a program reads. */
export interface Source {
  readonly info: tf.TensorInfo;
  readonly stack: Stack;
  /** Where it begins, if it is a part of a sheet: a stack `[1, 2, 2·n]` with the `n` pixels of several others. */
  readonly start?: number;
  /** The stack that it is some columns of, and the first of these. Even. */
  readonly within?: {readonly stack: Stack; readonly column: number};
}

/** A tensor's shape as a stack. */
export function stackOf(shape: readonly number[]): Stack {
  return [tf.util.sizeFromShape(shape.slice(0, -2)), shape.at(-2) ?? 1, shape.at(-1) ?? 1];
}

/** The number of pixels of a stack. */
export function pixelsOf([count, rows, columns]: Stack): number {
  return count * half(rows) * half(columns);
}

/** How many pixels cover a number of rows or columns. */
export function half(length: number): number {
  return Math.ceil(length / 2);
}

/** Runs a program. The caller owns the result, which has the shape of a stack. */
export function runStackProgram(backend: WebglBackend, call: StackCall): tf.TensorInfo {
  return launch(backend, [call], call.stack, 'result = part0(b, row, col);');
}

/** The same on the current backend, which has to be webgl, as a tensor of a shape that is this stack. */
export function stackTensor(call: StackCall, shape: readonly number[]): tf.Tensor {
  const info = runStackProgram(currentWebgl() as WebglBackend, call);
  return tf.engine().makeTensorFromTensorInfo({...info, shape: [...shape]});
}

/** Runs programs without common names in one launch: their pixels are in a sheet, which the caller owns. */
export function runInSheet(backend: WebglBackend, calls: readonly StackCall[]): tf.TensorInfo {
  let pixels = 0;
  const blocks = calls.map(({stack}, i) => {
    const from = pixels;
    pixels += pixelsOf(stack);
    const [rows, columns] = [half(stack[1]), half(stack[2])];
    return `if (pixel >= ${from} && pixel < ${pixels}) {
  int own = pixel - ${from}; int line = own / ${columns}; int n = line / ${rows};
  result = part${i}(n, 2 * (line - n * ${rows}), 2 * (own - line * ${columns}));
}`;
  });
  return launch(backend, calls, [1, 2, 2 * pixels], `int pixel = col / 2; ${blocks.join('\n')}`);
}

function launch(backend: WebglBackend, calls: readonly StackCall[], stack: Stack, code: string): tf.TensorInfo {
  const parts = calls.flatMap(({program, sources}) =>
    program.reads.map((x, i) => ({x, source: sources[i] as Source, start: (sources[i] as Source).start})),
  );
  const starts = parts.flatMap(({x, start}) => (start === undefined ? [] : [[`start_${x}`, start] as const]));
  const floats = calls.flatMap(({program}) => program.floats ?? []);
  const functions = calls.map(
    ({program: {head = '', code}, stack: resultStack}, i) => `${head}
vec4 part${i}(int b, int row, int col) {
  vec4 result = vec4(0.0); ${code}
  ${withinStack(resultStack)}
  return result;
}`,
  );
  const program = {
    variableNames: parts.map(({x}) => `T${x}`),
    outputShape: [...stack],
    packedInputs: true,
    packedOutput: true,
    customUniforms: [...starts.map(([name]) => ({name, type: 'int'})), ...floats.map(name => ({name, type: 'float'}))],
    userCode: `${parts.map(({x, source}) => readerOf(x, source)).join('\n')}
${functions.join('\n')}
void main() {
  ivec3 place = getOutputCoords(); int b = place.x; int row = place.y; int col = place.z;
  vec4 result = vec4(0.0);
  ${code}
  setOutput(result);
}`,
  };
  const infos = parts.map(({source: {info, stack: sourceStack, within}, start}) => {
    const {dataId, dtype, shape} = info;
    return {dataId, dtype, shape: start === undefined ? [...(within?.stack ?? sourceStack)] : shape};
  });
  const numbers = calls.flatMap(call => call.numbers ?? []);
  const uniforms = [...starts.map(([, start]) => start), ...numbers].map(number => [number]);
  return backend.runWebGLProgram(program, infos, 'float32', uniforms);
}

/** Code that sets values beyond the last row and column of a stack to zero. */
function withinStack([, rows, columns]: Stack): string {
  return [
    rows % 2 === 0 ? '' : `if (row + 1 >= ${rows}) result.ba = vec2(0.0);`,
    columns % 2 === 0 ? '' : `if (col + 1 >= ${columns}) result.ga = vec2(0.0);`,
  ].join(' ');
}

function readerOf(x: string, {stack: [, rows, columns], start, within}: Source): string {
  const place =
    start === undefined
      ? `b, row, col${within === undefined ? '' : ` + ${within.column}`}`
      : `0, 0, 2 * (start_${x} + (b * ${half(rows)} + row / 2) * ${half(columns)} + col / 2)`;
  return `vec4 ${x}(int b, int row, int col) { return getT${x}(${place}); }`;
}
