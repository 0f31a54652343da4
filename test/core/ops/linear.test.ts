import fc from 'fast-check';
import * as tf from '@tensorflow/tfjs';
import {type Activation, outputActivation} from '../../../src/core/ops/activation';
import {conv2dOp} from '../../../src/core/ops/conv2d';
import {denseOp, linear, type LinearWeights} from '../../../src/core/ops/linear';
import type {Linear} from '../../../src/core/ops/factors';
import {withMade} from '../../../src/platform/tfjs/engine';
import {
  BACKENDS,
  differentiate,
  expectGradients,
  type KernelRun,
  kernelsOf,
  numbers,
  on,
  random,
  useBackend,
  withoutLeaks,
} from '../../helpers';
import {spread} from './spread';

/** A linear operation by public tfjs ops, which tfjs differentiates by itself. */
type Plain = (x: tf.Tensor, kernel: tf.Tensor) => tf.Tensor;

interface Case {
  op: Linear;
  plain: Plain;
  x: number[];
  /** `[...fan-in axes, out]`. */
  kernel: number[];
  rank: number;
  scaling: number;
  bias: boolean;
  gain?: boolean;
  activation: string;
}

const ACTIVATIONS: Record<string, (x: tf.Tensor) => tf.Tensor> = {
  linear: x => x,
  relu: tf.relu,
  elu: tf.elu,
  relu6: tf.relu6,
  sigmoid: tf.sigmoid,
  tanh: tf.tanh,
};

function activationNamed(name: string): Activation {
  return {...outputActivation(name)!, apply: ACTIVATIONS[name]!};
}

function inputsOf({x, kernel, rank, bias, gain = false}: Case): Record<string, tf.Tensor> {
  const out = kernel[kernel.length - 1]!;
  return {
    x: random(x as [number, number], 1),
    kernel: random(kernel as [number, number], 2),
    a: random([...kernel.slice(0, -1), rank] as [number, number], 3),
    b: random([rank, out], 4),
    ...(bias && {bias: random([out], 5)}),
    ...(gain && {gain: random([out], 7)}),
  };
}

/** By the operation under test. */
function actual(c: Case): tf.Tensor[] {
  return differentiate(inputsOf(c), ({x, kernel, a, b, bias, gain}) => {
    const factors = {a: a!, b: b!, scaling: c.scaling};
    const weights = {kernel: kernel!, bias: bias ?? null, separateBias: false, factors, gain: gain ?? null};
    return linear(c.op, x!, weights, activationNamed(c.activation));
  });
}

/** By public ops of tfjs: `f(g ⊙ (x ∗ (W + s·A·B)) + b)`. */
function expected(c: Case): tf.Tensor[] {
  return differentiate(inputsOf(c), ({x, kernel, a, b, bias, gain}) => {
    const product = tf.matMul(tf.reshape(a!, [-1, c.rank]), b!);
    const w = tf.add(kernel!, tf.mul(tf.reshape(product, kernel!.shape), c.scaling));
    const z = tf.mul(c.plain(x!, w), gain ?? 1);
    return ACTIVATIONS[c.activation]!(bias === undefined ? z : tf.add(z, bias));
  });
}

/**
 * The gradient of B sums products of A with the kernel's gradient, which may cancel. Of `cancelling`, cpu gives −0.028621
 * and wasm −0.028626, off by half a unit of float32 at the sum of the products' magnitudes.
 */
function expectProducts(gradients: number[][], wanted: number[][]): void {
  const largest = Math.max(...wanted.flat().map(Math.abs));
  expectGradients(gradients, wanted, Math.max(0.05, 0.1 * largest));
}

async function expectAgreement(backend: string, c: Case): Promise<void> {
  const wanted = await on('cpu', () => expected(c));
  await useBackend(backend);
  await withoutLeaks(async () => expectProducts(await on(backend, () => actual(c)), wanted));
}

const strength = {
  rank: fc.integer({min: 1, max: 3}),
  scaling: fc.constantFrom(1, 0.5, 2),
  bias: fc.boolean(),
  activation: fc.constantFrom(...Object.keys(ACTIVATIONS)),
};

const denseCase = fc
  .record({...strength, rows: fc.integer({min: 1, max: 9}), fanIn: size(1, 8), out: size(1, 9)})
  .map(({rows, fanIn, out, ...rest}): Case => ({
    ...rest,
    op: denseOp,
    plain: (x, w) => tf.matMul(x, w),
    x: [rows, fanIn],
    kernel: [fanIn, out],
  }));

const pair = (min: number, max: number) => fc.tuple(size(min, max), size(min, max));

const convCase = fc
  .record({
    ...strength,
    image: pair(5, 7),
    kernel: pair(1, 3),
    strides: pair(1, 3),
    rate: pair(1, 2),
    padding: fc.constantFrom('valid' as const, 'same' as const),
    channels: size(1, 3),
    out: size(1, 7),
  })
  .map(({image, kernel, strides, rate, padding, channels, out, ...rest}): Case => {
    // tfjs can only stride or dilate, not both.
    const dilations: [number, number] = Math.max(...strides) > 1 ? [1, 1] : rate;
    return {
      ...rest,
      op: conv2dOp({strides, padding, dilations}),
      plain: (x, w) => tf.conv2d(x as tf.Tensor4D, spread(w, dilations) as tf.Tensor4D, strides, padding),
      x: [1, ...image, channels],
      kernel: [...kernel, channels, out],
    };
  });

function size(min: number, max: number): fc.Arbitrary<number> {
  return fc.integer({min, max});
}

const conv: Case = {
  op: conv2dOp({strides: [1, 1], padding: 'valid', dilations: [1, 1]}),
  plain: (x, w) => tf.conv2d(x as tf.Tensor4D, w as tf.Tensor4D, 1, 'valid'),
  x: [1, 6, 6, 2],
  kernel: [3, 3, 2, 8],
  rank: 3,
  scaling: 2,
  bias: true,
  activation: 'tanh',
};

const dense: Case = {
  op: denseOp,
  plain: (x, w) => tf.matMul(x, w),
  x: [4, 5],
  kernel: [5, 9],
  rank: 3,
  scaling: 2,
  bias: true,
  activation: 'relu',
};

/** Its gradient of B is −0.028622, summed of 27 products whose magnitudes add up to 63. */
const cancelling: Case = {
  op: conv2dOp({strides: [2, 3], padding: 'same', dilations: [1, 1]}),
  plain: (x, w) => tf.conv2d(x as tf.Tensor4D, w as tf.Tensor4D, [2, 3], 'same'),
  x: [1, 7, 7, 3],
  kernel: [3, 3, 3, 1],
  rank: 1,
  scaling: 1,
  bias: false,
  activation: 'elu',
};

/** Forms of the operation that differ in how they compute. */
const FORMS: [name: string, form: Case][] = [
  ['a product of few rows', dense],
  ['a product of many rows', {...dense, x: [11, 5]}],
  ['a product with few outputs', {...dense, kernel: [5, 4]}],
  ['a convolution of few pixels', {...conv, x: [1, 3, 3, 2]}],
  ['a convolution of many pixels', conv],
  ['a convolution with few outputs', {...conv, kernel: [3, 3, 2, 3]}],
  ['a product of few rows with a gain', {...dense, gain: true}],
  ['a product of many rows with a gain', {...dense, x: [11, 5], gain: true}],
  ['a product with few outputs and a gain', {...dense, kernel: [5, 4], gain: true}],
  ['a convolution with a gain', {...conv, gain: true}],
  ['a convolution whose gradients cancel', cancelling],
];

describe.each(BACKENDS)('on %s', backend => {
  beforeEach(async () => {
    await useBackend(backend);
  });

  test('the value and all gradients of a product are those of the formula', () =>
    fc.assert(
      fc.asyncProperty(denseCase, c => expectAgreement(backend, c)),
      {numRuns: 60},
    ));

  test('the value and all gradients of a convolution are those of the formula', () =>
    fc.assert(
      fc.asyncProperty(convCase, c => expectAgreement(backend, c)),
      {numRuns: 60},
    ));

  describe.each(FORMS)('%s', (_, form) => {
    test('has the value and the gradients of the formula', () => expectAgreement(backend, form));

    test('gives the slopes that finite differences give', () => {
      const step = 1e-2;

      // A smooth activation, and numbers so small that it is nearly straight over a step.
      const inputs: Record<string, tf.Tensor> = Object.fromEntries(
        Object.entries(inputsOf(form)).map(([name, value]) => [name, tf.mul(value, 0.4)]),
      );
      const sum = (replaced: Record<string, tf.Tensor>) => {
        const {x, kernel, a, b, bias, gain} = {...inputs, ...replaced};
        const factors = {a: a!, b: b!, scaling: 2};
        const weights = {kernel: kernel!, bias: bias!, separateBias: false, factors, gain: gain ?? null};
        return tf.mean(linear(form.op, x!, weights, activationNamed('tanh')));
      };
      for (const [name, value] of Object.entries(inputs)) {
        const gradient = tf.grad(v => sum({[name]: v}))(value);
        const slope = numbers(tf.sum(tf.square(gradient)))[0]!;
        const at = (t: number) => numbers(sum({[name]: tf.add(value, tf.mul(gradient, t))}))[0]!;
        // Along the gradient itself the slope is its square.
        const measured = (at(step) - at(-step)) / (2 * step);
        expect([measured]).toBeAllClose([slope], {rtol: 1e-3, atol: 2e-5});
      }
    });

    test('equals its base bit for bit where B is zero and the gain is one', () => {
      const {x, kernel, a, b, bias, gain} = inputsOf(form);
      const compute = (update: Pick<LinearWeights, 'factors' | 'gain'>) =>
        numbers(
          linear(
            form.op,
            x!,
            {kernel: kernel!, bias: bias!, separateBias: false, ...update},
            activationNamed(form.activation),
          ),
        );
      const updated = compute({
        factors: {a: a!, b: tf.zerosLike(b!), scaling: 2},
        gain: gain ? tf.onesLike(gain) : null,
      });
      expect(updated).toEqual(compute({}));
    });

    test('has the gradients of the formula where A is fixed, and keeps channels, not its input', async () => {
      const wanted = await on('cpu', () => expected(form));
      await useBackend(backend);
      const {a, kernel, ...inputs} = inputsOf(form);
      const fixed = [a!, kernel!].map(tensor => tf.variable(tensor, false));
      const kept: number[][] = [];
      const found = differentiate(inputs, ({x, b, bias, gain}) => {
        const factors = {a: fixed[0]!, b: b!, scaling: form.scaling};
        const weights = {kernel: fixed[1]!, bias: bias ?? null, separateBias: false, factors, gain: gain ?? null};
        const y = linear(form.op, x!, weights, activationNamed(form.activation));
        const tape = tf.engine().state.activeTape as unknown as {inputs: object; saved?: tf.Tensor[]}[] | null;
        kept.push(...(tape ?? []).flatMap(({saved = []}) => saved.map(({shape}) => shape)));
        return y;
      });
      const names = ['y', ...Object.keys(inputsOf(form))];
      const of = (name: string) => wanted[names.indexOf(name)]!;
      expectGradients(found.map(numbers), ['y', ...Object.keys(inputs)].map(of));
      expect(kept.length).toBeGreaterThan(0);
      expect(kept.filter(shape => shape.join() === form.x.join())).toEqual([]);
    });

    test('has a gradient in what its factors are computed from', async () => {
      const wanted = await on('cpu', () => expected(form));
      await useBackend(backend);

      const found = differentiate(inputsOf(form), ({x, kernel, a, b, bias, gain}) => {
        const factors = {a: tf.neg(a!), b: tf.neg(b!), scaling: form.scaling};
        const weights = {
          kernel: tf.neg(kernel!),
          bias: bias ?? null,
          separateBias: false,
          factors,
          gain: gain ?? null,
        };
        return linear(
          form.op,
          tf.neg(x!),
          {...weights, factors: {...factors, b: tf.neg(factors.b)}},
          activationNamed(form.activation),
        );
      });
      expectProducts(found.map(numbers), wanted);
    });
  });

  test('a frozen product with a gain has a gradient in the gain, and none in its kernel', () => {
    const {x, kernel, bias, gain} = inputsOf({...dense, gain: true});
    const wanted = tf.grad((g: tf.Tensor) => tf.tanh(tf.add(tf.mul(tf.matMul(x!, kernel!), g), bias!)))(gain!);
    const weights = {kernel: kernel!, bias: bias!, separateBias: false};
    const found = tf.grad((g: tf.Tensor) => linear(denseOp, x!, {...weights, gain: g}, activationNamed('tanh')))(gain!);
    expect(numbers(found)).toBeAllClose(numbers(wanted));
  });

  /** The kernels that run where only some inputs want a gradient. */
  async function runs(c: Case, wanted: string[], frozen = false): Promise<KernelRun[]> {
    const inputs = inputsOf(c);
    const kernels = await kernelsOf(() =>
      tf.tidy(() =>
        tf.grads((...list) => {
          const some = Object.fromEntries(wanted.map((name, i) => [name, list[i]!]));
          const {x, kernel, a, b, bias} = {...inputs, ...some};
          const factors = frozen ? null : {a: a!, b: b!, scaling: 2};
          const weights = {kernel: kernel!, bias: bias ?? null, separateBias: false, factors};
          return linear(c.op, x!, weights, activationNamed(c.activation));
        })(wanted.map(name => inputs[name]!)),
      ),
    );
    tf.dispose(inputs);
    return kernels;
  }

  const named = (kernels: KernelRun[], name: string) =>
    kernels.filter(kernel => kernel.name === name).map(({output}) => output);

  test.each([
    ['outputs', 6, 6, 5, 2],
    ['the kernel', 7, 6, 5, 2],
    ['outputs', 4, 6, 4, 2], // so few outputs that the kernel is small
    ['the kernel', 5, 6, 4, 2],
    ['outputs', 3, 3, 4, 2],
    ['the kernel', 4, 3, 4, 2],
  ])(
    'the update goes to %s for %i rows, %i inputs and %i outputs at rank %i',
    async (what, rows, fanIn, fanOut, rank) => {
      const [kernel, a, b] = [tf.ones([fanIn, fanOut]), tf.ones([fanIn, rank]), tf.ones([rank, fanOut])];
      const weights = {kernel, bias: null, separateBias: false, factors: {a, b, scaling: 1}};
      const kernels = await kernelsOf(() =>
        linear(denseOp, tf.ones([rows, fanIn]), weights, activationNamed('linear')),
      );
      const isProjected = kernels.some(({output}) => output === `${rows}×${rank}`); // x·A
      expect(isProjected ? 'outputs' : 'the kernel').toBe(what);
    },
  );

  test('a frozen product computes no gradient of its kernel', async () => {
    const kernels = await runs({...dense, activation: 'linear'}, ['x'], true);
    expect(named(kernels, 'BatchMatMul')).toEqual(['4×5']);
  });

  test('a frozen convolution computes no gradient of its kernel', async () => {
    const kernels = await runs({...conv, activation: 'linear'}, ['x'], true);
    expect(named(kernels, 'Conv2DBackpropFilter')).toEqual([]);
    expect(named(kernels, 'Conv2DBackpropInput')).toEqual(['6×6×2']);
  });

  test('a product whose input is data computes the gradients of its factors and no other', async () => {
    const kernels = await runs(dense, ['a', 'b']);
    // x·A, kept for the backward pass, and s·x·A·B; dz·(s·B)ᵀ, then A's and B's.
    const products = ['BatchMatMul', 'TfjsLoRAAddProduct'].flatMap(name => named(kernels, name)).sort();
    expect(products).toEqual(['3×9', '4×3', '4×9', '5×3']);
    expect(named(kernels, '_FusedMatMul').sort()).toEqual(['4×3', '4×9']);
  });

  test('a convolution whose input is data computes the gradients of its factors and no other', async () => {
    const kernels = await runs({...conv, x: [1, 3, 3, 2]}, ['a', 'b']);
    expect(named(kernels, 'Conv2DBackpropInput')).toEqual([]);
    expect(named(kernels, 'Conv2DBackpropFilter')).toEqual(['3×3×2×3']);
  });

  test("a convolution with few outputs takes both factors' gradients from one of the kernel", async () => {
    const kernels = await runs({...conv, kernel: [3, 3, 2, 3]}, ['a', 'b']);
    const filters = named(kernels, 'Conv2DBackpropFilter');
    expect(new Set(filters)).toEqual(new Set(['3×3×2×3']));
  });

  // What a gradient needs is saved. A second reference to it would keep its memory until the step ends.
  test.each([
    ['x·A', dense],
    ['x·A and the product before the gain', {...dense, gain: true}],
  ])('%s is not held beside what is saved', async (_, c) => {
    await useBackend(backend);
    const {kernel, ...inputs} = inputsOf(c);
    const added: number[] = [];
    const outputOf = (x: tf.Tensor, a: tf.Tensor, b: tf.Tensor, gain: tf.Tensor | null = null) => {
      const weights = {kernel: kernel!, bias: null, separateBias: false, factors: {a, b, scaling: 1}, gain};
      const {result, made} = withMade(() => linear(c.op, x, weights, activationNamed('linear')));
      added.push(made.filter(({isDisposed}) => !isDisposed).length);
      return result;
    };
    const {x, a, b, gain} = inputs;
    const gradients = tf.grads((...[one, up, down, factor]: tf.Tensor[]) => outputOf(one!, up!, down!, factor));
    tf.dispose(gradients([x!, a!, b!, ...(gain ? [gain] : [])], tf.ones([c.x[0]!, c.kernel.at(-1)!])));
    expect(added).toEqual([1]);
  });
});
