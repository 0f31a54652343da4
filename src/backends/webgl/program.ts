import * as tf from '@tensorflow/tfjs';
import type {Pointwise} from '../shared/pointwise';
import {runsOn} from '../shared/tryOut';

/** The parts of tfjs's webgl backend that this library uses. */
export interface WebglBackend {
  makeTensorInfo(shape: readonly number[], dtype: tf.DataType, values: Float32Array): tf.TensorInfo;
  disposeData(dataId: tf.DataId): boolean;
  read(dataId: tf.DataId): Promise<ArrayLike<number>>;
  readSync(dataId: tf.DataId): ArrayLike<number>;
  runWebGLProgram(
    program: object,
    inputs: readonly tf.TensorInfo[],
    dtype: tf.DataType,
    settings: readonly (readonly number[])[],
  ): tf.TensorInfo;
}

/** The current backend, if it is webgl and has started. */
export function currentWebgl(): WebglBackend | undefined {
  return tf.getBackend() === 'webgl' ? (tf.engine().registry.webgl as unknown as WebglBackend | undefined) : undefined;
}

/** Whether our programs run on the current backend, if it is webgl. */
export function runsOnWebgl(): boolean {
  const backend = currentWebgl();
  return backend !== undefined && runsOn(backend);
}

/** Runs one program for each result. Numbers are packed four in a pixel, as tfjs's own products leave them. */
export function runOnWebgl(
  code: Pointwise,
  inputs: readonly tf.TensorInfo[],
  settings: readonly number[],
): tf.Tensor[] {
  return runPointwiseProgram(currentWebgl() as WebglBackend, code, inputs, settings).map(info =>
    tf.engine().makeTensorFromTensorInfo(info),
  );
}

/** The same on a backend. The caller owns the results. */
export function runPointwiseProgram(
  backend: WebglBackend,
  {inputs: names, vectors = [], settings: settingNames, outputs}: Pointwise,
  inputs: readonly tf.TensorInfo[],
  settings: readonly number[],
): tf.TensorInfo[] {
  const made: Record<string, tf.TensorInfo> = Object.fromEntries(
    [...names, ...vectors].map((x, i) => [x, inputs[i] as tf.TensorInfo]),
  );
  return Object.entries(outputs).map(([output, expression]) => {
    const uses = (word: string) => new RegExp(`\\b${word}\\b`).test(expression);
    const read = Object.keys(made).filter(uses);
    const uniforms = settingNames.flatMap((setting, i) =>
      uses(setting) ? [[setting, settings[i] as number] as const] : [],
    );
    const program = {
      variableNames: read.map(x => `T${x}`),
      outputShape: inputs[0]?.shape,
      packedInputs: true,
      packedOutput: true,
      customUniforms: uniforms.map(([setting]) => ({name: setting, type: 'float'})),
      userCode: `void main() {
        ${read.map(x => `vec4 ${x} = getT${x}AtOutCoords();`).join(' ')} setOutput(${expression});
      }`,
    };
    const tensors = read.map(x => made[x] as tf.TensorInfo);
    const numbers = uniforms.map(([, value]) => [value]);
    return (made[output] = backend.runWebGLProgram(program, tensors, 'float32', numbers));
  });
}

/** Whether a program with two results and a scalar works correctly on a backend. */
export async function arePointwiseRight(backend: WebglBackend): Promise<boolean> {
  const trial = {name: 'trial', inputs: ['a', 'b'], settings: ['share'], outputs: {c: 'a * share + b', d: 'a + c'}};
  const values = [1, 2, 3, 4, 5];
  const inputs = [1, 2].map(times =>
    backend.makeTensorInfo(
      [5],
      'float32',
      Float32Array.from(values, value => times * value),
    ),
  );
  const results = runPointwiseProgram(backend, trial, inputs, [0.5]);
  const [c, d] = await Promise.all(results.map(({dataId}) => backend.read(dataId)));
  [...inputs, ...results].forEach(({dataId}) => backend.disposeData(dataId));
  return values.every((value, i) => c?.[i] === 2.5 * value && d?.[i] === 3.5 * value);
}
