import * as tf from '@tensorflow/tfjs';
import {convolutionBy} from '../shared/cardConvolution';
import type {EpilogueGradients} from '../shared/launches';
import {type Geometry, geometryOf} from '../shared/geometry';
import {adaptedProduct} from './adaptedProduct';
import {limited, type Program, programOf, runProgram, slope} from './program';

// A convolution with what follows. An adapted 1×1 one and a depthwise one take one launch, any other two.

const DEPTHWISE = {
  integers: [...['kh', 'kw', 'ih', 'iw', 'oh', 'ow', 'inner', 'outer', 'strideY', 'strideX', 'beforeY', 'beforeX']],
};

/** A depthwise convolution and its epilogue, a number of the result in each invocation. */
function depthwiseProgram(cap: number | undefined): Program {
  return programOf(`depthwise,${cap}`, () => ({
    ...DEPTHWISE,
    reads: ['x', 'w', 'm', 't'],
    writes: ['y'],
    body: `let c = i % u.outer; var o = i / u.outer; let left = (o % u.ow) * u.strideX - u.beforeX; o /= u.ow;
let top = (o % u.oh) * u.strideY - u.beforeY; let image = o / u.oh * u.ih;
let source = c / (u.outer / u.inner); var s = 0.0;
for (var p = 0; p < u.kh; p++) { let at = top + p; if (at < 0 || at >= u.ih) { continue; }
  for (var q = 0; q < u.kw; q++) { let along = left + q; if (along < 0 || along >= u.iw) { continue; }
    s += x[((image + at) * u.iw + along) * u.inner + source] * w[(p * u.kw + q) * u.outer + c];
} }
s = s * m[c] + t[c]; ${limited(cap)} y[i] = s;`,
  }));
}

/** The gradient in its input, a number of that in each invocation. */
function depthwiseInput(cap: number | undefined, scales: boolean): Program {
  return programOf(`depthwiseInput,${cap},${scales}`, () => ({
    ...DEPTHWISE,
    reads: ['dy', 'w', ...(cap === undefined ? [] : ['y']), ...(scales ? ['m'] : [])],
    writes: ['dx'],
    body: `let source = i % u.inner; var o = i / u.inner; let along = o % u.iw + u.beforeX; o /= u.iw;
    let at = o % u.ih + u.beforeY;
let image = o / u.ih * u.oh; let mult = u.outer / u.inner; var s = 0.0;
for (var p = 0; p < u.kh; p++) {
  let v = at - p; let row = v / u.strideY;
  if (v < 0 || row >= u.oh || row * u.strideY != v) { continue; }
  for (var q = 0; q < u.kw; q++) {
    let h = along - q; let col = h / u.strideX;
    if (h < 0 || col >= u.ow || col * u.strideX != h) { continue; }
    for (var c = source * mult; c < (source + 1) * mult; c++) {
      let k = ((image + row) * u.ow + col) * u.outer + c; var d = dy[k];
      ${slope(cap, 'd', 'y[k]')} ${scales ? 'd *= m[c];' : ''}
      s += d * w[(p * u.kw + q) * u.outer + c];
} } } dx[i] = s;`,
  }));
}

/** `min(max(x·m + t, 0), cap)` along the last axis. */
function epilogue(cap: number | undefined): Program {
  return programOf(`epilogue,${cap}`, () => ({
    reads: ['x', 'm', 't'],
    writes: ['y'],
    integers: ['width'],
    body: `let c = i % u.width; var s = x[i] * m[c] + t[c]; ${limited(cap)} y[i] = s;`,
  }));
}

const EPILOGUES: EpilogueGradients = {
  through: ({dy, y, m, cap}) => {
    const program = programOf(['through', cap, m !== undefined].join(), () => ({
      reads: ['dy', ...(cap === undefined ? [] : ['y']), ...(m === undefined ? [] : ['m'])],
      writes: ['dz'],
      integers: ['width'],
      body: `var d = dy[i];
      ${slope(cap, 'd', 'y[i]')} ${m === undefined ? '' : 'd *= m[i % u.width];'} dz[i] = d;`,
    }));
    const inputs = [dy, ...(cap === undefined ? [] : [y as tf.Tensor]), ...(m === undefined ? [] : [m])];
    return only(runProgram(program, {inputs, outputs: [dy.shape], numbers: [dy.shape[dy.rank - 1] ?? 1]}));
  },
  depthwiseInput: ({dy, y, m, cap}, filter, inputShape, {strides, padding}) => {
    const geometry = geometryOf(inputShape, filter.shape, {strides, pad: padding}, true);
    const inputs = [dy, filter, ...(cap === undefined ? [] : [y as tf.Tensor]), ...(m === undefined ? [] : [m])];
    const program = depthwiseInput(cap, m !== undefined);
    return only(runProgram(program, {inputs, outputs: [inputShape], numbers: uniformsOf(geometry)}));
  },
};

/** The convolution with its epilogue. */
export const fusedConvolution = convolutionBy({
  takesDepthwise: () => true,
  depthwise: ({x, filter, strides, padding}, {m, t}, cap) => {
    const geometry = geometryOf(x.shape, filter.shape, {strides, pad: padding}, true);
    const {n, height, width, channelsOut} = geometry;
    const outputs = [[n, height.output, width.output, channelsOut]];
    return only(runProgram(depthwiseProgram(cap), {inputs: [x, filter, m, t], outputs, numbers: uniformsOf(geometry)}));
  },
  epilogue: (z, {m, t}, cap) =>
    only(runProgram(epilogue(cap), {inputs: [z, m, t], outputs: [z.shape], numbers: [m.size]})),
  adaptedProduct,
  epilogues: EPILOGUES,
});

function only([tensor]: tf.Tensor[]): tf.Tensor {
  return tensor as tf.Tensor;
}

function uniformsOf({height, width, channelsIn, channelsOut}: Geometry): number[] {
  return [
    ...[height.kernel, width.kernel, height.input, width.input, height.output, width.output, channelsIn, channelsOut],
    ...[height.stride, width.stride, height.before, width.before],
  ];
}
