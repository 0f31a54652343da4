import * as tf from '@tensorflow/tfjs';
import {pick, type Random} from '../damage';
import {
  ACTIVATIONS,
  axesOf,
  axisOf,
  floats,
  imageFor,
  type KernelCase,
  type Operand,
  shapeOf,
  shuffled,
  size,
  some,
  walk,
} from './case';

type Shape4D = [number, number, number, number];

const convolution = (random: Random): KernelCase => {
  const {window, strides, pad} = walk(random, 2);
  const [channels, filters] = [some(random), some(random)];
  const x = imageFor(random, window, channels);
  return {
    what: `conv2d, strides ${String(strides)}, ${pad}`,
    operands: [floats(...x), floats(...window, channels, filters)],
    compute: (image, kernel) =>
      tf.conv2d(image as tf.Tensor4D, kernel as tf.Tensor4D, strides as [number, number], pad),
    isLinear: true,
  };
};

const fusedConvolution = (random: Random): KernelCase => {
  const {window, strides, pad} = walk(random, 2);
  const [channels, filters, activation] = [some(random), some(random), pick(random, ACTIVATIONS)];
  const isDepthwise = random() < 0.5;
  const x = imageFor(random, window, channels);
  const kernel = isDepthwise ? [...window, channels, 1] : [...window, channels, filters];
  const compute = isDepthwise ? tf.fused.depthwiseConv2d : tf.fused.conv2d;
  return {
    what: `fused ${isDepthwise ? 'depthwiseConv2d' : 'conv2d'}, ${activation}, strides ${String(strides)}, ${pad}`,
    operands: [floats(...x), floats(...kernel), floats(isDepthwise ? channels : filters)],
    compute: (image, filter, bias) =>
      compute({
        ...{x: image as tf.Tensor4D, filter: filter as tf.Tensor4D, bias: bias},
        ...{strides: strides as [number, number], pad, activation},
      }),
  };
};

const depthwise = (random: Random): KernelCase => {
  const {window, strides, pad} = walk(random, 2);
  const stride = strides[0]!; // tfjs's cpu backend takes no two
  const channels = some(random);
  return {
    what: `depthwiseConv2d, stride ${stride}, ${pad}`,
    operands: [floats(...imageFor(random, window, channels)), floats(...window, channels, pick(random, [1, 1, 2]))],
    compute: (image, kernel) => tf.depthwiseConv2d(image as tf.Tensor4D, kernel as tf.Tensor4D, stride, pad),
    isLinear: true,
  };
};

const convolution3d = (random: Random): KernelCase => {
  const {window, strides, pad} = walk(random, 3);
  const [channels, filters] = [pick(random, [1, 2, 3]), pick(random, [1, 2, 4])];
  const x = [pick(random, [1, 2]), ...window.map(length => length + Math.floor(random() * 4)), channels];
  return {
    what: `conv3d, strides ${String(strides)}, ${pad}`,
    operands: [floats(...x), floats(...window, channels, filters)],
    compute: (image, kernel) =>
      tf.conv3d(image as tf.Tensor5D, kernel as tf.Tensor5D, strides as [number, number, number], pad),
    isLinear: true,
  };
};

const transposedConvolution = (random: Random): KernelCase => {
  const {window, strides, pad} = walk(random, 2);
  const [n, h, w, channels, filters] = [some(random), some(random), some(random), some(random), some(random)];
  const output = [h, w].map((length, i) =>
    pad === 'same' ? length * strides[i]! : (length - 1) * strides[i]! + window[i]!,
  ) as [number, number];
  return {
    what: `conv2dTranspose, strides ${String(strides)}, ${pad}`,
    operands: [floats(n, h, w, channels), floats(...window, filters, channels)],
    compute: (image, kernel) =>
      tf.conv2dTranspose(
        ...([image as tf.Tensor4D, kernel as tf.Tensor4D, [n, ...output, filters] as Shape4D] as const),
        ...([strides as [number, number], pad] as const),
      ),
    isLinear: true,
  };
};

const product = (random: Random): KernelCase => {
  const [m, k, n] = shapeOf(random, 3) as [number, number, number];
  const [transposeA, transposeB] = [random() < 0.5, random() < 0.5];
  const batch = pick(random, [[], [1], [3], [2, 3]]);
  const other = random() < 0.3 ? batch.map(() => 1) : batch;
  const a = transposeA ? [k, m] : [m, k];
  const b = transposeB ? [n, k] : [k, n];
  const isFused = random() < 0.5 && batch.length === 0;
  const isReordered = transposeA || transposeB || batch.length > 0 ? {isReordered: true as const} : {};
  const activation = pick(random, ACTIVATIONS);
  return isFused
    ? {
        what: `fused.matMul, ${activation}, transposed ${transposeA}, ${transposeB}`,
        ...isReordered,
        operands: [floats(...a), floats(...b), floats(n)],
        compute: (left, right, bias) =>
          tf.fused.matMul({
            a: left,
            b: right,
            bias: bias,
            transposeA,
            transposeB,
            activation,
          }),
      }
    : {
        what: `matMul, transposed ${transposeA}, ${transposeB}`,
        ...isReordered,
        operands: [floats(...batch, ...a), floats(...other, ...b)],
        compute: (left, right) => tf.matMul(left, right, transposeA, transposeB),
        // tfjs's gradients of products that are broadcast have the wrong shape; those of graphs are corrected.
        ...(other === batch ? {isLinear: true} : {isConstant: true}),
      };
};

const pooling = (random: Random): KernelCase => {
  const {window, strides, pad} = walk(random, 2);
  const kind = pick(random, ['avgPool', 'maxPool'] as const);
  return {
    what: `${kind} of ${String(window)}, strides ${String(strides)}, ${pad}`,
    operands: [floats(...imageFor(random, window, some(random)))],
    compute: x => tf[kind](x as tf.Tensor4D, window as [number, number], strides as [number, number], pad),
    // On cpu the gradient of averages at the border is right only after an import of tfjs-lora/graph.
    ...(kind === 'avgPool' && pad === 'same' ? {isConstant: true} : {}),
  };
};

const pooling3d = (random: Random): KernelCase => {
  const {window, strides, pad} = walk(random, 3);
  const x = [pick(random, [1, 2]), ...window.map(length => length + Math.floor(random() * 4)), some(random)];
  return {
    what: `maxPool3d of ${String(window)}, strides ${String(strides)}, ${pad}`,
    operands: [floats(...x)],
    compute: image => {
      const three = [window, strides] as [[number, number, number], [number, number, number]];
      return tf.maxPool3d(image as tf.Tensor5D, ...three, pad);
    },
  };
};

const unary = (random: Random): KernelCase => {
  const [name, compute] = pick<[string, (x: tf.Tensor) => tf.Tensor]>(random, [
    ['relu', tf.relu],
    ['relu6', tf.relu6],
    ['clipByValue', x => tf.clipByValue(x, -0.5, 0.75)],
  ]);
  const below = random() < 0.2 ? {below: 9} : {};
  return {
    what: name,
    operands: [{shape: shapeOf(random, 1 + Math.floor(random() * 4)), ...below}],
    compute: x => compute(x),
  };
};

const BINARY = [
  ...(['equal', 'notEqual', 'greater', 'greaterEqual', 'less', 'lessEqual', 'maximum', 'minimum', 'atan2'] as const),
  ...(['add', 'sub', 'mul', 'squaredDifference'] as const),
];

const binary = (random: Random): KernelCase => {
  const whole = shapeOf(random, 1 + Math.floor(random() * 4));
  const part = (shape: number[]) =>
    shape.map(length => (random() < 0.3 ? 1 : length)).slice(random() < 0.2 ? Math.floor(random() * shape.length) : 0);
  const name = pick(random, BINARY);
  return {
    what: name,
    operands: [floats(...part(whole)), floats(...part(whole))],
    compute: (a, b) => tf[name](a, b),
    isConstant: true,
  };
};

const arrangement = (random: Random): KernelCase => {
  const rank = 1 + Math.floor(random() * 4);
  const shape = shapeOf(random, rank);
  const axis = axisOf(random, rank);
  const length = shape.at(axis)!;
  const cut = Math.floor(random() * (length + 1));
  const begin = shape.map(count => Math.floor(random() * (count + 1)));
  const count = shape.map((total, i) => Math.floor(random() * (total - begin[i]! + 1)));
  const order = shuffled(
    random,
    shape.map((_, i) => i),
  );
  const margins = shape.map(() => [Math.floor(random() * 3), Math.floor(random() * 3)] as [number, number]);
  const times = shape.map(() => 1 + Math.floor(random() * 3));
  const indices: Operand[] = length === 0 ? [] : [{shape: [size(random)], below: length}];
  const [name, compute, others = []] = pick<[string, KernelCase['compute'], Operand[]?]>(random, [
    [`slice from ${String(begin)}, ${String(count)}`, x => tf.slice(x, begin, count)],
    [`split at ${cut}`, x => tf.split(x, [cut, length - cut], axis)],
    ['unstack', x => (length === 0 ? x : tf.unstack(x, axis))],
    ['stack', x => tf.stack([x, tf.mul(x, 2)], axis)],
    [
      'concat',
      (x, y) => tf.concat([x, y, x], axis),
      [floats(...shape.map((total, i) => (i === (axis + rank) % rank ? cut : total)))],
    ],
    ['gather', (x, ...[places]) => (places === undefined ? x : tf.gather(x, places, axis)), indices],
    ['reverse', x => tf.reverse(x, axis)],
    [`tile ${String(times)}`, x => tf.tile(x, times)],
    [`transpose ${String(order)}`, x => tf.transpose(x, order)],
    [`pad ${margins.join(' ')}`, x => tf.pad(x, margins)],
    ['cumsum', x => tf.cumsum(x, axis, cut % 2 === 0, cut % 3 === 0)],
    ['clone', x => tf.clone(x)],
  ]);
  return {
    what: `${name}, axis ${axis}`,
    operands: [floats(...shape), ...others],
    compute,
    isLinear: true,
    isCorrected: true,
  };
};

const reduction = (random: Random): KernelCase => {
  const rank = 1 + Math.floor(random() * 4);
  const axes = random() < 0.3 ? axisOf(random, rank) : axesOf(random, rank);
  const name = pick(random, ['sum', 'mean', 'max', 'min'] as const);
  const keepDims = random() < 0.5;
  return {
    what: `${name} over ${String(axes)}, ${keepDims}`,
    operands: [floats(...shapeOf(random, rank).map(length => Math.max(1, length)))],
    compute: x => tf[name](x, axes, keepDims),
  };
};

const normalization = (random: Random): KernelCase => {
  const channels = some(random);
  return {
    what: 'batchNorm',
    operands: [floats(...shapeOf(random, 3), channels), ...[0, 1, 2].map(() => floats(channels))],
    compute: (x, mean, offset, scale) => tf.batchNorm(x, mean, tf.add(tf.abs(mean), 0.5), offset, scale),
  };
};

const resize = (random: Random): KernelCase => {
  const kind = pick(random, ['resizeBilinear', 'resizeNearestNeighbor'] as const);
  const image = imageFor(random, [1, 1], some(random));
  const to: [number, number] = [some(random), some(random)];
  const [alignCorners, halfPixelCenters] = pick(random, [
    [false, false],
    [true, false],
    [false, true],
  ]) as [boolean, boolean];
  // tfjs refuses an empty batch on wasm, and comes to no end on cpu where corners of one row or column are aligned.
  const x = image.map(length => Math.max(length, alignCorners ? 2 : 1));
  return {
    what: `${kind} to ${String(to)}, ${alignCorners ? 'corners aligned' : ''}${halfPixelCenters ? 'half pixels' : ''}`,
    operands: [floats(...x)],
    compute: images => tf.image[kind](images as tf.Tensor4D, to, alignCorners, halfPixelCenters),
    isLinear: true,
  };
};

const blocks = (random: Random): KernelCase => {
  const block = pick(random, [2, 3]);
  return {
    what: `depthToSpace by ${block}`,
    operands: [floats(some(random), some(random), some(random), block * block * pick(random, [1, 2, 4]))],
    compute: x => tf.depthToSpace(x as tf.Tensor4D, block),
    isLinear: true,
  };
};

const stridedSlice = (random: Random): KernelCase => {
  const rank = 1 + Math.floor(random() * 4);
  const shape = Array.from({length: rank}, () => some(random));
  const mask = () => Math.floor(random() * 2 ** rank) * Number(random() < 0.3);
  const begin = shape.map(length => Math.floor(random() * 2 * length) - length);
  const end = shape.map(length => Math.floor(random() * 2 * length) - length);
  const shrunk = mask();
  const strides = shape.map((_, i) => (shrunk & (1 << i) ? 1 : pick(random, [1, 1, 2, 3, -1, -2])));
  const [beginMask, endMask] = [mask() & ~shrunk, mask() & ~shrunk];
  return {
    what:
      `stridedSlice from ${String(begin)} to ${String(end)} by ${String(strides)}, masks ${beginMask}, ${endMask}, ` +
      `${shrunk}`,
    operands: [{shape, ...(random() < 0.3 ? {below: 100} : {})}],
    compute: x => tf.stridedSlice(x, begin, end, strides, beginMask, endMask, 0, 0, shrunk),
    isLinear: true,
    isCorrected: true,
  };
};

/** Operations whose kernels are ours or corrected, on operands that they take. */
export const PLAIN: readonly ((random: Random) => KernelCase)[] = [
  ...[convolution, fusedConvolution, depthwise, convolution3d, transposedConvolution, product, pooling, pooling3d],
  ...[unary, binary, arrangement, arrangement, reduction, normalization, resize, blocks, stridedSlice],
];
