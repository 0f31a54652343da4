import fc from 'fast-check';
import * as tf from '@tensorflow/tfjs';
import type {Shape4D} from '../../src/backends/shared/geometry';
import {ADD_PRODUCT} from '../../src/backends/wasm/module/addProduct';
import {AFFINE} from '../../src/backends/wasm/module/channels';
import {currentNative} from '../../src/backends/wasm/module/find';
import {random, useBackend} from '../helpers';
import {expectAgreement} from './agreement';

type Inputs = Record<string, () => tf.Tensor>;

/** A kernel's result on a backend, computed as within a backward pass if `recorded`. */
async function run(backend: string, name: string, inputs: Inputs, attrs: object, recorded: boolean): Promise<number[]> {
  await useBackend(backend);
  let values: number[] = [];
  const kernel = () => {
    const tensors = Object.fromEntries(Object.entries(inputs).map(([key, make]) => [key, make()]));
    values = [
      ...tf
        .engine()
        .runKernel<tf.Tensor>(name, tensors, attrs as tf.NamedAttrMap)
        .dataSync(),
    ];
  };
  tf.tidy(() => {
    if (recorded) {
      tf.grad(x => {
        kernel();
        return tf.sum(x);
      })(tf.scalar(1));
    } else {
      kernel();
    }
  });
  return values;
}

/** Expects that wasm gives what cpu gives, to `tolerance` of the largest number. */
async function expectLikeCpu(name: string, inputs: Inputs, attrs: object, tolerance = 1e-5): Promise<void> {
  const expected = await run('cpu', name, inputs, attrs, false);
  const largest = Math.max(1, ...expected.map(Math.abs));
  for (const recorded of [true, false]) {
    const actual = await run('wasm', name, inputs, attrs, recorded);
    expect(actual).toBeAllClose(expected, {rtol: tolerance, atol: tolerance * largest});
  }
}

const image = fc.record({
  n: fc.integer({min: 0, max: 2}),
  h: fc.integer({min: 1, max: 14}),
  w: fc.integer({min: 1, max: 14}),
  channels: fc.integer({min: 1, max: 21}),
  out: fc.integer({min: 1, max: 21}),
  kernel: fc.constantFrom(1, 2, 3, 3, 3, 5),
  stride: fc.integer({min: 1, max: 3}),
  pad: fc.constantFrom<('same' | 'valid' | number)[]>('same', 'valid', 0, 1, 2),
});

interface Image {
  n: number;
  h: number;
  w: number;
  channels: number;
  out: number;
  kernel: number;
  stride: number;
  pad: 'same' | 'valid' | number;
}

function shapesOf({n, h, w, channels, out, kernel, stride, pad}: Image, depthwise: boolean) {
  const x: Shape4D = [n, h, w, channels];
  const filter: Shape4D = [kernel, kernel, channels, depthwise ? 1 : out];
  const info = tf.backend_util.computeConv2DInfo(x, filter, stride, 1, pad, undefined, depthwise);
  const attrs = {strides: [stride, stride], pad, dataFormat: 'NHWC', dilations: [1, 1]};
  return {x, filter, dy: info.outShape, attrs: {...attrs, inputShape: x, filterShape: filter}};
}

/** As far as tfjs itself gives a result. */
const fits = ({h, w, kernel, pad}: Image) =>
  pad === 'same' || Math.min(h, w) + 2 * (pad === 'valid' ? 0 : pad) >= kernel;
const images = image.filter(c => fits(c) && c.n > 0);
const tensor = (shape: Shape4D, seed: number) => () => random<tf.Rank.R4>(shape, seed);

test.each([
  ['Conv2D', false],
  ['DepthwiseConv2dNative', true],
])('%s agrees with cpu, in training and out of it', async (name, depthwise) => {
  await fc.assert(
    fc.asyncProperty(images, async c => {
      const {x, filter, attrs} = shapesOf(depthwise ? {...c, channels: 4 * Math.ceil(c.channels / 4)} : c, depthwise);
      await expectLikeCpu(name, {x: tensor(x, 1), filter: tensor(filter, 2)}, attrs);
    }),
    {numRuns: 60},
  );
});

test.each([
  ['Conv2DBackpropInput', 'filter', false],
  ['DepthwiseConv2dNativeBackpropInput', 'filter', true],
  ['Conv2DBackpropFilter', 'x', false],
  ['DepthwiseConv2dNativeBackpropFilter', 'x', true],
] as const)('%s agrees with cpu', async (name, other, depthwise) => {
  await fc.assert(
    fc.asyncProperty(images, async c => {
      const shapes = shapesOf(depthwise ? {...c, channels: 4 * Math.ceil(c.channels / 4)} : c, depthwise);
      await expectLikeCpu(name, {dy: tensor(shapes.dy, 1), [other]: tensor(shapes[other], 2)}, shapes.attrs);
    }),
    {numRuns: 60},
  );
});

test.each([
  [1, 8, 8, 16, 16],
  [2, 32, 32, 32, 20],
  [2, 7, 9, 20, 36],
  [1, 6, 5, 64, 64],
  [3, 3, 4, 16, 28],
])(
  '3×3 and 5×5 convolutions of %i images %i×%i, %i → %i channels, agree with cpu in training',
  async (n, h, w, from, to) => {
    for (const [kernel, pad] of [
      [3, 'same'],
      [3, 'valid'],
      [5, 'same'],
      [5, 'valid'],
    ] as const) {
      if (pad === 'valid' && Math.min(h, w) < kernel) {
        continue;
      }
      const c = {n, h, w, channels: from, out: to, kernel, stride: 1, pad};
      const {x, filter, dy, attrs} = shapesOf(c, false);
      await expectLikeCpu('Conv2D', {x: tensor(x, 1), filter: tensor(filter, 2)}, attrs, 1e-4);
      await expectLikeCpu('Conv2DBackpropInput', {dy: tensor(dy, 1), filter: tensor(filter, 2)}, attrs, 1e-4);
    }
  },
);

test('outside of training, a convolution is summed in one order, and in training by tiles', async () => {
  const {x, filter, attrs} = shapesOf(
    {n: 1, h: 8, w: 8, channels: 32, out: 32, kernel: 3, stride: 1, pad: 'same'},
    false,
  );
  const inputs = {x: tensor(x, 1), filter: tensor(filter, 2)};
  const [plain, again, recorded] = [
    await run('wasm', 'Conv2D', inputs, attrs, false),
    await run('wasm', 'Conv2D', inputs, attrs, false),
    await run('wasm', 'Conv2D', inputs, attrs, true),
  ];
  expect(again).toEqual(plain);
  expect(recorded).not.toEqual(plain);
});

test('a step that throws leaves predictions as they were', async () => {
  const {x, filter, attrs} = shapesOf(
    {n: 1, h: 8, w: 8, channels: 32, out: 32, kernel: 3, stride: 1, pad: 'same'},
    false,
  );
  const inputs = {x: tensor(x, 1), filter: tensor(filter, 2)};
  const before = await run('wasm', 'Conv2D', inputs, attrs, false);
  const failing = () =>
    tf.grad(() => {
      throw new Error('no');
    })(tf.scalar(1));
  expect(failing).toThrow('no');
  expect(await run('wasm', 'Conv2D', inputs, attrs, false)).toEqual(before);
});

const size = fc.oneof(fc.integer({min: 1, max: 9}), fc.integer({min: 20, max: 40}));

test('products of several matrices, transposed or not, agree with cpu', async () => {
  const products = fc.record({m: size, k: size, n: size, count: fc.integer({min: 1, max: 3}), sides: fc.nat(2)});
  await fc.assert(
    fc.asyncProperty(products, async ({m, k, n, count, sides}) => {
      const [transposeA, transposeB] = [sides === 1, sides === 2];
      const inputs = {
        a: () => random<tf.Rank.R3>(transposeA ? [count, k, m] : [count, m, k], 1),
        b: () => random<tf.Rank.R3>(transposeB ? [count, n, k] : [count, k, n], 2),
      };
      await expectLikeCpu('BatchMatMul', inputs, {transposeA, transposeB});
    }),
    {numRuns: 60},
  );
});

/** What stands beside the numbers in memory that a kernel may touch. */
const PATTERN = 0x7fc0dead;

/** Whether a function of the module leaves what lies before and behind its outputs as it was. */
function leavesTheRest(sizes: number[], outputs: number[], call: (places: number[]) => void): boolean {
  const native = currentNative()!;
  const guard = 64;
  const places = native.reserve(...sizes.flatMap(count => [guard, 4 * count, guard]));
  const words = (place: number, count: number) => {
    const {buffer} = native.floats(place, 1);
    return new Int32Array(buffer, place, count);
  };
  const own = sizes.map((_, i) => places[3 * i + 1]!);
  sizes.forEach((count, i) => {
    words(own[i]! - guard, (2 * guard) / 4 + count).fill(PATTERN);
    native.writeFloats(
      own[i]!,
      Float32Array.from({length: count}, (_, j) => Math.sin(j + i)),
    );
  });
  call(own);
  return outputs.every(i => {
    const count = sizes[i]!;
    const around = [...words(own[i]! - guard, guard / 4), ...words(own[i]! + 4 * count, guard / 4)];
    return around.every(word => word === PATTERN) && !words(own[i]!, count).includes(PATTERN);
  });
}

test.each([true, false])('a product of a long inner axis is one sum, in its order, transposed %p', async transposed => {
  const [m, k, n] = [5, 4103, 37];
  const a = random<tf.Rank.R2>([m, k], 1);
  const b = random<tf.Rank.R2>(transposed ? [n, k] : [k, n], 2);
  const bias = random<tf.Rank.R1>([n], 3);
  const [left, right, first] = await Promise.all([a.data(), b.data(), bias.data()]);
  const {fround} = Math;
  const expected = Array.from({length: m * n}, (_, place) => {
    const [i, j] = [Math.floor(place / n), place % n];
    let sum = first[j]!;
    for (let l = 0; l < k; l++) {
      sum = fround(sum + fround(left[i * k + l]! * right[transposed ? j * k + l : l * n + j]!));
    }
    return Math.max(0, sum);
  });
  const inputs = {
    a: () => tf.tensor2d(left, [m, k]),
    b: () => tf.tensor2d(right, b.shape),
    bias: () => tf.tensor1d(first),
  };
  const attrs = {transposeA: false, transposeB: transposed, activation: 'relu'};
  expect(await run('wasm', '_FusedMatMul', inputs, attrs, true)).toEqual(expected);
});

test('the module writes its outputs completely, and nothing else', async () => {
  await useBackend('wasm');
  const {functions} = currentNative()!;
  for (let m = 1; m <= 9; m++) {
    for (let n = 1; n <= 17; n++) {
      const k = 5;
      const panels = Math.ceil(n / 8) * 8 * k;
      expect(leavesTheRest([k * n, panels], [1], ([b, p]) => functions.packRows(b!, 4 * n, k, n, p!, 32 * k))).toBe(
        true,
      );
      expect(leavesTheRest([k * n, panels], [1], ([b, p]) => functions.packColumns(b!, 4 * k, k, n, p!, 32 * k))).toBe(
        true,
      );
      expect(
        leavesTheRest([m * k, panels, m * n, n], [2], ([a, p, c, bias]) =>
          functions.multiply(...[m, n, k, a!, 4 * k, p!, 32 * k, c!, 4 * n, bias!, 0, 1, -1, 1, m % 2]),
        ),
      ).toBe(true);
      expect(
        leavesTheRest([m * 4, 16 * n, m * 4 * n, 4 * n], [2], ([a, b, c, bias]) =>
          functions.multiplyFew(...[m, 4 * n, 4, a!, 16, b!, 16 * n, c!, 16 * n, bias!, 1, -1, 1]),
        ),
      ).toBe(true);
      expect(
        leavesTheRest([k * m, k * n, m * n], [2], ([a, b, c]) =>
          functions.multiplyTransposed(k, m, n, a!, 4 * m, b!, 4 * n, c!, 4 * n, 3),
        ),
      ).toBe(true);
      expect(leavesTheRest([m * n, m * n], [1], ([a, b]) => functions.transpose(a!, m, n, b!))).toBe(true);
      expect(
        leavesTheRest([m * n, m * n, m * n], [2], ([y, dy, out]) => functions.maskByOutput(y!, dy!, out!, m * n, 6)),
      ).toBe(true);
      expect(leavesTheRest([m * n, Math.ceil((m * n) / 32)], [1], ([y, b]) => functions.toBits(y!, b!, m * n, 6))).toBe(
        true,
      );
      expect(leavesTheRest([m * n, n, m * n], [2], ([w, s, out]) => functions.scaleColumns(w!, s!, out!, m, n))).toBe(
        true,
      );
      expect(
        leavesTheRest([m * n, m * n, m * n, m * n, m * n], [2, 3, 4], ([w, g, a, v, out]) =>
          functions.adam(w!, g!, a!, v!, out!, m * n, 0.9, 0.1, 0.99, 0.01, 0.1, 0.1, 0.1, 0.1),
        ),
      ).toBe(true);
    }
  }
});

test.each([1, 2, 5, 8, 9, 16])('tiles of an image of %i×%i pixels fill it, and nothing else', async side => {
  await useBackend('wasm');
  const {functions} = currentNative()!;
  const [channels, tiles] = [12, Math.ceil(side / 4)];
  const plane = tiles * tiles * channels;
  const padded = (4 * tiles + 2) ** 2 * channels;
  expect(
    leavesTheRest([padded, 36 * plane, 400, side * side * channels], [1, 3], ([x, tiled, scratch, y]) => {
      functions.winogradInput(x!, 4 * tiles + 2, channels, tiles, tiles, tiled!, 4 * channels, 4 * plane, scratch!);
      functions.winogradOutput(...[tiled!, 4 * plane, channels, tiles, tiles, y!, side, side, 0, 1, -1, 1, scratch!]);
    }),
  ).toBe(true);
});

test('zeros around images are those of cpu', async () => {
  const side = fc.integer({min: 0, max: 3});
  const size = fc.integer({min: 0, max: 5});
  const paddings = fc.record({shape: fc.tuple(size, size, size, size), around: fc.tuple(side, side, side, side)});
  await fc.assert(
    fc.asyncProperty(paddings, async ({shape, around: [top, bottom, left, right]}) => {
      const attrs = {constantValue: 0};
      const rows = [
        [0, 0],
        [top, bottom],
        [left, right],
        [0, 0],
      ];
      await expectLikeCpu('PadV2', {x: tensor(shape, 1)}, {...attrs, paddings: rows});
    }),
    {numRuns: 40},
  );
});

test.each([1, 3, 4, 31, 32, 33, 1000])(
  'the gradients of relu and relu6 from %i outputs are those of cpu',
  async count => {
    await useBackend('cpu');
    const [dy, y] = [() => random<tf.Rank.R1>([count], 1), () => tf.mul(random<tf.Rank.R1>([count], 2), 6)];
    const outputs = {ReluGrad: () => tf.relu(y()), Relu6Grad: () => tf.relu6(y())};
    for (const [name, output] of Object.entries(outputs)) {
      const expected = tf.tidy(() => {
        const step = name === 'ReluGrad' ? tf.step(output()) : tf.step(tf.mul(output(), tf.sub(6, output())));
        return [...tf.mul(dy(), step).dataSync()].map(value => value + 0);
      });
      const actual = await run('wasm', name, {dy, y: output}, {}, false);
      expect(actual.map(value => value + 0)).toEqual(expected);
      await useBackend('cpu');
    }
  },
);

test.each([4, 12, 7])('scaling and shifting %i channels is what tfjs computes', async channels => {
  const shape = [2, 3, 5, channels] as Shape4D;
  const inputs = {
    x: () => random<tf.Rank.R4>(shape, 1),
    m: () => random<tf.Rank.R1>([channels], 2),
    t: () => random<tf.Rank.R1>([channels], 3),
  };
  await useBackend('cpu');
  const expected = tf.tidy(() => [...tf.add(tf.mul(inputs.x(), inputs.m()), inputs.t()).dataSync()]);
  expect(await run('wasm', AFFINE, inputs, {}, false)).toBeAllClose(expected, {rtol: 1e-6, atol: 1e-6});
});

test.each([
  ['two rows', [2], 3, 5, false],
  ['rows that no tile ends with', [7], 9, 13, false],
  ['a transposed factor', [7], 9, 13, true],
  ['four columns', [6], 8, 4, false],
  ['rank 1', [3, 5], 1, 6, true],
  ['rows of images', [2, 3, 3], 8, 16, false],
  ['a matrix too large to be packed whole', [5], 40, 4100, false],
  ['a transposed one', [5], 40, 4100, true],
] as const)('c + a·b with %s is the sum of both', async (_, rows, rank, width, transposed) => {
  const inputs = {
    c: () => random([...rows, width] as [number, number], 1),
    a: () => random([...rows, rank] as [number, number], 2),
    b: () => random(transposed ? [width, rank] : [rank, width], 3),
  };
  await useBackend('cpu');
  const product = () => tf.matMul(tf.reshape(inputs.a(), [-1, rank]), inputs.b(), false, transposed);
  const expected = tf.tidy(() => [...tf.add(inputs.c(), tf.reshape(product(), [...rows, width])).dataSync()]);
  for (const recorded of [false, true]) {
    const sum = await run('wasm', ADD_PRODUCT, inputs, {transposed}, recorded);
    expect(sum).toBeAllClose(expected, {rtol: 1e-5, atol: 1e-5});
  }
  const zero = {...inputs, b: () => tf.zeros(transposed ? [width, rank] : [rank, width])};
  expect(await run('wasm', ADD_PRODUCT, zero, {transposed}, false)).toEqual([...inputs.c().dataSync()]);
});

describe('gradients that are sums of many terms which almost cancel', () => {
  const noise = (count: number, seed: number) =>
    Float32Array.from({length: count}, (_, i) => Math.sin(12.9898 * i + seed));
  /** As the gradients of logits: shares of one along an axis, less one at a place. */
  const shares = (count: number, seed: number) => {
    const raw = Array.from(noise(count, seed), value => 1 + value / 2);
    const whole = raw.reduce((sum, value) => sum + value, 0);
    return raw.map((value, i) => value / whole - (i === Math.floor(0.7 * count) ? 1 : 0));
  };
  const nearOne = (shape: [number, number], seed: number) =>
    tf.tensor2d(
      noise(shape[0] * shape[1], seed).map(value => 1 + value / 100),
      shape,
    );

  test.each([
    ['in the left of a product, over its columns', 3, 24, 49_152],
    ['in the right of a product, over its rows', 40_000, 8, 4],
    ['in the right of a wider product, over its rows', 40_000, 4, 40],
  ])('%s', async (_, rows, inner, columns) => {
    await useBackend('wasm');

    const [x, w] = [nearOne([rows, inner], 1), nearOne([inner, columns], 2)];
    const acrossRows = rows > columns;
    const lines = Array.from({length: acrossRows ? columns : rows}, (__, i) => shares(acrossRows ? rows : columns, i));
    const dy = acrossRows ? tf.transpose(tf.tensor2d(lines)) : tf.tensor2d(lines);
    const [dx, dw] = tf.grads((a, b) => tf.matMul(a, b))([x, w], dy) as [tf.Tensor2D, tf.Tensor2D];
    const actual = acrossRows ? dw : tf.transpose(dx); // [inner, lines]
    const others = acrossRows ? tf.transpose(x).dataSync() : w.dataSync(); // [inner, length]
    const steps = acrossRows ? tf.transpose(dy).dataSync() : dy.dataSync(); // [lines, length]
    const length = acrossRows ? rows : columns;
    const expected = Array.from({length: inner * lines.length}, (__, at) => {
      const [i, line] = [Math.floor(at / lines.length) * length, (at % lines.length) * length];
      let sum = 0;
      for (let k = 0; k < length; k++) {
        sum += others[i + k]! * steps[line + k]!;
      }
      return sum;
    });
    // The terms add up to 2 without their signs. A single sum of float32 is off by several times as much.
    expect(actual.dataSync()).toBeAllClose(expected, {rtol: 0, atol: 2e-6});
  });
});

test('statistics of a batch norm are converted, and may be of other lengths, as on cpu', () =>
  expectAgreement(() => {
    const x = tf.randomNormal<tf.Rank.R2>([5, 8], 0, 1, 'float32', 1);
    const whole = tf.range(1, 9, 1, 'int32');
    const ones = tf.ones<tf.Rank.R1>([8]);
    return [
      tf.batchNorm(x, whole, ones, ones, ones),
      tf.batchNorm(x, ones, whole, whole),
      tf.batchNorm(x, ones, ones, tf.range(0, 9), ones),
    ];
  }));
