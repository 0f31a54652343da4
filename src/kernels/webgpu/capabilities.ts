import type * as tf from '@tensorflow/tfjs';
import type {Capabilities} from '../capabilities';
import {adaptedProduct, isProductRight} from './adaptedProduct';
import {fusedConvolution, isDepthwiseRight} from './fusedConvolution';
import {runEachJoined} from './joined';
import {type Pointwise, pointwiseOperations, pointwiseSteps, type RunPointwise} from '../pointwise';
import type {Programs} from '../tryOut';
import {isRight, type Program, programOf, runProgram} from './program';

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

/** As in `OneLaunch`. */
function addProduct(c: tf.Tensor, a: tf.Tensor, b: tf.Tensor, scale: number, transposed: boolean): tf.Tensor {
  const rank = a.shape[a.rank - 1] ?? 1;
  const numbers = [rank, rank === 0 ? 0 : b.size / rank, scale];
  const inputs = [c, a, b];
  const [y] = runProgram(transposed ? TRANSPOSED : STRAIGHT, {inputs, outputs: [c.shape], numbers});
  return y as tf.Tensor;
}

const steps = pointwiseSteps(runEachJoined(runPointwise));

const capabilities: Capabilities = {
  readsByPromise: true,
  source: 'programs',
  oneLaunch: {...pointwiseOperations(runPointwise), addProduct},
  adaptedProduct,
  fusedConvolution,
  optimizerSteps: () => steps,
};

export const webgpuPrograms: Programs = {
  isRight: async (backend, onBackend) => {
    // They are tried out on the current backend, which may be another one by the time that they are loaded.
    await new Promise<void>(resolve => onBackend((_, current) => current === backend && resolve()));
    const trials = [isRight(backend), isProductRight(), isDepthwiseRight()];
    return (await Promise.all(trials)).every(right => right);
  },
  capabilities,
};
