import type * as tf from '@tensorflow/tfjs';
import type {Epilogue} from '../shared/launches';
import {productBy} from '../shared/recordedProduct';
import {epilogueCode, epilogueHead, through} from './epilogue';
import {sheetOf, sheets, sourceOf} from './sheet';
import {type Source, type Stack, type StackCall, type StackProgram, stackTensor} from './stackProgram';

// `y = f(x·(W + s·A·B) + b)` and its gradients. With many rows the update is added to the kernel, which is small then;
// with few the rows are multiplied by the factors, one after the other.

/** A product of matrices. */
interface Product {
  readonly left: Source;
  readonly right: Source;
  readonly leftTransposed?: boolean;
  readonly rightTransposed?: boolean;
  readonly scale?: number;
}

interface Sum {
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
function callOf({products, added, epilogue = {}, stack, overStack = false}: Sum, mark = ''): StackCall {
  const {cap, m, t} = epilogue;
  const more: [name: string, source: Source][] = [
    ...(added === undefined ? [] : [['added', added] as [string, Source]]),
    ...(m === undefined ? [] : [['m', sourceOf(m)] as [string, Source]]),
    ...(t === undefined ? [] : [['t', sourceOf(t)] as [string, Source]]),
  ];
  const names = products.map((_, i) => [`left${mark}${i}`, `right${mark}${i}`, `scale${mark}${i}`] as const);
  const loops = products.map(({left: {stack: of}, leftTransposed = false, rightTransposed = false}, i) => {
    const [left, right, scale] = names[i] as (typeof names)[number];
    const length = of[leftTransposed ? 1 : 2];
    const [n, other] = overStack ? ['n', 'n'] : ['b', '0'];
    const loop = `for (int k = 0; k < ${length}; k += 2) {
  vec4 v = ${leftTransposed ? `${left}(${n}, k, row).rbga` : `${left}(${n}, row, k)`};
  vec4 w = ${rightTransposed ? `${right}(${other}, col, k).rbga` : `${right}(${other}, k, col)`};
  ${length % 2 === 0 ? '' : `if (k + 1 >= ${length}) { v.ga = vec2(0.0); w.ba = vec2(0.0); }`}
  s${i} += v.rrbb * w.rgrg; s${i} += v.ggaa * w.baba;
}`;
    const whole = overStack ? `for (int n = 0; n < ${of[0]}; n++) { ${loop} }` : loop;
    return `vec4 s${i} = vec4(0.0); ${whole} result += ${scale} * s${i};`;
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
function sumOf(sum: Sum, shape: readonly number[] = sum.stack): tf.Tensor {
  return stackTensor(callOf(sum), shape);
}

/** Two sums in one launch, which the caller owns. */
function twoSums(one: Sum, other: Sum, shapes: readonly (readonly number[])[]): [one: tf.Tensor, other: tf.Tensor] {
  const sheet = sheetOf([callOf(one, 'One'), callOf(other, 'Other')]);
  const parts = sheets.split(sheet, shapes);
  sheet.free();
  return parts as [tf.Tensor, tf.Tensor];
}

/** The product and its gradients. */
export const adaptedProduct = productBy({
  takes: (rows, {a, b}) => Math.min(rows, a.size, b.size) > 0,
  forward: (x, {kernel, a, b, scaling}, epilogue) => {
    const [input, w, factorA, factorB] = [x, kernel, a, b].map(sourceOf) as [Source, Source, Source, Source];
    const [count, rows, inner] = input.stack;
    const [, rank, columns] = factorB.stack;
    const stack: Stack = [count, rows, columns];
    const isFlat = count * rows * (inner + columns) < inner * columns;
    const between = isFlat
      ? sumOf({products: [{left: input, right: factorA}], stack: [count, rows, rank]})
      : sumOf({products: [{left: factorA, right: factorB, scale: scaling}], added: w, stack: [1, inner, columns]});
    const own = sourceOf(between);
    const products = isFlat
      ? [
          {left: input, right: w},
          {left: own, right: factorB, scale: scaling},
        ]
      : [{left: input, right: own}];
    const y = sumOf({products, epilogue, stack}, [...x.shape.slice(0, -1), columns]);
    between.dispose();
    return y;
  },
  backward: (x, epilogue, {kernel, a, b, scaling}) => {
    const dz = epilogue.cap === undefined && epilogue.m === undefined ? epilogue.dy : through(epilogue);
    const [input, output, w, factorA, factorB] = [x, dz, kernel, a, b].map(sourceOf) as [
      ...[Source, Source, Source, Source, Source],
    ];
    const [count, rows, inner] = input.stack;
    const [, rank, columns] = factorB.stack;
    const narrow: Stack = [count, rows, rank];
    const ofH: Product = {left: input, right: factorA};
    const ofDh: Product = {left: output, right: factorB, rightTransposed: true, scale: scaling};
    const [h, dh] = twoSums({products: [ofH], stack: narrow}, {products: [ofDh], stack: narrow}, [narrow, narrow]);
    return {
      dz,
      ofFactors: () => {
        const ofA: Product = {left: input, right: sourceOf(dh), leftTransposed: true};
        const ofB: Product = {left: sourceOf(h), right: output, leftTransposed: true, scale: scaling};
        return twoSums(
          {products: [ofA], stack: [1, inner, rank], overStack: true},
          {products: [ofB], stack: [1, rank, columns], overStack: true},
          [a.shape, b.shape],
        );
      },
      ofInput: () => {
        const products: Product[] = [
          {left: output, right: w, rightTransposed: true},
          {left: sourceOf(dh), right: factorA, rightTransposed: true},
        ];
        return sumOf({products, stack: input.stack}, x.shape);
      },
    };
  },
});
