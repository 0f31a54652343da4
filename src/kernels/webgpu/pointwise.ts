import type * as tf from '@tensorflow/tfjs';
import type {Pointwise, RunPointwise} from '../pointwise';
import {type Program, runProgram} from './program';
import {programOf} from './programOf';

/** Computes all results in one launch, on the current backend, which must run programs. */
export const runPointwise: RunPointwise = (code, inputs, settings) => {
  const {shape} = inputs[0] as tf.Tensor;
  const outputs = Object.keys(code.outputs).map(() => shape);
  const numbers = [...(code.vectors ? [shape[shape.length - 1] ?? 1] : []), ...settings];
  return runProgram(
    programOf(code.name, () => written(code)),
    {inputs, outputs, numbers},
  );
};

function written({inputs, vectors = [], settings, outputs}: Pointwise): Omit<Program, 'name'> {
  return {
    reads: [...inputs, ...vectors].map(x => `in_${x}`),
    writes: Object.keys(outputs).map(x => `out_${x}`),
    integers: vectors.length > 0 ? ['width'] : [],
    floats: settings,
    body: [
      ...inputs.map(x => `let ${x} = in_${x}[i];`),
      ...vectors.map(x => `let ${x} = in_${x}[i % u.width];`),
      ...settings.map(setting => `let ${setting} = u.${setting};`),
      ...Object.entries(outputs).map(([x, expression]) => `let ${x} = ${expression}; out_${x}[i] = ${x};`),
    ].join(' '),
  };
}
