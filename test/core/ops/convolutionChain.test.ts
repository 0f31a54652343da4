import * as tf from '@tensorflow/tfjs';
import fc from 'fast-check';
import {applyLoRA, trainableVariables} from 'tfjs-lora';
import {withoutOwnCode} from '../../../src/backends/shared/tryOut';
import {depthwiseConv2d} from '../../../src/core/ops/depthwise';
import {chainModel, CHAINS} from '../../backends/everywhere/chains';
import {BACKENDS, expectGradients, kernelsOf, numbers, on, random, withoutLeaks} from '../../helpers';
import {reloaded} from '../../models';
import {spread} from './spread';
import '../../../src/backends/backends';

type Pair = [number, number];

interface Case {
  image: Pair;
  channels: number;
  multiplier: number;
  kernelSize: Pair;
  strides: Pair;
  dilations: Pair;
  padding: 'valid' | 'same';
  rank: number;
}

function pair(min: number, max: number): fc.Arbitrary<Pair> {
  return fc.tuple(fc.integer({min, max}), fc.integer({min, max}));
}

const cases = fc
  .record({
    image: pair(6, 8),
    channels: fc.integer({min: 1, max: 3}),
    multiplier: fc.integer({min: 1, max: 2}),
    kernelSize: pair(1, 3),
    strides: pair(1, 3),
    dilations: pair(1, 2),
    padding: fc.constantFrom('valid' as const, 'same' as const),
    rank: fc.integer({min: 1, max: 3}),
  })
  // tfjs can only stride or dilate, not both.
  .map((c): Case => ({...c, dilations: Math.max(...c.strides) > 1 ? [1, 1] : c.dilations}));

const LINEAR = {fused: null, gradient: null, apply: (z: tf.Tensor) => z};

/** The input, the kernel and its factors. */
function tensorsOf({image, channels, multiplier, kernelSize, rank}: Case): tf.Tensor[] {
  return [
    random([2, ...image, channels], 1),
    random([...kernelSize, channels, multiplier], 2),
    random([...kernelSize, rank], 3),
    random([rank, channels, multiplier], 4),
  ];
}

/**
 * `x ∗ (W + s·A·B)` by tfjs's own operations, with a kernel that has zeros between its entries for one that is dilated.
 */
function plain({kernelSize: [kh, kw], strides, dilations, padding, rank}: Case) {
  return (x: tf.Tensor, w: tf.Tensor, a: tf.Tensor, b: tf.Tensor) => {
    const product = tf.matMul(tf.reshape(a, [kh * kw, rank]), tf.reshape(b, [rank, -1]));
    const kernel = tf.add(w, tf.mul(tf.reshape(product, w.shape), 0.5));
    return tf.depthwiseConv2d(x as tf.Tensor4D, spread(kernel, dilations) as tf.Tensor4D, strides, padding);
  };
}

describe.each(BACKENDS)('on %s', backend => {
  test('gradients in the input, the kernel and its factors are those of tfjs, whatever the geometry', () =>
    fc.assert(
      fc.asyncProperty(cases, async c => {
        const gradients = (f: (x: tf.Tensor, w: tf.Tensor, a: tf.Tensor, b: tf.Tensor) => tf.Tensor) => () => {
          const weighted = (...inputs: [tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]) => {
            const y = f(...inputs);
            return tf.mul(y, random(y.shape as [number, number], 8));
          };
          return tf.grads(weighted)(tensorsOf(c));
        };
        const expected = await on('cpu', gradients(plain(c)));
        const {strides, padding, dilations} = c;
        const geometry = {strides, padding, dilations};
        const actual = await on(
          backend,
          gradients((x, kernel, a, b) =>
            depthwiseConv2d(x as tf.Tensor4D, {kernel, bias: null, factors: {a, b, scaling: 0.5}}, geometry, LINEAR),
          ),
        );
        expectGradients(actual, expected);
        const ofKernel = await on(backend, () => {
          const [x, w] = tensorsOf(c) as [tf.Tensor4D, tf.Tensor];
          const f = (input: tf.Tensor, kernel: tf.Tensor) => {
            const weights = {kernel, bias: null, factors: null, trains: true};
            const y = depthwiseConv2d(input as tf.Tensor4D, weights, geometry, LINEAR);
            return tf.mul(y, random(y.shape as [number, number], 8));
          };
          return tf.grads(f)([x, w]).slice(1);
        });
        expectGradients(ofKernel, expected.slice(1, 2));
      }),
      {numRuns: 40},
    ));
});

/** The loss, then the gradients of everything that trains. */
function gradients(model: tf.LayersModel, x: tf.Tensor): number[][] {
  return tf.tidy(() => {
    const loss = () => {
      const outputs = [model.apply(x, {training: true}) as tf.Tensor | tf.Tensor[]].flat();
      return tf.addN(outputs.map(y => tf.sum<tf.Scalar>(tf.mul(y, tf.sin(tf.add(y, 0.5))))));
    };
    const {value, grads} = tf.variableGrads(loss, trainableVariables(model));
    return [value, ...Object.values(grads)].map(numbers);
  });
}

/** Gives factors that start at zero other values, so that the update counts. */
function stir(model: tf.LayersModel): void {
  trainableVariables(model).forEach((variable, i) => {
    tf.tidy(() => variable.assign(tf.add(variable, random(variable.shape as [number], i + 1, 0.05))));
  });
}

describe.each(Object.entries(CHAINS))('%s', (_, layers) => {
  test('has the gradients that its layers have one by one, in the first step and in later ones', async () => {
    const base = chainModel(layers);
    const model = applyLoRA(base, {rank: 2, targets: ['Conv2D'], seed: 1});
    stir(model);
    const x = random<tf.Rank.R4>([2, 9, 8, 3], 5);
    const expected = await withoutOwnCode(() => gradients(model, x));
    for (let step = 0; step < 3; step++) {
      expectGradients(gradients(model, x), expected);
    }
    await withoutLeaks(() => gradients(model, x));
  });
});

test('three layers are one launch', async () => {
  const base = chainModel(CHAINS['conv, norm, relu']!);
  const model = applyLoRA(base, {rank: 2, targets: ['Conv2D'], seed: 1});
  const x = random<tf.Rank.R4>([2, 9, 8, 3], 5);
  gradients(model, x);
  const names = (await kernelsOf(() => gradients(model, x))).map(({name}) => name);
  expect(names.filter(name => name === 'Relu' || name === 'TfjsLoRAAffine')).toEqual(['TfjsLoRAAffine']);
  expect(names).not.toContain('ReluGrad');
});

test('a model cut at an inner output computes what it did', () => {
  const base = chainModel(CHAINS['conv, norm, relu']!);
  const model = applyLoRA(base, {rank: 2, targets: ['Conv2D'], seed: 1});
  const x = random<tf.Rank.R4>([2, 9, 8, 3], 5);
  gradients(model, x);
  for (const layer of model.layers.slice(1, 4)) {
    const cut = tf.model({inputs: model.inputs, outputs: layer.output});
    tf.tidy(() => {
      const expected = numbers(cut.predict(x) as tf.Tensor);
      let inTraining: number[] = [];
      tf.grad(z => {
        const y = cut.apply(z, {training: true}) as tf.Tensor;
        inTraining = numbers(y);
        return tf.sum(y);
      })(x);
      expect(inTraining).toBeAllClose(expected, {rtol: 1e-4, atol: 1e-5});
    });
  }
});

test('a new model still computes what its base computes, bit for bit', async () => {
  const base = chainModel(CHAINS['depthwise, norm, relu6']!);
  const model = applyLoRA(base, {rank: 2, targets: ['Conv2D']});
  const x = random<tf.Rank.R4>([2, 9, 8, 3], 5);
  tf.tidy(() => expect(numbers(model.predict(x) as tf.Tensor)).toEqual(numbers(base.predict(x) as tf.Tensor)));
  const loaded = await reloaded(model);
  gradients(loaded, x);
  tf.tidy(() => expect(numbers(loaded.predict(x) as tf.Tensor)).toEqual(numbers(base.predict(x) as tf.Tensor)));
});
