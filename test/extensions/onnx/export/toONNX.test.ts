import * as tf from '@tensorflow/tfjs';
import {applyLoRA, disposeModel, mergeLoRA, replaceHead} from '../../../../src/index';
import {field, fieldsOf} from '../../../../src/extensions/onnx/file/protobuf';
import {readOnnx} from '../../../../src/extensions/onnx/file/readOnnx';
import {fromONNX, toONNX} from '../../../../src/onnx';
import {numbers, useBackend, withoutLeaks} from '../../../helpers';
import {MemoryHandler, stirFactors} from '../../../models';
import {bytesOf, predicted, readCases} from '../cases';
import {type FileEntries, floats, ints, onnxFile, value} from '../files';

beforeAll(() => useBackend('cpu'));

const CASES = new Map([...readCases('networks'), ...readCases('operations')].map(each => [each.name, each]));
/** Files of layers with weights: each network, and each kind of kernel. */
const WITH_WEIGHTS = [...CASES.keys()].filter(name =>
  /batch$|^(Conv|ConvTranspose|MatMul and bias|Gemm|Gather|LSTM|GRU|RNN|an initializer of (float16|double))(?! one| several)\b/.test(
    name,
  ),
);

/** Adapts every kernel of a model with an update that changes its outputs. */
function stirred(base: tf.LayersModel): tf.LayersModel {
  const kernels = base.layers.filter(layer => /Dense|Conv|Embedding|LSTM|GRU|RNN/.test(layer.getClassName()));
  const model = applyLoRA(base, {rank: 1, seed: 1, targets: kernels.map(({name}) => name)});
  stirFactors(model);
  return model;
}

test('a folder is refused where the entry point of its models is not imported', async () => {
  const model = tf.sequential({layers: [tf.layers.dense({units: 1, inputShape: [2]})]});
  await expect(toONNX(model, {folder: true})).rejects.toMatchObject({
    code: 'ERR_MISFIT',
    message: expect.stringContaining("'tfjs-lora/transformers', which is not imported") as string,
  });
});

test.each(WITH_WEIGHTS)('%s: what is written computes what the merged model computes', async name => {
  const each = CASES.get(name)!;
  const file = bytesOf(each);
  await withoutLeaks(async () => {
    const base = await fromONNX(file);
    const model = stirred(base);
    const before = predicted(base, each);
    const expected = predicted(model, each);
    const written = await toONNX(model, file);
    const again = await fromONNX(written);
    const actual = predicted(again, each);
    actual.forEach((output, i) => {
      const values = numbers(expected[i]!);
      const largest = Math.max(...values.map(Math.abs));
      // Halves have 11 bits.
      const tolerance = (name.includes('float16') ? 1e-3 : 1e-5) * largest;
      expect(numbers(output)).toBeAllClose(values, {rtol: 0, atol: tolerance});
      expect(numbers(before[i]!)).not.toBeAllClose(values, {rtol: 0, atol: 20 * tolerance});
    });
    tf.dispose([before, expected, actual]);
    [again, model, base].forEach(disposeModel);
  });
});

/** Two layers: y = tanh(x · w) · v. */
const TWO: FileEntries = {
  nodes: [
    {op: 'MatMul', inputs: ['x', 'w'], outputs: ['a'], name: 'first'},
    {op: 'Tanh', inputs: ['a'], outputs: ['t'], name: 'tanh'},
    {op: 'MatMul', inputs: ['t', 'v'], outputs: ['y'], name: 'second'},
  ],
  initializers: [floats('w', [2, 3], [1, 2, 3, 4, 5, 6]), floats('v', [3, 2], [6, 5, 4, 3, 2, 1])],
  inputs: [value('x', [null, 2])],
  outputs: [value('y', [null, 2])],
  more: [field(14, [field(1, 'author'), field(2, 'me')]), field(99, 'nobody knows this field')],
};

async function tuned(file: Uint8Array, targets: (string | RegExp)[] | undefined): Promise<Uint8Array> {
  const base = await fromONNX(file);
  const model = applyLoRA(base, {rank: 1, seed: 1, ...(targets && {targets})});
  stirFactors(model);
  const written = await toONNX(model, file);
  [model, base].forEach(disposeModel);
  return written;
}

/** Only the bytes of the second kernel change. */
async function expectNewSecond(file: Uint8Array): Promise<void> {
  const written = await tuned(file, ['second']);
  expect(written).toHaveLength(file.length);
  const differing = [...written].flatMap((byte, i) => (byte === file[i] ? [] : [i]));
  const at = Buffer.from(file).indexOf(Buffer.from(Float32Array.from([6, 5, 4, 3, 2, 1]).buffer));
  expect(differing.length).toBeGreaterThan(6);
  expect(differing.every(i => i >= at && i < at + 24)).toBe(true);
}

test('all bytes but those of changed tensors stay', async () => {
  await expectNewSecond(onnxFile(TWO));
});

test('a Constant gets new values in its node, and all other bytes stay', async () => {
  const [first, second] = TWO.initializers!;
  const attributes = [[field(1, 'value'), field(5, second!), field(20, 4)]];
  const file = onnxFile({
    ...TWO,
    nodes: [{op: 'Constant', inputs: [], outputs: ['v'], attributes}, ...TWO.nodes],
    initializers: [first!],
  });
  await expectNewSecond(file);
});

test('a model that did not change is written as the same bytes', async () => {
  const file = onnxFile(TWO);
  const model = await fromONNX(file);
  expect(await toONNX(model, file)).toEqual(file);
});

test('an initializer that two nodes share, of which one changed, becomes two', async () => {
  const file = onnxFile({
    ...TWO,
    nodes: [
      {op: 'MatMul', inputs: ['x', 'w'], outputs: ['a'], name: 'first'},
      {op: 'Transpose', inputs: ['w'], outputs: ['t'], name: 'turned'},
      {op: 'MatMul', inputs: ['a', 't'], outputs: ['y'], name: 'second'},
    ],
  });
  const {nodes, initializers} = readOnnx(await tuned(file, ['first'])).graph;
  expect(nodes.map(({inputs}) => inputs)).toEqual([['x', 'w_merged'], ['w'], ['a', 't']]);
  expect(Array.from(initializers.get('w')!.values())).toEqual([1, 2, 3, 4, 5, 6]);
  expect(initializers.get('w_merged')!.shape).toEqual([2, 3]);
});

test('a constant that nodes compute becomes an initializer of the node that takes it', async () => {
  const file = onnxFile({
    ...TWO,
    nodes: [
      {op: 'Transpose', inputs: ['v'], outputs: ['t']},
      {op: 'MatMul', inputs: ['x', 't'], outputs: ['y'], name: 'first'},
    ],
    outputs: [value('y', [null, 3])],
  });
  const {nodes, initializers} = readOnnx(await tuned(file, undefined)).graph;
  expect(nodes[1]!.inputs).toEqual(['x', 't_merged']);
  expect(initializers.get('t_merged')).toMatchObject({shape: [2, 3], type: 1});
});

test('an initializer of a file of version 3 is an input too', async () => {
  const [, ...rest] = [
    ...fieldsOf(
      onnxFile({
        ...TWO,
        nodes: [
          {...TWO.nodes[0]!, outputs: ['y']},
          {op: 'Relu', inputs: ['w'], outputs: ['unused']},
        ],
      }),
    ),
  ];
  const file = Uint8Array.from([
    ...field(1, 3),
    ...rest.flatMap(({number, value: bytes}) => [...field(number, bytes)]),
  ]);
  const {inputs, initializers} = readOnnx(await tuned(file, undefined)).graph;
  expect(initializers.has('w_merged')).toBe(true);
  expect(inputs.map(({name}) => name)).toEqual(['x']); // those that are no initializers
});

test('a model that was saved and loaded is written as well', async () => {
  const file = onnxFile(TWO);
  const base = await fromONNX(file);
  const model = stirred(base);
  const merged = mergeLoRA(model);
  const handler = new MemoryHandler();
  await merged.save(handler);
  const loaded = await tf.loadLayersModel(handler);
  expect(await toONNX(loaded, file)).toEqual(await toONNX(model, file));
});

test('a new head becomes nodes in place of those that it replaces', async () => {
  const file = onnxFile(TWO);
  await withoutLeaks(async () => {
    const base = await fromONNX(file);
    const model = replaceHead(base, [tf.layers.dense({units: 3, name: 'new'})], {after: 'first'});
    const written = await toONNX(model, file);
    const {nodes, initializers, outputs} = readOnnx(written).graph;
    expect(nodes.map(({op, outputs: [name]}) => [op, name])).toEqual([
      ['MatMul', 'a'],
      ['Tanh', 't'],
      ['MatMul', 'new/MatMul'],
      ['Add', 'new/Add'],
      ['Identity', 'y'],
    ]);
    expect([...initializers.keys()]).toEqual(['w', 'new/kernel', 'new/bias']);
    expect(outputs).toEqual([{name: 'y', type: 1, shape: ['batch', 3]}]);
    const again = await fromONNX(written);
    const x = tf.randomNormal([4, 2], 0, 1, 'float32', 1);
    const [expected, actual] = [model, again].map(one => tf.tidy(() => numbers(one.predict(x) as tf.Tensor)));
    expect(actual).toBeAllClose(expected!);
    x.dispose();
    [again, model, base].forEach(disposeModel);
  });
});

test('a head on a file with channels first needs no transposes', async () => {
  const weights = Array.from({length: 4 * 3 * 9}, (_, i) => Math.sin(i));
  const file = onnxFile({
    nodes: [
      {op: 'Conv', inputs: ['image', 'w'], outputs: ['c'], name: 'conv', attributes: [ints('pads', [1, 1, 1, 1])]},
      {op: 'Relu', inputs: ['c'], outputs: ['r'], name: 'relu'},
      {op: 'Sigmoid', inputs: ['r'], outputs: ['y'], name: 'end'},
    ],
    initializers: [floats('w', [4, 3, 3, 3], weights)],
    inputs: [value('image', [null, 3, 5, 6])],
    outputs: [value('y', [null, 4, 5, 6])],
  });
  const base = await fromONNX(file);
  const after = base.layers.find(layer => /Conv/.test(layer.getClassName()))!.name;
  const model = replaceHead(base, [tf.layers.globalAveragePooling2d({}), tf.layers.dense({units: 2, name: 'new'})], {
    after,
  });
  const written = await toONNX(model, file);
  expect(readOnnx(written).graph.nodes.map(({op}) => op)).toEqual([
    ...['Conv', 'Relu', 'ReduceMean', 'MatMul', 'Add', 'Identity'],
  ]);
  const again = await fromONNX(written);
  const x = tf.randomNormal([2, 3, 5, 6], 0, 1, 'float32', 1);
  const [expected, actual] = [model, again].map(one => numbers(one.predict(x) as tf.Tensor));
  expect(actual).toBeAllClose(expected!);
});

describe('refuses', () => {
  test('a model that was not imported, or from another file', async () => {
    const file = onnxFile(TWO);
    const other = tf.sequential({layers: [tf.layers.dense({units: 2, inputShape: [2]})]});
    await expect(toONNX(other, file)).rejects.toThrow('was not imported by fromONNX');
    const model = await fromONNX(
      onnxFile({...TWO, nodes: TWO.nodes.map(node => ({...node, name: `other/${node.name!}`}))}),
    );
    await expect(toONNX(model, file)).rejects.toThrow('imported from another file');
  });

  test('new layers that cannot be written, and those of an opset that the file has not', async () => {
    const old = onnxFile({...TWO, opset: 12});
    const base = await fromONNX(old);
    const odd = replaceHead(base, [tf.layers.dense({units: 3, name: 'new'}), tf.layers.layerNormalization()], {
      after: 'first',
    });
    await expect(toONNX(odd, old)).rejects.toThrow('The class LayerNormalization needs opset 13, and the file has 12');
  });

  test('weights that are not finite, unless they are asked for', async () => {
    const file = onnxFile(TWO);
    const model = await fromONNX(file);
    const [kernel] = model.layers[1]!.getWeights();
    model.layers[1]!.setWeights([tf.mul(kernel!, NaN)]);
    await expect(toONNX(model, file)).rejects.toThrow('NaN or infinite');
    const written = await toONNX(model, file, {allowNonFinite: true});
    expect(Array.from(readOnnx(written).graph.initializers.get('w')!.values())).toEqual(new Array(6).fill(NaN));
  });
});
