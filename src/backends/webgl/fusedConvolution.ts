import type * as tf from '@tensorflow/tfjs';
import {convolutionBy} from '../shared/cardConvolution';
import {type Axis, geometryOf} from '../shared/geometry';
import type {EpilogueGradients, PlainConvolution, Scaling} from '../shared/launches';
import {adaptedProduct} from './adaptedProduct';
import {applyEpilogue, outerHead, outerReads, epilogueCode, epilogueHead, through} from './epilogue';
import {sourceOf} from './sheet';
import {type Stack, stackTensor} from './stackProgram';

// A convolution with what follows it. A depthwise one takes one launch, that of an adapted layer of kernel size 1 two,
// any other one more than by itself.

/** Depthwise kernels up to this size: the code has a line for each column of them. */
const WIDEST = 16;

function takesDepthwise({shape: [, columns, , multiplier]}: tf.Tensor4D): boolean {
  return multiplier === 1 && columns <= WIDEST;
}

/** The columns of a line that code reads, two in a pixel. */
class Columns {
  private readonly pairs: number[] = [];

  /**
   * @param read the function that reads a pixel.
   * @param stride how far the columns of two neighbouring results are apart.
   * @param length how many columns there are. Beyond them there are zeros.
   */
  constructor(
    private readonly read: string,
    private readonly stride: number,
    private readonly length: number,
  ) {}

  /** Two channels of the column at an offset from that of the even `row`. */
  at(offset: number): string {
    const pair = Math.floor(offset / 2);
    if (!this.pairs.includes(pair)) {
      this.pairs.push(pair);
    }
    return `pair${this.pairs.indexOf(pair)}.${offset % 2 === 0 ? 'rg' : 'ba'}`;
  }

  /** The code that comes before: it reads each pixel once. */
  get code(): string {
    const lines = this.pairs.map((pair, i) => {
      const at = `row * ${this.stride} + ${2 * pair}`;
      const last = this.length % 2 === 0 ? '' : `if (${at} + 1 >= ${this.length}) pair${i}.ba = vec2(0.0);`;
      const read = `if (${at} >= 0 && ${at} < ${this.length}) {
        pair${i} = ${this.read}(line, ${at}, col);
        ${last}
      }`;
      return `vec4 pair${i} = vec4(0.0); ${read}`;
    });
    return lines.join('\n');
  }
}

/** Code that adds to a pair of neighbouring results what each column of the kernel takes from `columns`. */
function alongLine(columns: Columns, kernel: number, offsetsOf: (q: number) => readonly [number, number]): string {
  const sums = Array.from({length: kernel}, (_, q) => {
    const [one, next] = offsetsOf(q).map(offset => columns.at(offset)) as [string, string];
    return `{ vec2 k = w(p * ${kernel} + ${q}, col, 0).rb; result += vec4(${one} * k, ${next} * k); }`;
  });
  return [columns.code, ...sums].join('\n');
}

function forwardAlongLine({kernel, stride, before, input}: Axis): string {
  return alongLine(new Columns('x', stride, input), kernel, q => [q - before, q - before + stride]);
}

/** A depthwise convolution and its epilogue. */
function fusedDepthwise(
  {x, filter, strides, padding}: PlainConvolution,
  {m, t}: Scaling,
  cap: number | undefined,
): tf.Tensor {
  const {n, height, width, channelsOut} = geometryOf(x.shape, filter.shape, {strides, pad: padding}, true);
  const program = {
    reads: ['x', 'w', 'm', 't'],
    head: epilogueHead(cap),
    code: `int image = b / ${height.output};
    int top = (b - image * ${height.output}) * ${height.stride} - ${height.before};
for (int p = 0; p < ${height.kernel}; p++) {
  int at = top + p;
  if (at >= 0 && at < ${height.input}) { int line = image * ${height.input} + at; ${forwardAlongLine(width)} }
}
${epilogueCode('result', {cap, scales: true, shifts: true})}`,
  };
  const stack: Stack = [n * height.output, width.output, channelsOut];
  const sources = [x, filter, m, t].map(sourceOf);
  return stackTensor({program, sources, stack}, [n, height.output, width.output, channelsOut]);
}

/** The same for the gradient in the input. With strides a column of the kernel gives to some columns alone. */
function backAlongLine({kernel, stride, before, output}: Axis): string {
  if (stride === 1) {
    return alongLine(new Columns('outer', 1, output), kernel, q => [before - q, before - q + 1]);
  }
  const code: string[] = [];
  for (let q = 0; q < kernel; q++) {
    const lanes = ['rg', 'ba'].flatMap((lane, i) => {
      const offset = i + before - q;
      if (stride === 2 && offset % 2 !== 0) {
        return []; // `row` is even
      }
      return `{
        int h = row + ${offset};
        int o = h / ${stride};
        if (h >= 0 && o * ${stride} == h && o < ${output}) {
          int even = 2 * (o / 2);
          vec4 d = outer(line, even, col);
          result.${lane} += (o == even ? d.rg : d.ba) * k;
        }
      }`;
    });
    if (lanes.length > 0) {
      code.push(`{ vec2 k = w(p * ${kernel} + ${q}, col, 0).rb; ${lanes.join(' ')} }`);
    }
  }
  return code.join('\n');
}

const EPILOGUES: EpilogueGradients = {
  through,
  depthwiseInput: (gradient, filter, inputShape, {strides, padding}) => {
    if (!takesDepthwise(filter)) {
      return undefined;
    }
    const {cap, m} = gradient;
    const {n, height, width, channelsIn} = geometryOf(inputShape, filter.shape, {strides, pad: padding}, true);
    const read = outerReads(gradient);
    const program = {
      reads: ['w', ...read.map(([name]) => name)],
      head: outerHead({cap, scales: m !== undefined}),
      code: `int image = b / ${height.input}; int at = b - image * ${height.input} + ${height.before};
for (int p = 0; p < ${height.kernel}; p++) {
  int v = at - p; int o = v / ${height.stride};
  if (v >= 0 && o * ${height.stride} == v && o < ${height.output}) {
    int line = image * ${height.output} + o; ${backAlongLine(width)}
  }
}`,
    };
    const stack: Stack = [n * height.input, width.input, channelsIn];
    const sources = [filter, ...read.map(([, tensor]) => tensor)].map(sourceOf);
    return stackTensor({program, sources, stack}, inputShape);
  },
};

/** The convolution with its epilogue. */
export const fusedConvolution = convolutionBy({
  ...{takesDepthwise, depthwise: fusedDepthwise, adaptedProduct},
  epilogue: applyEpilogue,
  epilogues: EPILOGUES,
});
