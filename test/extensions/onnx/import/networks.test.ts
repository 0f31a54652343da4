import * as tf from '@tensorflow/tfjs';
import type {GraphOp} from '../../../../src/extensions/graph/import/graphOp';
import {field} from '../../../../src/extensions/onnx/file/protobuf';
import {readOnnx} from '../../../../src/extensions/onnx/file/readOnnx';
import {namedTensors} from '../../../../src/extensions/onnx/import/namedTensors';
import {adam, applyLoRA, disposeModel, mergeLoRA} from '../../../../src/index';
import {fromONNX} from '../../../../src/onnx';
import {withoutLeaks} from '../../../helpers';
import {bytesOf, expectOutputs, predicted, readCases} from '../cases';
import {floats, type NodeEntry, onnxFile} from '../files';

const NETWORKS = new Map(readCases('networks').map(each => [each.name, each]));

test.each([...NETWORKS.keys()])('%s: imports, adapts, trains and merges', async name => {
  const each = NETWORKS.get(name)!;
  await withoutLeaks(async () => {
    const base = await fromONNX(bytesOf(each));
    const before = predicted(base, each);
    expectOutputs(before, each.outputs);
    const model = applyLoRA(base, {rank: 2, seed: 1});
    const adapted = predicted(model, each);
    adapted.forEach((output, i) => expect(output.dataSync()).toEqual(before[i]!.dataSync()));
    model.compile({optimizer: adam({learningRate: 0.01}), loss: tf.losses.meanSquaredError});
    const [{values, shape, dtype} = each.outputs[0]!] = Object.values(each.inputs);
    const x = tf.tensor(values, shape, dtype);
    const targets = before.map(output =>
      tf.tidy(() => tf.mul(output, tf.randomUniform(output.shape, 0, 1, 'float32', 1))),
    );
    const step = async () => [await model.trainOnBatch(x, targets)].flat()[0] as number;
    const first = await step();
    for (let i = 0; i < 4; i++) {
      await step();
    }
    expect(await step()).toBeLessThan(first);
    const merged = mergeLoRA(model);
    const tuned = predicted(model, each);
    const plain = predicted(merged, each);
    plain.forEach((output, i) =>
      expect(Array.from(output.dataSync())).toBeAllClose(tuned[i]!.dataSync(), {atol: 1e-5}),
    );
    tf.dispose([before, adapted, x, targets, tuned, plain]);
    model.optimizer.dispose();
    [merged, model, base].forEach(disposeModel);
  });
});

test('a LayerNorm and a GELU that opset 14 writes as operations become layers', async () => {
  const model = await fromONNX(bytesOf(NETWORKS.get('encoder, torchscript, any batch')!));
  const kinds = model.layers.map(layer => {
    const {activation} = layer.getConfig();
    return layer.getClassName() === 'Activation' ? activation : layer.getClassName();
  });
  expect(kinds).toEqual(expect.arrayContaining(['LayerNormalization', 'gelu']));
  const operations = model.layers.flatMap(layer => (layer as unknown as Partial<GraphOp>).fragment?.node.op ?? []);
  expect(operations).not.toEqual(expect.arrayContaining(['Erf']));
  expect(operations).not.toEqual(expect.arrayContaining(['Sqrt']));
});

// The random graphs are those of test/python/make_onnx_random.py. `npm run check -- onnx` draws others.
const OPERATIONS = new Map([...readCases('operations'), ...readCases('random')].map(each => [each.name, each]));

test.each([...OPERATIONS.keys()])('%s gives what ONNX Runtime gives', async name => {
  const each = OPERATIONS.get(name)!;
  await withoutLeaks(async () => {
    const model = await fromONNX(bytesOf(each));
    const outputs = predicted(model, each);
    expectOutputs(outputs, each.outputs);
    tf.dispose(outputs);
    disposeModel(model);
  });
});

/** The tensors of a file with these nodes, and two matrices `[2, 3]` and the bias of a module. */
function tensorsOf(...nodes: NodeEntry[]) {
  const initializers = [
    floats('onnx::MatMul_1', [2, 3], [1, 2, 3, 4, 5, 6]),
    floats('onnx::MatMul_2', [2, 3], [1, 2, 3, 4, 5, 7]),
    floats('onnx::MatMul_3', [2, 3], [1, 2, 3, 4, 5, 6]),
    floats('a.dense.bias', [3], [7, 8, 9]),
    floats('scale', [1, 3], [1, 10, 100]),
  ];
  return namedTensors(readOnnx(onnxFile({nodes, initializers, inputs: [], outputs: []})));
}

const product = (matrix: string, output: string, name = ''): NodeEntry[] => [
  {op: 'MatMul', name, inputs: ['x', matrix], outputs: [output]},
  {op: 'Add', inputs: ['a.dense.bias', output], outputs: [`${output}/sum`]},
];

test('a matrix belongs to the module of the bias that is added to its product', () => {
  const {shape, values, isFactor} = tensorsOf(...product('onnx::MatMul_1', 'y')).get('a.dense.weight')!;
  expect({shape, isFactor, values: [...values()]}).toEqual({shape: [2, 3], isFactor: true, values: [1, 2, 3, 4, 5, 6]});
});

test('without a bias, it belongs to the module of its node', () => {
  const [node] = product('onnx::MatMul_1', 'y', '/model/b/MatMul');
  expect(tensorsOf(node!).get('model.b.weight')?.isFactor).toBe(true);
});

test('where bias and node name different modules, it belongs to none', () => {
  const tensors = tensorsOf(...product('onnx::MatMul_1', 'y', '/model/b/MatMul'));
  expect(tensors.get('onnx::MatMul_1')?.isUnplaced).toBe(true);
  expect([...tensors.keys()]).not.toContain('a.dense.weight');
});

test('of two matrices of one module, the second belongs to none unless it is the same', () => {
  const different = tensorsOf(...product('onnx::MatMul_1', 'y'), ...product('onnx::MatMul_2', 'z'));
  expect(different.get('onnx::MatMul_2')?.isUnplaced).toBe(true);
  const same = tensorsOf(...product('onnx::MatMul_1', 'y'), ...product('onnx::MatMul_3', 'z'));
  expect([...same.values()].filter(({isUnplaced}) => isUnplaced)).toEqual([]);
});

test('a matrix that nodes scale and transpose is computed', () => {
  const tensors = tensorsOf(
    {op: 'Mul', inputs: ['onnx::MatMul_1', 'scale'], outputs: ['scaled']},
    {op: 'Transpose', inputs: ['scaled'], outputs: ['b.weight']},
  );
  const {shape, values} = tensors.get('b.weight')!;
  expect({shape, values: [...values()]}).toEqual({shape: [3, 2], values: [1, 4, 20, 50, 300, 600]});
});

test('a long chain of products is not computed', () => {
  const chain = Array.from({length: 60}, (_, i) => ({
    op: 'Mul',
    inputs: Array<string>(2).fill(i === 0 ? 'scale' : `m.${i - 1}`),
    outputs: [`m.${i}`],
  }));
  expect([...tensorsOf(...chain).keys()].filter(name => name.startsWith('m.'))).toEqual(['m.0', 'm.1', 'm.2', 'm.3']);
});

test('weights in Constant nodes are found like initializers', () => {
  const tensor = floats('', [2, 3], [1, 0, 0, 0, 1, 0]);
  const attributes = [[field(1, 'value'), field(5, tensor), field(20, 4)]];
  const tensors = tensorsOf(
    {op: 'Constant', inputs: [], outputs: ['c.dense.weight'], attributes},
    {op: 'Constant', inputs: [], outputs: ['/a/Constant_output_0'], attributes},
    ...product('/a/Constant_output_0', 'y'),
  );
  for (const name of ['c.dense.weight', 'a.dense.weight']) {
    expect([...tensors.get(name)!.values()]).toEqual([1, 0, 0, 0, 1, 0]);
  }
});
