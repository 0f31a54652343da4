import * as tf from '@tensorflow/tfjs';
import {applyLoRA, mergeLoRA, removeLoRA} from 'tfjs-lora';
import {FusedConv2D, FusedDepthwiseConv2D} from '../../../../src/extensions/graph/layers/fusedConvolution';
import {differentiate, expectGradients, kernelsOf, numbers, on, random, useBackend} from '../../../helpers';
import {stir, stirFactors} from '../../../models';

const x = () => random([2, 6, 7, 3], 1);

function modelOf(layer: tf.layers.Layer): tf.LayersModel {
  const input = tf.input({shape: [6, 7, 3]});
  const model = tf.model({inputs: input, outputs: layer.apply(input) as tf.SymbolicTensor});
  stir(model);
  return model;
}

const conv = (fused: boolean) => {
  const config = {name: 'conv', filters: 4, kernelSize: 3, strides: 2, padding: 'same', activation: 'relu6'} as const;
  return fused ? new FusedConv2D({...config, kernelSize: [3, 3], strides: [2, 2]}) : tf.layers.conv2d(config);
};
const depthwise = (fused: boolean) => {
  const config = {name: 'dw', kernelSize: 3, depthMultiplier: 2, padding: 'valid', activation: 'relu6'} as const;
  return fused ? new FusedDepthwiseConv2D({...config, kernelSize: [3, 3]}) : tf.layers.depthwiseConv2d(config);
};

test('a fused convolution computes what the stock layer computes, to the last bit', () => {
  const [fused, stock] = [true, false].map(kind => modelOf(conv(kind)).predict(x()) as tf.Tensor);
  expect(numbers(fused!)).toEqual(numbers(stock!));
});

test('a fused depthwise convolution computes what the stock layer computes', () => {
  const [fused, stock] = [true, false].map(kind => modelOf(depthwise(kind)).predict(x()) as tf.Tensor);
  expect(numbers(fused!)).toBeAllClose(numbers(stock!));
});

test.each([
  ['Conv2D', conv],
  ['DepthwiseConv2D', depthwise],
])('an adapted one computes at birth what its base computes, and trains like an adapted %s', (name, make) => {
  const [fused, stock] = [true, false].map(kind => {
    const base = modelOf(make(kind));
    const model = applyLoRA(base, {rank: 2, seed: 1, targets: [name]});
    expect(numbers(model.predict(x()) as tf.Tensor)).toEqual(numbers(base.predict(x()) as tf.Tensor));
    stirFactors(model);
    const weights = model.trainableWeights.map(weight => weight.read() as tf.Variable);
    const {grads} = tf.variableGrads(
      () => tf.sum<tf.Scalar>(tf.square(model.apply(x(), {training: true}) as tf.Tensor)),
      weights,
    );
    expect(numbers(mergeLoRA(model).predict(x()) as tf.Tensor)).toBeAllClose(numbers(model.predict(x()) as tf.Tensor));
    expect(numbers(removeLoRA(model).predict(x()) as tf.Tensor)).toEqual(numbers(base.predict(x()) as tf.Tensor));
    return weights.map(({name: key}) => numbers(grads[key]!));
  });
  expectGradients(fused!, stock!);
});

test('the fused kernels are what runs', async () => {
  await useBackend('wasm');
  const [first, second] = await Promise.all(
    [modelOf(conv(true)), modelOf(depthwise(true))].map(model => kernelsOf(() => model.predict(x()))),
  );
  expect(first!.map(({name}) => name)).not.toContain('Relu6');
  expect(second!.map(({name}) => name)).toEqual(expect.arrayContaining(['FusedDepthwiseConv2D']));
  expect(second!.map(({name}) => name)).not.toContain('Add');
});

test.each([
  ['convolution', conv],
  ['depthwise convolution', depthwise],
])('an adapted stock %s takes relu6 in one step, to the last bit, where the stock one takes two', async (_, make) => {
  await useBackend('wasm');
  const base = modelOf(make(false));
  const model = applyLoRA(base, {rank: 2, targets: [base.layers[1]!.name]});
  const namesOf = async (each: tf.LayersModel) => (await kernelsOf(() => each.predict(x()))).map(({name}) => name);
  expect(await namesOf(base)).toContain('Minimum');
  const own = await namesOf(model);
  expect(own).toContain('Relu6');
  expect(own).not.toContain('Minimum');
  expect(numbers(model.predict(x()) as tf.Tensor)).toEqual(numbers(base.predict(x()) as tf.Tensor));
});

test.each([
  ['convolution', conv],
  ['depthwise convolution', depthwise],
])('a %s that trains in full has the gradients of the stock layer', async (_, make) => {
  const gradients = async (fused: boolean) =>
    on('wasm', () => {
      const model = modelOf(make(fused));
      const weights = model.trainableWeights.map(weight => weight.read() as tf.Variable);
      const {grads} = tf.variableGrads(
        () => tf.sum<tf.Scalar>(tf.square(model.apply(x(), {training: true}) as tf.Tensor)),
        weights,
      );
      return weights.map(({name}) => grads[name]!);
    });
  await useBackend('wasm');
  expectGradients(await gradients(true), await gradients(false));
});

test('a dilated depthwise convolution computes by its rate, and has its shape', async () => {
  await useBackend('cpu');
  const layer = new FusedDepthwiseConv2D({name: 'dw', kernelSize: [2, 3], dilationRate: [2, 1], useBias: false});
  const model = modelOf(layer);
  const y = model.predict(x()) as tf.Tensor;
  const [kernel] = layer.getWeights() as [tf.Tensor4D];
  const expected = tf.depthwiseConv2d(x() as tf.Tensor4D, kernel, 1, 'valid', 'NHWC', [2, 1]);
  expect(numbers(y)).toBeAllClose(numbers(expected));
  expect(model.outputs[0]!.shape.slice(1)).toEqual(expected.shape.slice(1));
  const [, gradient] = differentiate({x: x()}, ({x: given}) => layer.apply(given!) as tf.Tensor);
  expect(gradient!.shape).toEqual([2, 6, 7, 3]);
});

test('a depthwise layer keeps its constraint and its regularizer in its config', () => {
  const args = {kernelSize: 2, depthwiseConstraint: 'nonNeg', depthwiseRegularizer: 'l1l2'};
  const {depthwiseConstraint, depthwiseRegularizer} = new FusedDepthwiseConv2D(args).getConfig() as Record<
    string,
    {className: string}
  >;
  expect([depthwiseConstraint!.className, depthwiseRegularizer!.className]).toEqual(['NonNeg', 'L1L2']);
});

test.each([conv(true), depthwise(true)])('$name calls its hook before it computes', layer => {
  const hook = jest.fn();
  layer.setCallHook(hook);
  modelOf(layer).predict(x());
  expect(hook).toHaveBeenCalled();
});
