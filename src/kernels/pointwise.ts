import type * as tf from '@tensorflow/tfjs';
import type {Pointwise} from './pointwiseCode';
import {runOnWebgl, runsOnWebgl} from './webgl/program';
import {type Program, runProgram, runsPrograms} from './webgpu/program';
import {programOf} from './webgpu/programOf';

/** Computes all results. */
export type RunPointwise = (code: Pointwise, inputs: readonly tf.Tensor[], settings: readonly number[]) => tf.Tensor[];

/** What runs computations of our own on the current backend: in one launch on webgpu, in one for each result on webgl. `undefined` elsewhere. */
export function pointwise(): RunPointwise | undefined {
  if (runsPrograms()) {
    return (code, inputs, settings) => {
      const {shape} = inputs[0] as tf.Tensor;
      const outputs = Object.keys(code.outputs).map(() => shape);
      const numbers = [...(code.vectors ? [shape[shape.length - 1] ?? 1] : []), ...settings];
      return runProgram(
        programOf(code.name, () => written(code)),
        {inputs, outputs, numbers},
      );
    };
  }
  return runsOnWebgl() ? runOnWebgl : undefined;
}

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
