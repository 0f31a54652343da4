import type * as tf from '@tensorflow/tfjs';
import {isTaped} from '../trial';
import {type Program, runProgram, runsPrograms} from './program';

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

/**
 * `c + scale·a·b` in one launch, for a rank of few numbers: `[.., width] + [.., rank] · [rank, width]`, or `b` as `[width, rank]`. `undefined`
 * where no programs run.
 */
export function addProduct(
  c: tf.Tensor,
  a: tf.Tensor,
  b: tf.Tensor,
  scale: number,
  transposed = false,
): tf.Tensor | undefined {
  if (isTaped() || !runsPrograms()) {
    return undefined;
  }
  const rank = a.shape[a.rank - 1] ?? 1;
  const numbers = [rank, rank === 0 ? 0 : b.size / rank, scale];
  const inputs = [c, a, b];
  return runProgram(transposed ? TRANSPOSED : STRAIGHT, {inputs, outputs: [c.shape], numbers})[0];
}
