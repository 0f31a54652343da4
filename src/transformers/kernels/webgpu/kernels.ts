import type * as tf from '@tensorflow/tfjs';
import {ERF, GATES, SIGMOID} from '../gateCode';
import type {GateKind, RotationSettings, TransformerKernels} from '../transformer';
import {type Program, runProgram, runsPrograms} from '../../../kernels/webgpu/program';
import {programOf} from '../../../kernels/webgpu/programOf';
import {attend, attendGradient} from './attention';
import {crossEntropy, crossEntropyGradient} from './crossEntropy';
import {normalizeRows, normalizeRowsGradient} from './rows';

const FUNCTIONS = `fn sigmoid(z: f32) -> f32 { return ${SIGMOID}; }
fn erf(z: f32) -> f32 { let t = ${ERF.t}; let p = ${ERF.p}; return ${ERF.erf}; }`;

function gateProgram(kind: GateKind, gated: boolean, back: boolean): Program {
  return programOf(['gate', kind, gated, back].join(), () => {
    const {c, f} = GATES[kind];
    const up = gated ? 'let up = in_up[i];' : '';
    const forward = `y[i] = x * c${gated ? ' * up' : ''};`;
    const backward = `let g = dy[i]; dx[i] = g * f${gated ? ' * up; du[i] = g * x * c' : ''};`;
    return {
      reads: ['in_x', ...(gated ? ['in_up'] : []), ...(back ? ['dy'] : [])],
      writes: back ? ['dx', ...(gated ? ['du'] : [])] : ['y'],
      head: FUNCTIONS,
      body: `let x = in_x[i]; ${up} let c = ${c}; let f = ${f}; ${back ? backward : forward}`,
    };
  });
}

const ROTATE: Program = {
  name: 'rotate',
  reads: ['x', 'cosines', 'sines'],
  writes: ['y'],
  integers: ['places', 'heads', 'turned', 'length', 'pairs', 'interleaved'],
  floats: ['sense'],
  body: `let k = i % u.length; let head = (i / u.length) % u.heads; let place = (i / (u.length * u.heads)) % u.places;
if (k >= 2 * u.pairs || head >= u.turned) { y[i] = x[i]; return; }
let apart = u.interleaved == 1; let j = select(k % u.pairs, k / 2, apart); let first = select(k < u.pairs, k % 2 == 0, apart);
let step = select(u.pairs, 1, apart); let a = place * u.pairs + j; let s = sines[a] * u.sense;
y[i] = x[i] * cosines[a] + select(x[max(i - step, 0)] * s, -x[i + step] * s, first);`,
};

/** The operations of transformers as programs, where these run. */
export function webgpuTransformer(): TransformerKernels | undefined {
  return runsPrograms() ? KERNELS : undefined;
}

const KERNELS: TransformerKernels = {
  turnsSome: true,
  attention: attend,
  attentionGradient: attendGradient,
  crossEntropy,
  crossEntropyGradient,
  gate: (x, up, kind) => {
    const inputs = up ? [x, up] : [x];
    const [y] = runProgram(gateProgram(kind, up !== null, false), {inputs, outputs: [x.shape], numbers: []});
    return y as tf.Tensor;
  },
  gateGradient: (x, up, dy, kind) => {
    const inputs = up ? [x, up, dy] : [x, dy];
    const outputs = up ? [x.shape, x.shape] : [x.shape];
    return runProgram(gateProgram(kind, up !== null, true), {inputs, outputs, numbers: []});
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
  const numbers = [places, heads, turned, width / heads, cosines.shape[1] ?? 0, interleaved ? 1 : 0, back ? -1 : 1];
  const [y] = runProgram(ROTATE, {inputs: [x, cosines, sines], outputs: [x.shape], numbers});
  return y as tf.Tensor;
}
