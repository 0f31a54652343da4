import type * as tf from '@tensorflow/tfjs';
import type {EpilogueGradient, Scaling} from '../shared/launches';
import {sourceOf} from './sheet';
import {stackOf, stackTensor} from './stackProgram';

// The epilogue of a product: `min(max(z·m + t, 0), cap)`, with each part optional.

/** Which parts an epilogue has. */
interface Parts {
  readonly cap?: number | undefined;
  readonly scales?: boolean;
  readonly shifts?: boolean;
}

/** The function that `epilogueCode` calls. NaN stays NaN. */
export function epilogueHead(cap: number | undefined): string {
  const above = cap === undefined || cap === Infinity ? 's' : `s > float(${cap}) ? float(${cap}) : s`;
  return cap === undefined ? '' : `float limited(float s) { return s < 0.0 ? 0.0 : ${above}; }`;
}

/** Code that applies an epilogue to a pixel. It reads `m` and `t`. */
export function epilogueCode(z: string, {cap, scales = false, shifts = false}: Parts): string {
  return [
    scales ? `${z} *= m(0, 0, col).rgrg;` : '',
    shifts ? `${z} += t(0, 0, col).rgrg;` : '',
    cap === undefined ? '' : `${z} = vec4(limited(${z}.r), limited(${z}.g), limited(${z}.b), limited(${z}.a));`,
  ].join(' ');
}

/** The function `outer(b, row, col)`: a pixel of the gradient before an epilogue, from `dy`, `y` and `m`. */
export function outerHead({cap, scales = false}: Parts): string {
  const y = 'y(b, row, col)';
  const slope =
    cap === undefined ? '' : ` * sign(${y})${cap === Infinity ? '' : ` * sign(vec4(float(${cap})) - ${y})`}`;
  const scaled = scales ? ' * m(0, 0, col).rgrg' : '';
  return `vec4 outer(int b, int row, int col) { return dy(b, row, col)${slope}${scaled}; }`;
}

/** The inputs that `outerHead` reads. */
export function outerReads({dy, y, m, cap}: EpilogueGradient): [name: string, tensor: tf.Tensor][] {
  return [
    ['dy', dy],
    ...(cap === undefined ? [] : [['y', y as tf.Tensor] as [string, tf.Tensor]]),
    ...(m === undefined ? [] : [['m', m] as [string, tf.Tensor]]),
  ];
}

/** The epilogue by itself. */
export function applyEpilogue(z: tf.Tensor, {m, t}: Scaling, cap: number | undefined): tf.Tensor {
  const code = `result = z(b, row, col); ${epilogueCode('result', {cap, scales: true, shifts: true})}`;
  const program = {reads: ['z', 'm', 't'], head: epilogueHead(cap), code};
  return stackTensor({program, sources: [z, m, t].map(sourceOf), stack: stackOf(z.shape)}, z.shape);
}

/** The gradient before an epilogue. */
export function through(gradient: EpilogueGradient): tf.Tensor {
  const {dy, m, cap} = gradient;
  const read = outerReads(gradient);
  const program = {
    reads: read.map(([name]) => name),
    head: outerHead({cap, scales: m !== undefined}),
    code: 'result = outer(b, row, col);',
  };
  const sources = read.map(([, tensor]) => sourceOf(tensor));
  return stackTensor({program, sources, stack: stackOf(dy.shape)}, dy.shape);
}

/** The widest rows whose softmax is one launch: each pixel reads all of its rows. */
const WIDEST = 128;

/** Code that sums over the rows of a pixel: `accumulate` adds the values `v` at `k` to `sums`. */
function overRow(width: number, x: string, accumulate: (v: string) => string): string {
  const one = accumulate('v.rb');
  const other = width % 2 === 0 ? accumulate('v.ga') : `if (k + 1 < ${width}) { ${accumulate('v.ga')} }`;
  return `for (int k = 0; k < ${width}; k += 2) { vec4 v = ${x}; ${one} ${other} }`;
}

/** The softmax of rows. */
export function softmax(z: tf.Tensor): tf.Tensor | undefined {
  const width = z.shape.at(-1) ?? 1;
  if (width > WIDEST || z.size === 0) {
    return undefined;
  }
  const program = {
    reads: ['z'],
    code: `vec2 top = z(b, row, 0).rb; ${overRow(width, 'z(b, row, k)', v => `top = max(top, ${v});`)}
vec2 sum = vec2(0.0); ${overRow(width, 'z(b, row, k)', v => `sum += exp(${v} - top);`)}
result = exp(z(b, row, col) - top.rrgg) / sum.rrgg;`,
  };
  return stackTensor({program, sources: [sourceOf(z)], stack: stackOf(z.shape)}, z.shape);
}

/** The gradient of a softmax `y`: `y·(dy − Σ y·dy)`. */
export function softmaxGradient(dy: tf.Tensor, y: tf.Tensor): tf.Tensor | undefined {
  const width = y.shape.at(-1) ?? 1;
  if (width > WIDEST || y.size === 0) {
    return undefined;
  }
  const program = {
    reads: ['dy', 'y'],
    code: `vec2 sum = vec2(0.0);
${overRow(width, 'dy(b, row, k) * y(b, row, k)', v => `sum += ${v};`)}
result = y(b, row, col) * (dy(b, row, col) - sum.rrgg);`,
  };
  return stackTensor({program, sources: [dy, y].map(sourceOf), stack: stackOf(y.shape)}, y.shape);
}
