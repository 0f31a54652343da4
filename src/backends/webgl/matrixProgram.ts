import * as tf from '@tensorflow/tfjs';
import {currentWebgl, runsOnWebgl, type WebglBackend} from './program';

// Our programs on tfjs's webgl backend that compute a matrix from matrices. Each value may read any of the inputs.
// Values have the layout of tfjs's own products: four in a pixel, two rows by two columns.

/** A program in GLSL. */
export interface MatrixProgram {
  /** Names of the matrices: `x(row, col)` in the code. */
  readonly reads: readonly string[];
  /** Names of its integers. */
  readonly integers?: readonly string[];
  /** Names of its floats, which are passed after the integers. */
  readonly floats?: readonly string[];
  /** Functions that the code calls. */
  readonly head?: string;
  /** The body of a function that returns the value at `row` and `col`. */
  readonly value?: string;
  /**
   * Instead, what computes the four numbers of a pixel at once, as `result`, whose first is at an even `row` and `col`.
   * It reads four as well, by `xs(row, col)` at an even place: a row of two in `rg`, the next in `ba`.
   */
  readonly pixel?: string;
}

/** The arguments of a program. */
export interface MatrixCall {
  /** Tensors, each read as a matrix whose columns are its last axis; what is no tensor of tfjs's engine is a matrix. */
  readonly inputs: readonly (tf.Tensor | tf.TensorInfo)[];
  /** The shape of the result. Its last axis are the columns. */
  readonly shape: readonly number[];
  readonly numbers?: readonly number[];
}

/** Rows and columns of a tensor that is read as a matrix. */
function matrixOf(shape: readonly number[]): [rows: number, columns: number] {
  const columns = shape.at(-1) ?? 1;
  return [columns === 0 ? 0 : tf.util.sizeFromShape([...shape]) / columns, columns];
}

/** Runs a program on the current backend, which has to be webgl. */
export function runMatrixProgram(program: MatrixProgram, {inputs, shape, numbers = []}: MatrixCall): tf.Tensor {
  return tf.tidy(() => {
    const matrices = inputs.map(input =>
      input instanceof tf.Tensor ? tf.reshape(input, matrixOf(input.shape)) : input,
    );
    const info = launch(currentWebgl() as WebglBackend, program, matrices, matrixOf(shape), numbers);
    return tf.reshape(tf.engine().makeTensorFromTensorInfo(info), [...shape]);
  });
}

function launch(
  backend: WebglBackend,
  {reads, integers = [], floats = [], head = '', value, pixel}: MatrixProgram,
  inputs: readonly tf.TensorInfo[],
  [rows, columns]: readonly [number, number],
  numbers: readonly number[],
): tf.TensorInfo {
  const read = (x: string) => `vec4 ${x}s(int row, int col) { return getT${x}(row, col); }
float ${x}(int row, int col) { return getChannel(getT${x}(row, col), vec2(row, col)); }`;
  const main =
    pixel === undefined
      ? `float valueAt(int row, int col) { if (row >= ${rows} || col >= ${columns}) return 0.0; ${value} }
void main() {
  ivec2 at = getOutputCoords(); int row = at.x; int col = at.y;
  setOutput(vec4(valueAt(row, col), valueAt(row, col + 1), valueAt(row + 1, col), valueAt(row + 1, col + 1)));
}`
      : `void main() {
  ivec2 at = getOutputCoords(); int row = at.x; int col = at.y; vec4 result = vec4(0.0);
  ${pixel}
  setOutput(result);
}`;
  const program = {
    variableNames: reads.map(x => `T${x}`),
    outputShape: [rows, columns],
    packedInputs: true,
    packedOutput: true,
    customUniforms: [...integers.map(name => ({name, type: 'int'})), ...floats.map(name => ({name, type: 'float'}))],
    userCode: [...reads.map(read), head, main].join('\n'),
  };
  return backend.runWebGLProgram(
    program,
    inputs,
    'float32',
    numbers.map(number => [number]),
  );
}

/** Whether such programs return the right values, by backend. */
const tried = new WeakMap<WebglBackend, boolean>();

/** Whether such programs run on the current backend. They are tried out at the first call. */
export function runsMatrixPrograms(): boolean {
  const backend = currentWebgl();
  if (backend === undefined || !runsOnWebgl()) {
    return false;
  }
  const trialResults = tried.get(backend);
  if (trialResults !== undefined) {
    return trialResults;
  }
  const works = isProductRight(backend);
  tried.set(backend, works);
  return works;
}

const TRIAL: MatrixProgram = {
  reads: ['a', 'b'],
  integers: ['count'],
  floats: ['scale'],
  value: 'float s = 0.0; for (int j = 0; j < count; j++) { s += a(row, j) * b(j, col); } return s * scale;',
};

function isProductRight(backend: WebglBackend): boolean {
  const made: tf.TensorInfo[] = [];
  const keep = (info: tf.TensorInfo) => {
    made.push(info);
    return info;
  };
  try {
    const [a, b] = [
      [3, 2],
      [2, 3],
    ].map(shape =>
      keep(
        backend.makeTensorInfo(
          shape,
          'float32',
          Float32Array.from({length: 6}, (_, i) => i + 1),
        ),
      ),
    );
    const inputs = [a, b] as [tf.TensorInfo, tf.TensorInfo];
    const {dataId} = keep(launch(backend, TRIAL, inputs, [3, 3], [2, 0.5]));
    const values = backend.readSync(dataId);
    // ½ · [[1, 2], [3, 4], [5, 6]] · [[1, 2, 3], [4, 5, 6]]
    return [4.5, 6, 7.5, 9.5, 13, 16.5, 14.5, 20, 25.5].every((value, i) => values[i] === value);
  } catch {
    return false; // the device compiles no such program
  } finally {
    made.forEach(({dataId}) => backend.disposeData(dataId));
  }
}
