import type * as tf from '@tensorflow/tfjs';
import {sourceOf} from '../../../../backends/webgl/sheet';
import {type Source, type Stack, stackOf, stackTensor} from '../../../../backends/webgl/stackProgram';
import {type Product, type Sum, sumOf, sumsOf} from '../../../../backends/webgl/sums';
import {rowBytes} from '../../formats/blockMatrix';
import {formatCode, numbersTogether} from '../formatCode';
import {type AdaptedMatrix, factorsOf, type JointProducts} from '../quantizedKernels';
import {glsl, onCard} from './blocks';

// Concatenated products with quantized matrices. One launch unpacks all matrices, one below the other, and another one
// multiplies. Launches for the factors come before and after these.

/** The most values that are unpacked at a time. */
const MAX_VALUES = 2 ** 22;

/** Where each part begins. */
function startsOf(sizes: readonly number[]): number[] {
  let from = 0;
  return sizes.map(size => (from += size) - size);
}

/** The values of all matrices, `[Σ rows, width]`. */
function unpackAll(parts: readonly AdaptedMatrix[]): tf.Tensor {
  const [{matrix}] = parts as readonly [AdaptedMatrix];
  const {format, width} = matrix;
  const starts = startsOf(parts.map(({matrix: {rows}}) => rows));
  const laterParts = starts.flatMap((start, i) => (i === 0 ? [] : [{i, start}]));
  const pixelAt = laterParts.map(({i}) => `if (part == ${i}) return three${i}(0, 0, 2 * i);`).join(' ');
  const selectPart = laterParts
    .map(({i, start}) => `if (at >= ${start}) { part = ${i}; line = at - ${start}; }`)
    .join(' ');
  const pair =
    numbersTogether(format) === 1
      ? 'vec2(numberAt(line, col), numberAt(line, col + 1))'
      : 'factorAt(p, start) * vec2(quantAt(p, start), quantAt(p, start + 1)) + shiftAt(p, start)';
  const program = {
    reads: parts.map((_, i) => `three${i}`),
    head: `int part = 0;
    ${formatCode(format, glsl(`${pixelAt} return three0(0, 0, 2 * i);`), String(rowBytes(matrix)))}`,
    code: ['rg', 'ba']
      .map(
        (name, i) => `{ int at = row + ${i}; int line = at; part = 0; ${selectPart}
int p = blockOf(line, col); int start = indexOf(col); result.${name} = ${pair}; }`,
      )
      .join('\n'),
  };
  const sources = parts.map(({blocks}): Source => {
    const info = onCard(blocks);
    return {info, stack: stackOf(info.shape)};
  });
  const stack: Stack = [1, parts.reduce((sum, {matrix: {rows}}) => sum + rows, 0), width];
  return stackTensor({program, sources, stack}, stack.slice(1));
}

function updatedOf(parts: readonly AdaptedMatrix[]) {
  const starts = startsOf(parts.map(({matrix}) => matrix.rows));
  return parts.flatMap(({matrix, factors}, i) => {
    const column = starts[i] as number;
    return factors === null ? [] : [{...factors, rank: factors.b.shape[0], rows: matrix.rows, column}];
  });
}

function columnsOf(tensor: tf.Tensor, column: number, count: number): Source {
  const source = sourceOf(tensor);
  const [matrices, rows] = source.stack;
  return {...source, stack: [matrices, rows, count], within: {stack: source.stack, column}};
}

export const jointProducts: JointProducts = {
  takes: (x, parts) => {
    const [{matrix}] = parts as readonly [AdaptedMatrix];
    const rows = parts.map(({matrix: {rows}}) => rows);
    const isOdd = rows.slice(0, -1).some(count => count % 2 !== 0);
    return (
      x.size > 0 &&
      !isOdd &&
      rows.reduce((sum, count) => sum + count) * matrix.width <= MAX_VALUES &&
      parts.every(other => other.matrix.format === matrix.format && other.matrix.width === matrix.width) &&
      factorsOf(parts).ranks.every(rank => rank <= 64)
    );
  },
  forward: (x, parts, added) => {
    const input = sourceOf(x);
    const [count, rows] = input.stack;
    const updated = updatedOf(parts);
    const narrow: Stack[] = updated.map(({rank}) => [count, rows, rank]);
    const ofH = updated.map(({a}, i): Sum => ({
      products: [{left: input, right: sourceOf(a)}],
      stack: narrow[i] as Stack,
    }));
    const hs = updated.length === 0 ? [] : sumsOf(ofH, narrow);
    const w = unpackAll(parts);
    const products: Product[] = [
      {left: input, right: sourceOf(w), rightTransposed: true},
      ...updated.map(({b, scaling, column}, i) => ({
        ...{left: sourceOf(hs[i] as tf.Tensor), right: sourceOf(b), scale: scaling},
        ...(parts.length > 1 && {column}),
      })),
    ];
    const [columns = 0] = w.shape;
    const sum = {products, stack: [count, rows, columns] as const, ...(added && {added: sourceOf(added)})};
    const y = sumOf(sum, [...x.shape.slice(0, -1), columns]);
    [w, ...hs].forEach(tensor => tensor.dispose());
    return y;
  },
  backward: (x, dy, parts) => {
    const updated = updatedOf(parts);
    const output = sourceOf(dy);
    const [count, rows] = output.stack;
    const ofColumns = (column: number, width: number) => columnsOf(dy, column, width);
    const narrow = updated.flatMap(({a, b, rank, scaling, column, rows: width}): Sum[] => {
      const stack: Stack = [count, rows, rank];
      const ofDh = {left: ofColumns(column, width), right: sourceOf(b), rightTransposed: true, scale: scaling};
      return [
        {products: [{left: sourceOf(x), right: sourceOf(a)}], stack},
        {products: [ofDh], stack},
      ];
    });
    const hs =
      narrow.length === 0
        ? []
        : sumsOf(
            narrow,
            narrow.map(({stack}) => stack),
          );
    const pairs = updated.map((operand, i) => ({
      ...operand,
      h: hs[2 * i] as tf.Tensor,
      dh: hs[2 * i + 1] as tf.Tensor,
    }));
    return {
      ofFactors: () => {
        const sums = pairs.flatMap(({a, h, dh, rank, scaling, column, rows: width}): Sum[] => {
          const ofA = {left: sourceOf(x), right: sourceOf(dh), leftTransposed: true};
          const ofB = {left: sourceOf(h), right: ofColumns(column, width), leftTransposed: true, scale: scaling};
          return [
            {products: [ofA], stack: [1, a.size / rank, rank], overStack: true},
            {products: [ofB], stack: [1, rank, width], overStack: true},
          ];
        });
        return sums.length === 0
          ? []
          : sumsOf(
              sums,
              pairs.flatMap(({a, b}) => [a.shape, b.shape]),
            );
      },
      ofInput: () => {
        const w = unpackAll(parts);
        const width = w.shape[1] as number;
        const products: Product[] = [
          {left: output, right: sourceOf(w)},
          ...pairs.map(({a, dh}) => ({left: sourceOf(dh), right: sourceOf(a), rightTransposed: true})),
        ];
        const dx = sumOf({products, stack: [count, rows, width]}, [...dy.shape.slice(0, -1), width]);
        w.dispose();
        return dx;
      },
    };
  },
};
