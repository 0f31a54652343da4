import type * as tf from '@tensorflow/tfjs';
import type {Epilogue} from '../shared/launches';
import {epilogueCode, epilogueHead} from './epilogue';
import {sheetOf, sheets, sourceOf} from './sheet';
import {type Source, type Stack, type StackCall, type StackProgram, stackTensor} from './stackProgram';

// Sums of products of matrices, in one launch each, or several sums in one.

/** A product of matrices. */
export interface Product {
  readonly left: Source;
  readonly right: Source;
  readonly leftTransposed?: boolean;
  readonly rightTransposed?: boolean;
  readonly scale?: number;
  /** The first of the columns of the sum that it adds to. Even. Default: all of them. */
  readonly column?: number;
}

/** A sum of products. */
export interface Sum {
  /** With several matrices on the left, each is multiplied with the one on the right. */
  readonly products: readonly Product[];
  /** Added to the products. */
  readonly added?: Source;
  readonly epilogue?: Epilogue;
  readonly stack: Stack;
  /** Sums the products of the matrices of a stack, which both sides have. */
  readonly overStack?: boolean;
}

/** The program of a sum of products, whose names end with a mark. */
function sumCall({products, added, epilogue = {}, stack, overStack = false}: Sum, mark = ''): StackCall {
  const {cap, m, t} = epilogue;
  const more: [name: string, source: Source][] = [
    ...(added === undefined ? [] : [['added', added] as [string, Source]]),
    ...(m === undefined ? [] : [['m', sourceOf(m)] as [string, Source]]),
    ...(t === undefined ? [] : [['t', sourceOf(t)] as [string, Source]]),
  ];
  const names = products.map((_, i) => [`left${mark}${i}`, `right${mark}${i}`, `scale${mark}${i}`] as const);
  const loops = products.map((product, i) => {
    const {
      left: {stack: of},
      right: {stack: ofRight},
      leftTransposed = false,
      rightTransposed = false,
      column,
    } = product;
    const [left, right, scale] = names[i] as (typeof names)[number];
    const length = of[leftTransposed ? 1 : 2];
    const [n, other] = overStack ? ['n', 'n'] : ['b', '0'];
    const at = column === undefined ? 'col' : `col - ${column}`;
    const loop = `for (int k = 0; k < ${length}; k += 2) {
  vec4 v = ${leftTransposed ? `${left}(${n}, k, row).rbga` : `${left}(${n}, row, k)`};
  vec4 w = ${rightTransposed ? `${right}(${other}, ${at}, k).rbga` : `${right}(${other}, k, ${at})`};
  ${length % 2 === 0 ? '' : `if (k + 1 >= ${length}) { v.ga = vec2(0.0); w.ba = vec2(0.0); }`}
  s${i} += v.rrbb * w.rgrg; s${i} += v.ggaa * w.baba;
}`;
    const stackLoop = overStack ? `for (int n = 0; n < ${of[0]}; n++) { ${loop} }` : loop;
    const summed = `vec4 s${i} = vec4(0.0); ${stackLoop} result += ${scale} * s${i};`;
    const end = (column ?? 0) + ofRight[rightTransposed ? 1 : 2];
    return column === undefined ? summed : `if (col >= ${column} && col < ${end}) { ${summed} }`;
  });
  const program: StackProgram = {
    reads: [...names.flatMap(([left, right]) => [left, right]), ...more.map(([name]) => name)],
    floats: names.map(([, , scale]) => scale),
    head: epilogueHead(cap),
    code: [
      ...loops,
      added === undefined ? '' : 'result += added(b, row, col);',
      epilogueCode('result', {cap, scales: m !== undefined, shifts: t !== undefined}),
    ].join('\n'),
  };
  return {
    ...{program, stack, numbers: products.map(({scale = 1}) => scale)},
    sources: [...products.flatMap(({left, right}) => [left, right]), ...more.map(([, source]) => source)],
  };
}

/** A sum of products in one launch. Default for its shape: that of the stack. */
export function sumOf(sum: Sum, shape: readonly number[] = sum.stack): tf.Tensor {
  return stackTensor(sumCall(sum), shape);
}

/** Several sums in one launch, which the caller owns. */
export function sumsOf(all: readonly Sum[], shapes: readonly (readonly number[])[]): tf.Tensor[] {
  const sheet = sheetOf(all.map((sum, i) => sumCall(sum, `Sum${i}`)));
  const parts = sheets.split(sheet, shapes);
  sheet.free();
  return parts;
}
