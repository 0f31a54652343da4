import * as tf from '@tensorflow/tfjs';
import {run} from '../../tfjs/engine';
import {handOver} from '../../tfjs/handOver';
import {type Axis, geometryOf} from '../geometry';
import type {FusedConvolution, OutletGradients, PlainConvolution, Scaling} from '../launches';
import {adaptedProduct} from './adaptedProduct';
import {applyOutlet, outerHead, outerReads, outletCode, outletHead, through} from './outlet';
import {currentWebgl, type WebglBackend} from './program';
import {sourceOf} from './sheet';
import {runStackProgram, type Stack} from './stackProgram';

// A convolution with what follows it. A depthwise one takes one launch, that of an adapted layer of kernel size 1 two,
// any other one more than by itself.

/** Depthwise kernels up to this size: the code has a line for each column of them. */
const WIDEST = 16;

function takesDepthwise({shape: [, columns, , multiplier]}: tf.Tensor4D): boolean {
  return multiplier === 1 && columns <= WIDEST;
}

/** Code for a line of a pair of neighbouring columns: adds to `result` what they read at `x` of each of its columns. */
function alongLine({kernel, stride, before, input}: Axis): string {
  const read = new Map<number, string>();
  const columnOf = (offset: number) => {
    const pair = Math.floor(offset / 2);
    if (!read.has(pair)) {
      const at = `row * ${stride} + ${2 * pair}`;
      const last = input % 2 === 0 ? '' : `if (${at} + 1 >= ${input}) x${read.size}.ba = vec2(0.0);`;
      read.set(
        pair,
        `vec4 x${read.size} = vec4(0.0); if (${at} >= 0 && ${at} < ${input}) { x${read.size} = x(line, ${at}, col); ${last} }`,
      );
    }
    return `x${[...read.keys()].indexOf(pair)}.${offset % 2 === 0 ? 'rg' : 'ba'}`;
  };
  const sums = Array.from({length: kernel}, (_, q) => {
    const [one, next] = [columnOf(q - before), columnOf(q - before + stride)];
    return `{ vec2 k = w(p * ${kernel} + ${q}, col, 0).rb; result += vec4(${one} * k, ${next} * k); }`;
  });
  return [...read.values(), ...sums].join('\n');
}

/** A depthwise convolution and its outlet. */
function depthwise(
  {x, filter, strides, padding}: PlainConvolution,
  m: tf.Tensor,
  t: tf.Tensor,
  cap: number | undefined,
): tf.Tensor {
  const {n, height, width, channelsOut} = geometryOf(x.shape, filter.shape, strides, padding, {depthwise: true});
  const program = {
    reads: ['x', 'w', 'm', 't'],
    head: outletHead(cap),
    code: `int image = b / ${height.output}; int top = (b - image * ${height.output}) * ${height.stride} - ${height.before};
for (int p = 0; p < ${height.kernel}; p++) {
  int at = top + p;
  if (at >= 0 && at < ${height.input}) { int line = image * ${height.input} + at; ${alongLine(width)} }
}
${outletCode('result', {cap, scales: true, shifts: true})}`,
  };
  const stack: Stack = [n * height.output, width.output, channelsOut];
  const sources = [x, filter, m, t].map(sourceOf);
  const info = runStackProgram(currentWebgl() as WebglBackend, {program, sources, stack});
  const shape = [n, height.output, width.output, channelsOut];
  return tf.engine().makeTensorFromTensorInfo({...info, shape});
}

/**
 * Code for a line of the gradient in the input: adds to `result` what a pair of neighbouring columns gets of each
 * column of the kernel.
 */
function backAlongLine({kernel, stride, before, output}: Axis): string {
  const code: string[] = [];
  for (let q = 0; q < kernel; q++) {
    const lanes = ['rg', 'ba'].flatMap((lane, i) => {
      const offset = i + before - q;
      if (stride === 2 && offset % 2 !== 0) {
        return []; // `row` is even
      }
      return `{ int h = row + ${offset}; int o = h / ${stride}; if (h >= 0 && o * ${stride} == h && o < ${output}) {
  int even = 2 * (o / 2); vec4 d = outer(line, even, col); result.${lane} += (o == even ? d.rg : d.ba) * k; } }`;
    });
    if (lanes.length > 0) {
      code.push(`{ vec2 k = w(p * ${kernel} + ${q}, col, 0).rb; ${lanes.join(' ')} }`);
    }
  }
  return code.join('\n');
}

/** The same where the stride is one: the columns of a pair are read once for all columns of the kernel. */
function backAlongLineByOne({kernel, before, output}: Axis): string {
  const read: string[] = [];
  const pairs: number[] = [];
  const columnOf = (offset: number) => {
    const pair = Math.floor(offset / 2);
    if (!pairs.includes(pair)) {
      const [d, at] = [`d${pairs.length}`, `row + ${2 * pair}`];
      const last = output % 2 === 0 ? '' : `if (${at} + 1 >= ${output}) ${d}.ba = vec2(0.0);`;
      read.push(
        `vec4 ${d} = vec4(0.0); if (${at} >= 0 && ${at} < ${output}) { ${d} = outer(line, ${at}, col); ${last} }`,
      );
      pairs.push(pair);
    }
    return `d${pairs.indexOf(pair)}.${offset % 2 === 0 ? 'rg' : 'ba'}`;
  };
  const sums = Array.from({length: kernel}, (_, q) => {
    const [one, next] = [columnOf(before - q), columnOf(before - q + 1)];
    return `{ vec2 k = w(p * ${kernel} + ${q}, col, 0).rb; result += vec4(${one} * k, ${next} * k); }`;
  });
  return [...read, ...sums].join('\n');
}

const OUTLETS: OutletGradients = {
  through,
  depthwiseInput: (gradient, filter, inputShape, strides, padding) => {
    if (!takesDepthwise(filter)) {
      return undefined;
    }
    const {cap, m} = gradient;
    const {n, height, width, channelsIn} = geometryOf(inputShape, filter.shape, strides, padding, {depthwise: true});
    const read = outerReads(gradient);
    const program = {
      reads: ['w', ...read.map(([name]) => name)],
      head: outerHead({cap, scales: m !== undefined}),
      code: `int image = b / ${height.input}; int at = b - image * ${height.input} + ${height.before};
for (int p = 0; p < ${height.kernel}; p++) {
  int v = at - p; int o = v / ${height.stride};
  if (v >= 0 && o * ${height.stride} == v && o < ${height.output}) {
    int line = image * ${height.output} + o; ${width.stride === 1 ? backAlongLineByOne(width) : backAlongLine(width)}
  }
}`,
    };
    const stack: Stack = [n * height.input, width.input, channelsIn];
    const sources = [filter, ...read.map(([, tensor]) => tensor)].map(sourceOf);
    const info = runStackProgram(currentWebgl() as WebglBackend, {program, sources, stack});
    return tf.engine().makeTensorFromTensorInfo({...info, shape: [...inputShape]});
  },
};

/** The convolution with its outlet. */
export const fusedConvolution: FusedConvolution = {
  takes: ({x, filter, depthwise}) => x.dtype === 'float32' && (!depthwise || takesDepthwise(filter)),
  normalized: (convolution, scaling) => compute(convolution, scaling, undefined),
  rectified: (convolution, scaling, cap) => {
    const y = compute(convolution, scaling, cap);
    return [y, tf.clone(y)];
  },
  outlets: OUTLETS,
  handOver,
};

function compute(convolution: PlainConvolution, {m, t}: Scaling, cap: number | undefined): tf.Tensor {
  return tf.tidy(() => {
    const {x, filter, bias, update, strides, padding} = convolution;
    if (!convolution.depthwise && update === undefined) {
      const attributes = {strides, pad: padding, dataFormat: 'NHWC', dilations: [1, 1], activation: 'linear'};
      return applyOutlet(run(tf.FusedConv2D, {x, filter, ...(bias && {bias})}, attributes), {m, t}, cap);
    }
    const shift = bias === null ? t : tf.add(tf.mul(bias, m), t);
    return update === undefined
      ? depthwise(convolution, m, shift, cap)
      : adaptedProduct.forward(x, {kernel: filter, ...update}, {m, t: shift, cap});
  });
}
