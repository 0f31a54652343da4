import type * as tf from '@tensorflow/tfjs';
import {type Program, runProgram} from './program';

function program(transposed: boolean): Program {
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

const [STRAIGHT, TRANSPOSED] = [program(false), program(true)];

/** As in `OneLaunch`. */
export function addProduct(c: tf.Tensor, a: tf.Tensor, b: tf.Tensor, scale: number, transposed: boolean): tf.Tensor {
  const rank = a.shape[a.rank - 1] ?? 1;
  const numbers = [rank, rank === 0 ? 0 : b.size / rank, scale];
  const inputs = [c, a, b];
  const [y] = runProgram(transposed ? TRANSPOSED : STRAIGHT, {inputs, outputs: [c.shape], numbers});
  return y as tf.Tensor;
}
