import * as tf from '@tensorflow/tfjs';
import {pick, type Random} from '../damage';
import {anyOperand, bent, between, dtypeOf, floats, type KernelCase, type Operand, size, some} from './case';

// Products, convolutions and windows, with arguments that tfjs may refuse.

type Family = (random: Random) => KernelCase;

const MOSTLY_FLOATS = [...Array.from({length: 9}, () => 'float32' as const), 'int32', 'bool'] as const;
const mostlyFloats = (random: Random, shape: number[]) => anyOperand(random, shape, MOSTLY_FLOATS);

/** An infinite weight times padding is NaN, but not on cpu, which passes over padding. */
const filterOf = (random: Random, shape: number[]): Operand => ({shape, dtype: pick(random, MOSTLY_FLOATS)});

const ALL_ACTIVATIONS = ['linear', 'relu', 'relu6', 'elu', 'sigmoid', 'prelu', 'leakyrelu'] as const;

const odd = (what: string, operands: readonly Operand[], compute: KernelCase['compute']): KernelCase => ({
  what: `${what} of ${operands.map(dtypeOf).join(', ')}`,
  operands,
  compute,
  isOdd: true,
  // Padding is multiplied too, which is NaN where values are infinite.
  ...(operands.some(({isSprinkled}) => isSprinkled) && {isConstant: true}),
});

/** Outer axes, and others that may be repeated along them. */
function outerAxes(random: Random): [number[], number[]] {
  const whole = Array.from({length: between(random, 0, 2)}, () => between(random, 1, 3));
  const other = whole.map(length => (random() < 0.3 ? 1 : length)).slice(random() < 0.3 ? 1 : 0);
  const pair: [number[], number[]] = [whole, random() < 0.1 ? bent(random, other) : other];
  return random() < 0.5 ? pair : [pair[1], pair[0]];
}

const product: Family = random => {
  const [m, k, n] = [size(random), size(random), size(random)];
  const inner = random() < 0.2 ? size(random) : k;
  const [transposeA, transposeB] = [random() < 0.4, random() < 0.4];
  const [outerA, outerB] = outerAxes(random);
  const a = [...outerA, ...(transposeA ? [k, m] : [m, k])];
  const b = [...outerB, ...(transposeB ? [n, inner] : [inner, n])];
  return {
    ...odd(
      `matMul, transposed ${transposeA}, ${transposeB}`,
      [mostlyFloats(random, random() < 0.05 ? a.slice(1) : a), mostlyFloats(random, b)],
      (x, y) => tf.matMul(x, y, transposeA, transposeB),
    ),
    isReordered: true,
    // tfjs's gradients of products that are broadcast have the wrong shape; those of graphs are corrected.
    ...(String(outerA) === String(outerB) ? {} : {isConstant: true}),
  };
};

const fusedProduct: Family = random => {
  const [m, k, n] = [size(random), size(random), size(random)];
  const [transposeA, transposeB] = [random() < 0.4, random() < 0.4];
  const outer = pick(random, [[], [], [1], [3], [2, 2]]);
  const bias = pick(random, [undefined, [n], [n], [1], [], [m, n], [1, n], [m, 1], [n + 1]]);
  const activation = pick(random, ALL_ACTIVATIONS);
  const slopes = activation === 'prelu' ? pick(random, [[n], [1], [m, n]]) : undefined;
  const operands = [
    mostlyFloats(random, [...outer, ...(transposeA ? [k, m] : [m, k])]),
    mostlyFloats(random, [...outer, ...(transposeB ? [n, k] : [k, n])]),
    ...(bias === undefined ? [] : [mostlyFloats(random, bias)]),
    ...(slopes === undefined ? [] : [floats(...slopes)]), // tfjs converts no other ones
  ];
  return {
    ...odd(`fused.matMul, ${activation}, transposed ${transposeA}, ${transposeB}`, operands, (a, b, ...others) => {
      const preluActivationWeights = slopes === undefined ? undefined : others.at(-1);
      return tf.fused.matMul({
        ...{a: a, b: b, transposeA, transposeB, activation, leakyreluAlpha: 0.3, preluActivationWeights},
        bias: bias === undefined ? undefined : others[0],
      });
    }),
    isConstant: true,
    isReordered: true,
  };
};

/** How windows walk, in every way that tfjs has. */
function oddWalk(random: Random, isDepthwise = false) {
  const side = () => between(random, 0, 2);
  const pads = [
    [0, 0],
    [side(), side()],
    [side(), side()],
    [0, 0],
  ] as tf.backend_util.ExplicitPadding;
  const pad = pick(random, ['valid', 'same', 'same', pads, side()] as const);
  return {
    window: [between(random, 1, 4), between(random, 1, 4)] as [number, number],
    strides: pick<number | [number, number]>(random, [1, 2, [between(random, 1, 3), between(random, 1, 3)]]),
    dilations: random() < 0.2 ? ([between(random, 1, 2), between(random, 1, 2)] as [number, number]) : 1,
    pad,
    rounding: typeof pad === 'string' ? undefined : pick(random, ['floor', 'round', 'ceil'] as const),
    // Depthwise, tfjs takes channels-first images for channels-last ones on cpu and wasm; the library refuses them.
    format: random() < 0.1 && !isDepthwise ? ('NCHW' as const) : ('NHWC' as const),
  };
}

/** With a pad in numbers, the stock backend may leave numbers of the result as they were in memory, also about 0. */
function ofPad(pad: unknown): Pick<KernelCase, 'isReordered'> {
  return typeof pad === 'string' ? {} : {isReordered: true};
}

/**
 * A depthwise convolution with strides and dilations, which the cpu backend refuses: its results without strides, some
 * of which are taken.
 */
function stridedOnCpu(
  x: tf.Tensor4D,
  filter: tf.Tensor4D,
  strides: number | [number, number],
  pad: Parameters<typeof tf.depthwiseConv2d>[3],
  dilations: number | [number, number],
  rounding?: 'floor' | 'round' | 'ceil',
): tf.Tensor {
  tf.depthwiseConv2d(x, filter, 1, pad, 'NHWC', dilations, rounding); // refuses what does not fit
  const images: tf.Tensor4D = x.rank === 4 ? x : tf.expandDims(x, 0);
  const info = tf.backend_util.computeConv2DInfo(images.shape, filter.shape, strides, dilations, pad, rounding, true);
  tf.util.assertNonNegativeIntegerDimensions(info.outShape);
  const {top, left} = info.padInfo;
  const rows = (info.outHeight - 1) * info.strideHeight + 1;
  const columns = (info.outWidth - 1) * info.strideWidth + 1;
  const bottom = Math.max(0, rows + info.effectiveFilterHeight - 1 - top - info.inHeight);
  const right = Math.max(0, columns + info.effectiveFilterWidth - 1 - left - info.inWidth);
  const padded = tf.pad(images, [[0, 0], [top, bottom], [left, right], [0, 0]]); // prettier-ignore
  const whole = tf.depthwiseConv2d(padded, filter, 1, 'valid', 'NHWC', dilations);
  const [n, , , channels] = info.outShape;
  const steps = [1, info.strideHeight, info.strideWidth, 1];
  const taken = tf.stridedSlice(whole, [0, 0, 0, 0], [n, rows, columns, channels], steps);
  return x.rank === 4 ? taken : tf.squeeze(taken, [0]);
}

/** A batch of images, or a single one. */
function imagesOf(random: Random, channels: number, format: 'NHWC' | 'NCHW'): number[] {
  const [n, h, w] = [size(random) % 4, size(random), size(random)];
  const images = format === 'NHWC' ? [n, h, w, channels] : [n, channels, h, w];
  return random() < 0.1 ? images.slice(1) : images;
}

function channelsOf(random: Random): number {
  return pick(random, [1, 2, 3, 4, 5, 8, 12]);
}

const convolution: Family = random => {
  const isDepthwise = random() < 0.4;
  const {window, strides, dilations, pad, rounding, format} = oddWalk(random, isDepthwise);
  const [channels, filters] = [channelsOf(random), pick(random, [0, 1, 2, 3, 4, 5, 8])];
  const kernel = bent(random, [...window, channels, isDepthwise ? between(random, 1, 2) : filters]);
  const operands = [mostlyFloats(random, imagesOf(random, channels, format)), filterOf(random, kernel)];
  const what = `strides ${String(strides)}, dilations ${String(dilations)}, ${String(pad)}, ${rounding}, ${format}`;
  return {
    ...odd(`${isDepthwise ? 'depthwiseConv2d' : 'conv2d'}, ${what}`, operands, (x, filter) =>
      (isDepthwise ? tf.depthwiseConv2d : tf.conv2d)(
        ...([x as tf.Tensor4D, filter as tf.Tensor4D, strides, pad, format, dilations, rounding] as const),
      ),
    ),
    ...ofPad(pad),
    // tfjs does not tell a gradient how windows were rounded.
    ...(rounding === undefined ? {} : {isConstant: true}),
    ...(isDepthwise &&
      [strides].flat().some(step => step > 1) &&
      [dilations].flat().some(step => step > 1) && {
        onCpu: (x, filter) => stridedOnCpu(x as tf.Tensor4D, filter as tf.Tensor4D, strides, pad, dilations, rounding),
      }),
  };
};

const fusedConvolution: Family = random => {
  const isDepthwise = random() < 0.4;
  const {window, strides, dilations, pad, rounding, format} = oddWalk(random, isDepthwise);
  const channels = channelsOf(random);
  const times = isDepthwise ? between(random, 1, 2) : pick(random, [1, 3, 4, 8]);
  const outputs = isDepthwise ? channels * times : times;
  const activation = pick(random, ALL_ACTIVATIONS);
  const bias = pick(random, [undefined, [outputs], [outputs], [1], [], [outputs + 1]]);
  const slopes = activation === 'prelu' ? pick(random, [[outputs], [1], [1, 1, outputs]]) : undefined;
  const operands = [
    mostlyFloats(random, imagesOf(random, channels, format)),
    filterOf(random, bent(random, [...window, channels, times])),
    ...(bias === undefined ? [] : [mostlyFloats(random, bias)]),
    ...(slopes === undefined ? [] : [floats(...slopes)]), // tfjs converts no other ones
  ];
  const what = `strides ${String(strides)}, dilations ${String(dilations)}, ${String(pad)}, ${rounding}, ${format}`;
  return {
    ...odd(
      `fused ${isDepthwise ? 'depthwiseConv2d' : 'conv2d'}, ${activation}, ${what}`,
      operands,
      (x, filter, ...others) =>
        (isDepthwise ? tf.fused.depthwiseConv2d : tf.fused.conv2d)({
          ...{
            x: x as tf.Tensor4D,
            filter: filter as tf.Tensor4D,
            strides,
            pad: pad as 'same',
            dataFormat: format,
            dilations,
          },
          ...{dimRoundingMode: rounding, activation, leakyreluAlpha: 0.3},
          bias: bias === undefined ? undefined : others[0],
          preluActivationWeights: slopes === undefined ? undefined : others.at(-1),
        }),
    ),
    isConstant: true,
    ...ofPad(pad),
  };
};

const transposedConvolution: Family = random => {
  const {window, strides} = oddWalk(random);
  const [n, h, w] = [size(random) % 4, some(random), some(random)];
  const [channels, filters] = [channelsOf(random), channelsOf(random)];
  const [down, across] = [strides, strides].flat() as [number, number];
  const shorter = [h * down - between(random, 0, down - 1), w * across - between(random, 0, across - 1)] as const;
  const output: [number, number, number, number] = [random() < 0.1 ? between(random, 0, 3) : n, ...shorter, filters];
  const transposed = odd(
    `conv2dTranspose to ${String(output)}, strides ${String(strides)}`,
    // Padding times infinity is NaN on some backends.
    [floats(n, h, w, channels), floats(...window, filters, channels)],
    (x, filter) => tf.conv2dTranspose(x as tf.Tensor4D, filter as tf.Tensor4D, output, strides, 'same'),
  );
  // tfjs takes another batch size of the output, of which there is no gradient.
  return output[0] === n ? transposed : {...transposed, isConstant: true};
};

const convolution3d: Family = random => {
  const triple = (most: number) => Array.from({length: 3}, () => between(random, 1, most)) as [number, number, number];
  const [window, strides] = [triple(3), triple(2)];
  const [channels, filters] = [between(random, 1, 3), between(random, 1, 3)];
  const pad = pick(random, ['valid', 'same'] as const);
  const x = [between(random, 0, 2), ...triple(5), channels];
  const isTransposed = random() < 0.4;
  if (isTransposed) {
    const output = [x[0]!, ...x.slice(1, 4).map((length, i) => length * strides[i]!), filters];
    return {
      // The stock wasm backend is mostly wrong, and sums in another order where it is not.
      isReordered: true,
      ...odd(
        `conv3dTranspose, strides ${String(strides)}, ${pad}`,
        [floats(...x), floats(...bent(random, [...window, filters, channels]))],
        (volumes, filter) =>
          tf.conv3dTranspose(
            ...([volumes as tf.Tensor5D, filter as tf.Tensor5D, output as tf.Tensor5D['shape'], strides, pad] as const),
          ),
      ),
      isConstant: true,
    };
  }
  return odd(
    `conv3d, strides ${String(strides)}, ${pad}`,
    [floats(...x), floats(...bent(random, [...window, channels, filters]))],
    (volumes, filter) => tf.conv3d(volumes as tf.Tensor5D, filter as tf.Tensor5D, strides, pad),
  );
};

const pooling: Family = random => {
  const {strides, pad, rounding, window: lengths} = oddWalk(random);
  // A window that holds only padding has no maximum.
  const window = lengths.map(length => length + 2) as [number, number];
  const dtypes = ['float32', 'float32', 'float32', 'int32'] as const;
  const any = anyOperand(random, imagesOf(random, channelsOf(random), 'NHWC'), dtypes);
  // Of NaN alone, as at a corner, cpu has −∞ as the maximum.
  const x = typeof pad === 'string' ? any : {...any, isSprinkled: false};
  const kind = pick(random, ['avgPool', 'maxPool', 'maxPool', 'maxPoolWithArgmax'] as const);
  const what = `${kind} of ${String(window)}, strides ${String(strides)}, ${String(pad)}, ${rounding}`;
  if (kind === 'maxPoolWithArgmax') {
    const ofBatch = random() < 0.5;
    return {
      ...odd(`${what}, ${ofBatch}`, [x], images =>
        Object.values(tf.maxPoolWithArgmax(images as tf.Tensor4D, window, strides, pad as 'same', ofBatch)),
      ),
      isConstant: true,
    };
  }
  return {
    ...odd(what, [x], images => tf[kind](images as tf.Tensor4D, window, strides, pad, rounding)),
    // On cpu the gradient of averages at the border is right only after an import of tfjs-lora/graph.
    // tfjs does not tell a gradient how windows were rounded.
    ...(kind === 'avgPool' || rounding !== undefined ? {isConstant: true} : {}),
  };
};

const pooling3d: Family = random => {
  const triple = (most: number) => Array.from({length: 3}, () => between(random, 1, most)) as [number, number, number];
  const [window, strides] = [triple(3), triple(2)];
  const pad = pick(random, ['valid', 'same'] as const);
  const kind = pick(random, ['avgPool3d', 'maxPool3d', 'maxPool3d'] as const);
  const shape = bent(random, [between(random, 0, 2), ...triple(6), some(random)]);
  // On cpu a maximum of NaN is −∞ in three dimensions.
  const x: Operand = {shape, dtype: pick(random, ['float32', 'float32', 'float32', 'int32'])};
  return {
    ...odd(`${kind} of ${String(window)}, strides ${String(strides)}, ${pad}`, [x], volumes =>
      tf[kind](volumes as tf.Tensor5D, window, strides, pad),
    ),
    ...(kind === 'avgPool3d' ? {isConstant: true} : {}),
  };
};

const resize: Family = random => {
  const kind = pick(random, ['resizeBilinear', 'resizeNearestNeighbor'] as const);
  // Of no rows or columns, wasm reads beyond the images.
  const shape = imagesOf(random, channelsOf(random), 'NHWC').map((length, i, {length: rank}) =>
    i === rank - 3 || i === rank - 2 ? Math.max(1, length) : length,
  );
  const factor = pick(random, [1, 2, 3, 0.5]);
  const to = [shape.at(-3)!, shape.at(-2)!].map(length =>
    random() < 0.5 ? Math.max(1, Math.floor(length * factor)) : some(random),
  ) as [number, number];
  const [alignCorners, halfPixels] = [random() < 0.3, random() < 0.3];
  const resized = odd(
    `${kind} to ${String(to)}, ${alignCorners}, ${halfPixels}`,
    [anyOperand(random, shape, ['float32', 'float32', 'float32', 'int32'])],
    x => tf.image[kind](x as tf.Tensor4D, to, alignCorners, halfPixels),
  );
  // The gradient of one row or column whose corners are aligned comes to no end on cpu.
  return alignCorners ? {...resized, isConstant: true} : resized;
};

const EQUATIONS = [
  'ab,bc->ac',
  'ab,cb->ac',
  'abc,adc->abd',
  'ab->ba',
  'ab->a',
  'a,b->ab',
  'abc,c->ab',
  'ab,ab->',
  'ab,bc,cd->ad',
];

const einsum: Family = random => {
  const equation = pick(random, EQUATIONS);
  const lengths = new Map(Array.from('abcd', letter => [letter, size(random)]));
  const shapes = equation
    .split('->')[0]!
    .split(',')
    .map(letters =>
      bent(
        random,
        Array.from(letters, letter => lengths.get(letter)!),
      ),
    );
  return {
    ...odd(
      `einsum ${equation}`,
      shapes.map(shape => mostlyFloats(random, shape)),
      (...tensors) => tf.einsum(equation, ...tensors),
    ),
    isConstant: true,
    isCorrected: true,
    isProduct: true,
  };
};

const transform: Family = random => {
  const shape = [between(random, 1, 2), some(random), some(random), between(random, 1, 3)];
  const [interpolation, fill] = [
    pick(random, ['nearest', 'bilinear'] as const),
    pick(random, ['constant', 'reflect', 'wrap', 'nearest'] as const),
  ];
  return odd(`transform, ${interpolation}, ${fill}`, [{shape}, {shape: [shape[0]!, 6]}], (x, six) =>
    tf.image.transform(x as tf.Tensor4D, tf.pad(six as tf.Tensor2D, [[0, 0], [0, 2]]), interpolation, fill),
  ); // prettier-ignore
};

/** Products, convolutions, pools and resizes. */
export const ODD_PRODUCTS: readonly Family[] = [
  ...[product, product, fusedProduct, fusedProduct, convolution, convolution, fusedConvolution, transposedConvolution],
  ...[convolution3d, pooling, pooling, pooling3d, resize, einsum, transform],
];
