import type * as tf from '@tensorflow/tfjs';
import {productBy} from '../shared/recordedProduct';
import {through} from './epilogue';
import {sourceOf} from './sheet';
import type {Source, Stack} from './stackProgram';
import {type Product, sumOf, sumsOf} from './sums';

// `y = f(x·(W + s·A·B) + b)` and its gradients. With many rows the update is added to the kernel, which is small then;
// with few the rows are multiplied by the factors, one after the other.

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
    const betweenSource = sourceOf(between);
    const products = isFlat
      ? [
          {left: input, right: w},
          {left: betweenSource, right: factorB, scale: scaling},
        ]
      : [{left: input, right: betweenSource}];
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
    const both = [ofH, ofDh].map(product => ({products: [product], stack: narrow}));
    const [h, dh] = sumsOf(both, [narrow, narrow]) as [tf.Tensor, tf.Tensor];
    return {
      dz,
      ofFactors: () => {
        const ofA: Product = {left: input, right: sourceOf(dh), leftTransposed: true};
        const ofB: Product = {left: sourceOf(h), right: output, leftTransposed: true, scale: scaling};
        return sumsOf(
          [
            {products: [ofA], stack: [1, inner, rank], overStack: true},
            {products: [ofB], stack: [1, rank, columns], overStack: true},
          ],
          [a.shape, b.shape],
        ) as [tf.Tensor, tf.Tensor];
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
