import * as tf from '@tensorflow/tfjs';
import {LoRADepthwiseConv2D} from '../../../src/core/layers/loraDepthwiseConv2d';
import {applyLoRA} from '../../../src/core/model/apply';
import {mergeLoRA, removeLoRA} from '../../../src/core/model/restore';
import {summarizeLoRA} from '../../../src/core/model/summary';
import {numbers} from '../../helpers';
import {predictions} from '../../models';
import {type Case, type ConvolutionKind, makersOf, product, smallModel, testConvolution} from './convolutionKind';

const {depthwiseConv2d, reLU} = tf.layers;

const DEPTHWISE_EXAMPLE: Case = {
  size: [6, 5],
  channels: 3,
  filters: 2,
  kernelSize: [3, 2],
  strides: [1, 1],
  dilationRate: [1, 1],
  padding: 'same',
  dataFormat: 'channelsLast',
  activation: 'tanh',
  useBias: true,
};

/** A small model with two such layers. */
function mobile() {
  return smallModel(
    depthwiseConv2d({kernelSize: 3, depthMultiplier: 2, name: 'first', inputShape: [6, 5, 3]}),
    reLU({maxValue: 6, name: 'relu'}),
    depthwiseConv2d({kernelSize: 2, strides: 2, padding: 'same', activation: 'tanh', name: 'second'}),
  );
}

const DEPTHWISE: ConvolutionKind = {
  className: 'LoRADepthwiseConv2D',
  loraClass: LoRADepthwiseConv2D,
  stock: ({filters, ...args}) => depthwiseConv2d({...args, depthMultiplier: filters}),
  kernels: ['depthwise_kernel'],
  example: DEPTHWISE_EXAMPLE,
  ranges: {size: [3, 7], channels: [1, 4], filters: [1, 3], kernelSize: [1, 3], strides: [1, 3], dilationRate: [1, 2]},
  shapes: [
    {channels: 1, filters: 3},
    {channels: 5, filters: 2, kernelSize: [2, 2]},
  ],
  matrixOf: ({kernelSize, channels, filters}) => [product(kernelSize), channels * filters],
  factors: {names: '[kh, kw, rank] and [rank, in, mult]', A: [3, 2, 2], B: [2, 3, 2], kernel: [3, 2, 3, 2]},
  convolve: (x, [kernel], {strides, padding}) =>
    tf.depthwiseConv2d(x as tf.Tensor4D, kernel as tf.Tensor4D, strides as [number, number], padding),
  gradients: [
    {strides: [2, 1], padding: 'valid'},
    {strides: [1, 1], padding: 'same'},
    {strides: [1, 2], padding: 'same'},
    {strides: [2, 2], padding: 'same', dataFormat: 'channelsFirst'},
    {strides: [1, 1], padding: 'valid', dataFormat: 'channelsFirst'},
  ],
  model: mobile,
  targets: ['DepthwiseConv2D', 'head'],
};
const {base, adapted, inputs} = makersOf(DEPTHWISE);

testConvolution(DEPTHWISE);

test('like the stock layer it computes without its dilation rate', () => {
  const layer = adapted({...DEPTHWISE_EXAMPLE, dilationRate: [2, 2]});
  const undilated = adapted(DEPTHWISE_EXAMPLE);
  const x = inputs(DEPTHWISE_EXAMPLE);
  expect(numbers(layer.apply(x) as tf.Tensor)).toEqual(numbers(undilated.apply(x) as tf.Tensor));
  expect(layer.computeOutputShape([2, 6, 5, 3])).toEqual([2, 6, 5, 6]);
});

test.each([
  ['its name', ['first']],
  ['its class', ['DepthwiseConv2D']],
  ['a pattern', [/^fi/]],
])('%s in the targets adapts it', (_, targets) => {
  const lora = applyLoRA(mobile().model, {targets, rank: 2});
  expect(lora.getLayer('first')).toBeInstanceOf(LoRADepthwiseConv2D);
});

test("'all' leaves it out, and says so", () => {
  const warn = jest.spyOn(console, 'warn').mockImplementation();
  const {model} = mobile();
  const lora = applyLoRA(model, {targets: 'all', rank: 2});
  expect(warn.mock.calls).toEqual([
    [
      expect.stringMatching(
        /^Left as they are:\nLayer "first": The kernel of a DepthwiseConv2D .*\nLayer "second": The kernel .*targets/,
      ),
    ],
  ]);
  expect(lora.getLayer('first')).not.toBeInstanceOf(LoRADepthwiseConv2D);
  const {skipped} = summarizeLoRA(lora);
  expect(skipped.map(({path, className}) => [path, className])).toEqual([
    ['first', 'DepthwiseConv2D'],
    ['second', 'DepthwiseConv2D'],
  ]);
  expect(skipped[0]!.reason).toMatch(/^The kernel of a DepthwiseConv2D .* name it in targets/);
});

test('a regularizer, which tfjs writes where the constraint belongs, does no harm; a constraint comes along', () => {
  const depthwiseRegularizer = tf.regularizers.l2({l2: 0.1});
  const depthwiseConstraint = tf.constraints.maxNorm({maxValue: 2, axis: 0});
  for (const own of [{depthwiseRegularizer}, {depthwiseRegularizer, depthwiseConstraint}]) {
    const model = tf.sequential({layers: [base(DEPTHWISE_EXAMPLE, own)]});
    const x = inputs(DEPTHWISE_EXAMPLE);
    const expected = predictions(model, [x]);
    const lora = applyLoRA(model, {targets: ['conv'], rank: 2});
    expect(predictions(lora, [x])).toEqual(expected);
    const merged = mergeLoRA(lora);
    expect(predictions(merged, [x])).toEqual(expected);
    type Fields = {depthwiseConstraint: tf.serialization.Serializable | null};
    const configOf = (one: tf.LayersModel) =>
      (one.getLayer('conv') as unknown as Fields).depthwiseConstraint?.getConfig();
    expect(configOf(removeLoRA(lora))).toEqual(configOf(model));
    expect(configOf(merged)).toBeUndefined();
  }
});

test('3×3, 256 channels, at rank 4 trains 1,060 numbers instead of 2,304', async () => {
  const layer = new LoRADepthwiseConv2D({layer: tf.layers.depthwiseConv2d({kernelSize: 3, useBias: false}), rank: 4});
  layer.build([null, 8, 8, 256]);
  const {trainableParameters, totalParameters} = await layer.getDiagnostics();
  expect([trainableParameters, totalParameters]).toEqual(['1060', String(1060 + 2304)]);
});
