import * as tf from '@tensorflow/tfjs';
import {applyLoRA, disposeModel, getAdapter, loadKerasModel, mergeLoRA, removeLoRA, setAdapter} from 'tfjs-lora';
import {KerasLayer} from '../../../src/core/keras/kerasLayer';
import {numbers, random, useBackend, withoutLeaks} from '../../helpers';
import {reloaded} from '../../models';
import {handlerOf} from './converted';
import {kerasCases} from './kerasLayers';
import {made, OPERATIONS, sumOf} from './operations';

beforeAll(() => useBackend('cpu'));

/** A model of the cases, by its name. */
function load(name: string): Promise<tf.LayersModel> {
  const found = kerasCases(3).find(one => one.name === name)!;
  return loadKerasModel(handlerOf(found.artifacts));
}

describe('the gradient is that of finite differences', () => {
  test.each(OPERATIONS)('%s', (_name, args, ...shapes) => {
    const {layer, inputs} = made(args, shapes);
    const [x, ...others] = inputs as [tf.Tensor, ...tf.Tensor[]];
    const found = numbers(tf.grad((first: tf.Tensor) => sumOf(layer, [first, ...others]))(x));
    const values = numbers(x);
    found.forEach((slope, i) => {
      const [above, below] = [1e-2, -1e-2].map(step =>
        tf.tidy(() => {
          const moved = tf.tensor(
            values.map((value, j) => (j === i ? value + step : value)),
            x.shape,
          );
          return numbers(sumOf(layer, [moved, ...others]))[0]!;
        }),
      );
      expect(Math.abs(slope - (above! - below!) / 2e-2)).toBeLessThan(2e-3);
    });
  });
});

test.each([
  'SeparableConv1D',
  'DepthwiseConv2D dilation_rate=2',
  'EinsumDense',
  'EinsumDense bias_axes=d',
  'Conv1D padding=causal',
  'Conv1D data_format=channels_first',
  'Conv2D groups=3',
  'Conv3D groups=2',
  'Conv1DTranspose',
  'Conv2DTranspose dilation_rate=2',
  'DepthwiseConv1D',
])('%s is adapted, trained and merged', async name => {
  await useBackend('wasm');
  await withoutLeaks(async () => {
    const base = await load(name);
    const [, ...shape] = base.inputs[0]!.shape as number[];
    const x = random([2, ...shape], 1);
    const predict = (model: tf.LayersModel) => tf.tidy(() => numbers(model.predict(x) as tf.Tensor));
    const before = predict(base);
    const adapted = applyLoRA(base, {rank: 1, targets: ['it']});
    expect(predict(adapted)).toEqual(before);

    const y = tf.zeros([2, ...(base.outputs[0]!.shape.slice(1) as number[])]);
    const optimizer = tf.train.adam(0.05);
    adapted.compile({optimizer, loss: 'meanSquaredError'});
    const {history} = await adapted.fit(x, y, {epochs: 40, verbose: 0});
    const losses = history.loss as number[];
    expect(losses.at(-1)).toBeLessThan(losses[0]! / 1.3);

    const merged = mergeLoRA(adapted);
    const removed = removeLoRA(adapted);
    const trained = predict(adapted);
    predict(merged).forEach((value, i) => expect(value).toBeCloseTo(trained[i]!, 4));
    expect(predict(removed)).toEqual(before);
    const adapter = getAdapter(adapted);
    const other = applyLoRA(base, {rank: 1, targets: ['it']});
    setAdapter(other, adapter);
    expect(predict(other)).toEqual(trained);
    tf.dispose([x, y, adapter.tensors]);
    [other, removed, merged, adapted, base].forEach(disposeModel);
    optimizer.dispose();
  });
});

test.each(['attention: MultiHeadAttention with value_dim and masks', 'attention: AdditiveAttention with masks'])(
  '%s is adapted, saved, merged and freed',
  async name => {
    await useBackend('wasm');
    const {inputs} = kerasCases(3).find(one => one.name === name)!;
    await withoutLeaks(async () => {
      const base = await load(name);
      const x = inputs.map(({values, shape}) => tf.tensor(values, shape));
      const predict = (model: tf.LayersModel) => tf.tidy(() => numbers(model.predict(x) as tf.Tensor));
      const before = predict(base);
      const dense = base.layers.filter(layer => layer.getClassName() === 'Dense').map(layer => layer.name);
      const adapted = dense.length === 0 ? undefined : applyLoRA(base, {rank: 1, targets: dense});
      const models = adapted === undefined ? [] : [adapted, mergeLoRA(adapted), await reloaded(adapted)];
      const again = await reloaded(base);
      [...models.slice(0, 1), ...models.slice(2), again].forEach(model => expect(predict(model)).toEqual(before));
      models.slice(1, 2).forEach(model => expect(predict(model)).toBeAllClose(before));
      expect(dense).toHaveLength(name.includes('MultiHead') ? 4 : 0);
      tf.dispose(x);
      [...models, again, base].forEach(disposeModel);
    });
  },
);

// Keras: (rows − 1)·stride + size + more, less twice half of the size, rounded down, for 'same'.
test.each([
  ['valid', 0, 13],
  ['valid', 1, 14],
  ['same', 0, 11],
  ['same', 1, 12],
])(
  'a transposed convolution with padding %s and %d more rows has the length that Keras says',
  async (padding, more, length) => {
    const {artifacts} = kerasCases(3).find(one => one.name === 'Conv1DTranspose')!; // of size 3, on six rows
    const settings = `"strides":[2],"padding":"${padding}","output_padding":[${more}]`;
    const text = JSON.stringify(artifacts.modelTopology).replace('"strides":[1],"padding":"valid"', settings);
    const model = await loadKerasModel(handlerOf({...artifacts, modelTopology: JSON.parse(text) as object}));
    expect(model.outputs[0]!.shape).toEqual([null, length, 2]);
    const y = model.predict(tf.ones([1, 6, 4])) as tf.Tensor;
    expect(y.shape).toEqual([1, length, 2]);
  },
);

test('what it computes has to be known', () => {
  expect(() => new KerasLayer({computes: 'toString', name: 'it'})).toThrow(
    'Layer "it" computes "toString", which is not known here.',
  );
});

test('numbers of a normalization have to fit its input', () => {
  const layer = new KerasLayer({computes: 'normalization', axes: [-1], mean: [1, 2], variance: [1, 2], name: 'it'});
  expect(() => layer.apply(tf.input({shape: [3]}))).toThrow('Layer "it" has 2 numbers for an input of [null, 3].');
});
