import * as tf from '@tensorflow/tfjs';
import {repairWebGPU} from '../../platform/tfjs/repairs';
import {triedPrograms} from '../shared/programTrials';
import {adaptedProduct} from './adaptedProduct';
import {fusedConvolution} from './fusedConvolution';
import {runEachJoined} from '../shared/joinedSteps';
import {type Pointwise, pointwiseOperations, pointwiseSteps, type RunPointwise} from '../shared/pointwise';
import {areBuffersRight, joinBuffers, type Program, programOf, runProgram, splitBuffer} from './program';

/** Computes all results in one launch, on the current backend, which must run programs. */
const runPointwise: RunPointwise = (code, inputs, settings) => {
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

function addProductBy(transposed: boolean): Program {
  const place = transposed ? 'column * u.rank + k' : 'k * u.width + column';
  return {
    name: `addProduct,${transposed}`,
    reads: ['c', 'a', 'b'],
    writes: ['y'],
    integers: ['rank', 'width'],
    floats: ['scale'],
    body: `let o = (i / u.width) * u.rank; let column = i % u.width; var s = 0.0;
for (var k = 0; k < u.rank; k++) { s += a[o + k] * b[${place}]; } y[i] = c[i] + u.scale * s;`,
  };
}

const [STRAIGHT, TRANSPOSED] = [addProductBy(false), addProductBy(true)];

/** As in `FusedOps`. */
function addProduct(c: tf.Tensor, a: tf.Tensor, b: tf.Tensor, scale: number, transposed: boolean): tf.Tensor {
  const rank = a.shape[a.rank - 1] ?? 1;
  const numbers = [rank, rank === 0 ? 0 : b.size / rank, scale];
  const inputs = [c, a, b];
  const [y] = runProgram(transposed ? TRANSPOSED : STRAIGHT, {inputs, outputs: [c.shape], numbers});
  return y as tf.Tensor;
}

// Buffers are copied into one, which takes no program, and the results back.
const steps = pointwiseSteps(
  runEachJoined(runPointwise, {join: joinBuffers, run: runPointwise, split: splitBuffer, free: tf.dispose}),
);

export const webgpuPrograms = triedPrograms(
  (backend: Parameters<typeof areBuffersRight>[0]) => {
    repairWebGPU(backend);
    return areBuffersRight(backend);
  },
  {
    readsByPromise: true,
    source: 'programs',
    oneLaunch: {...pointwiseOperations(runPointwise), addProduct},
    adaptedProduct,
    fusedConvolution,
    optimizerSteps: () => steps,
  },
);
