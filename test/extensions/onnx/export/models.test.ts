import * as tf from '@tensorflow/tfjs';
import {applyLoRA, disposeModel} from '../../../../src/index';
import {readOnnx} from '../../../../src/extensions/onnx/file/readOnnx';
import {fromONNX, toONNX} from '../../../../src/onnx';
import {numbers, useBackend, withoutLeaks} from '../../../helpers';
import {stirFactors} from '../../../models';
import {inputsOf, MODELS} from './models';

beforeAll(() => useBackend('cpu'));

// `npm run check -- onnx` runs all models in ONNX Runtime. Here a part of them is imported again: those without the
// operations that the importer does not know.
const IMPORTED = MODELS.filter(
  ({name}) =>
    !/open sizes|conv3dTranspose|convLstm2d|thresholdedReLU|stacked|states|mask|linear activation/.test(name) &&
    (!/^(?:bidirectional )?(?:lstm|gru)/.test(name) || /other activations/.test(name)) &&
    !/stride 1, (?:valid|same), dilation 1/.test(name),
);

test.each(IMPORTED)('$name: what is written computes what the model computes', async each => {
  await withoutLeaks(async () => {
    const model = each.make();
    const again = await fromONNX(await toONNX(model));
    expect(again.inputNames).toEqual(model.inputNames);
    expect(again.inputs.map(({shape}) => shape)).toEqual(model.inputs.map(({shape}) => shape));
    const x = inputsOf(model, each, 2);
    const [expected, actual] = [model, again].map(one => [one.predict(x)].flat()) as [tf.Tensor[], tf.Tensor[]];
    actual.forEach((output, i) => {
      const values = numbers(expected[i]!);
      expect(output.shape).toEqual(expected[i]!.shape);
      expect(numbers(output)).toBeAllClose(values, {rtol: 0, atol: 1e-5 * Math.max(...values.map(Math.abs))});
    });
    tf.dispose([x, expected, actual]);
    [again, model].forEach(disposeModel);
  });
});

/** The operations of a file, in order. */
function operations(file: Uint8Array): string[] {
  return readOnnx(file).graph.nodes.map(({op}) => op);
}

const conv = (args: object = {}) => tf.layers.conv2d({filters: 4, kernelSize: 3, padding: 'same', ...args});

test('images are transposed where they come in, and where something needs their channels last', async () => {
  const model = tf.sequential({
    layers: [
      conv({inputShape: [8, 8, 3], activation: 'relu'}),
      tf.layers.batchNormalization(),
      tf.layers.leakyReLU(),
      tf.layers.maxPooling2d({poolSize: 2}),
      conv(),
      tf.layers.flatten(),
      tf.layers.dense({units: 2}),
    ],
  });
  expect(operations(await toONNX(model))).toEqual([
    ...['Transpose', 'Conv', 'Relu', 'BatchNormalization', 'LeakyRelu', 'MaxPool', 'Conv'],
    ...['Transpose', 'Flatten', 'MatMul', 'Add'],
  ]);
});

test('names and sizes are those of the model, and open sizes have names', async () => {
  const image = tf.input({shape: [null, 8, 3], name: 'image'});
  const ids = tf.input({shape: [null], name: 'ids', dtype: 'int32'});
  const rows = tf.layers.embedding({inputDim: 5, outputDim: 2, name: 'rows'}).apply(ids) as tf.SymbolicTensor;
  const map = conv({name: 'map'}).apply(image) as tf.SymbolicTensor;
  const model = tf.model({inputs: [image, ids], outputs: [map, rows, image]});
  const {graph, opsets} = readOnnx(await toONNX(model));
  expect(graph.inputs).toEqual([
    {name: 'image', type: 1, shape: ['batch', 'image_1', 8, 3]},
    {name: 'ids', type: 6, shape: ['batch', 'ids_1']},
  ]);
  expect(graph.outputs).toEqual([
    {name: 'map', type: 1, shape: ['batch', null, 8, 4]},
    {name: 'rows', type: 1, shape: ['batch', null, 2]},
    {name: 'image:1', type: 1, shape: ['batch', null, 8, 3]},
  ]);
  expect(opsets.get('')).toBe(17);
});

test('an adapted model is merged, and stays as it is', async () => {
  await withoutLeaks(async () => {
    const base = tf.sequential({layers: [tf.layers.dense({units: 3, inputShape: [4], name: 'only'})]});
    const model = applyLoRA(base, {rank: 1, seed: 1});
    stirFactors(model);
    const x = tf.randomNormal([2, 4], 0, 1, 'float32', 1);
    const given = (one: tf.LayersModel) => tf.tidy(() => numbers(one.predict(x) as tf.Tensor));
    const [before, expected] = [base, model].map(given);
    const again = await fromONNX(await toONNX(model));
    const actual = given(again);
    expect(actual).toBeAllClose(expected!);
    expect(actual).not.toBeAllClose(before!);
    expect(given(model)).toEqual(expected);
    x.dispose();
    [again, model, base].forEach(disposeModel);
  });
});

test('weights of 16 bits are half as large, and rounded', async () => {
  const model = tf.sequential({layers: [tf.layers.dense({units: 16, inputShape: [32]})]});
  const [whole, halves] = [await toONNX(model), await toONNX(model, {dtype: 'float16'})];
  expect(whole.length - halves.length).toBeGreaterThan(2 * 16 * 32 - 200);
  const again = await fromONNX(halves);
  const [kernel] = model.getWeights();
  const [actual] = again.getWeights();
  expect(numbers(actual!)).toBeAllClose(numbers(kernel!), {rtol: 2 ** -11, atol: 2 ** -24});
  expect(numbers(actual!)).not.toEqual(numbers(kernel!));
});

test('a weight that two calls share is written once', async () => {
  const x = tf.input({shape: [4], name: 'x'});
  const layer = tf.layers.dense({units: 4, useBias: false});
  const model = tf.model({inputs: x, outputs: layer.apply(layer.apply(x)) as tf.SymbolicTensor});
  const {nodes, initializers} = readOnnx(await toONNX(model)).graph;
  expect(initializers.size).toBe(1);
  expect(nodes.map(({inputs}) => inputs[1])).toEqual([...initializers.keys(), ...initializers.keys()]);
});

describe('refuses', () => {
  test('all layers that cannot be written, in one list', async () => {
    class Odd extends tf.layers.Layer {
      static readonly className = 'Odd';
    }
    const model = tf.sequential({
      layers: [
        tf.layers.dense({units: 3, inputShape: [4]}),
        new Odd({name: 'odd'}),
        tf.layers.reshape({targetShape: [1, 3]}),
        tf.layers.lstm({units: 2, activation: 'gelu', name: 'cell'}),
      ],
    });
    const before = tf.memory().numTensors;
    await expect(toONNX(model)).rejects.toMatchObject({
      code: 'ERR_UNSUPPORTED',
      faults: [
        'Layer "odd": The class Odd cannot be written.',
        'Layer "cell": The activation gelu cannot be written in a cell.',
      ],
    });
    expect(tf.memory().numTensors).toBe(before);
    disposeModel(model);
  });

  test('weights that are not finite, unknown options, and other types', async () => {
    const model = tf.sequential({layers: [tf.layers.dense({units: 1, inputShape: [1], name: 'only'})]});
    model.layers[0]!.setWeights([tf.tensor2d([[NaN]]), tf.tensor1d([0])]);
    await expect(toONNX(model)).rejects.toMatchObject({code: 'ERR_NUMERIC'});
    await expect(toONNX(model, {allowNonFinite: true})).resolves.toBeInstanceOf(Uint8Array);
    await expect(toONNX(model, {dtype: 'int8'} as never)).rejects.toThrow("dtype must be 'float32' or 'float16'");
    await expect(toONNX(model, {opset: 9} as never)).rejects.toThrow('There is no option "opset"');
  });

  test('a call that is aborted', async () => {
    const model = tf.sequential({layers: [tf.layers.dense({units: 1, inputShape: [1]})]});
    await expect(toONNX(model, {signal: AbortSignal.abort()})).rejects.toMatchObject({code: 'ERR_ABORTED'});
  });
});
