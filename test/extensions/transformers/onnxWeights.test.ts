import * as tf from '@tensorflow/tfjs';
import {applyLoRA, disposeModel} from '../../../src/index';
import {loadTransformer} from '../../../src/transformers';
import {field} from '../../../src/extensions/onnx/file/protobuf';
import {numbers, useBackend, withoutLeaks} from '../../helpers';
import {floats, onnxFile, value} from '../onnx/files';
import {TRANSFORMERS} from '../onnx/transformers';

beforeAll(() => useBackend('cpu'));

test.each(TRANSFORMERS)(
  '$name: an ONNX file has the weights of the hub',
  async ({config, file, ids, shape, values}) => {
    await withoutLeaks(async () => {
      const {model} = await loadTransformer({config, weights: file, tokenizer: false});
      const x = [tf.tensor2d(ids, undefined, 'int32'), tf.ones([ids.length, ids[0]!.length], 'int32')];
      const y = model.predict(x) as tf.Tensor;
      expect(y.shape).toEqual(shape);
      expect(numbers(y)).toBeAllClose(values, {rtol: 0, atol: 1e-5 * Math.max(...values.map(Math.abs))});
      tf.dispose([x, y]);
      disposeModel(model);
    });
  },
);

test('adapters of PEFT fit: layers have the names of the hub', async () => {
  const {config, file} = TRANSFORMERS[0]!;
  const {model} = await loadTransformer({config, weights: new Blob([file.slice()]), tokenizer: false});
  const adapted = applyLoRA(model, {rank: 2, targets: [/attention\/self\/(query|value)$/]});
  expect(adapted.layers.filter(({name}) => name.endsWith('query')).map(({name}) => name)).toEqual([
    'bert/encoder/layer/0/attention/self/query',
  ]);
});

const load = (weights: Uint8Array) => loadTransformer({config: TRANSFORMERS[0]!.config, weights, tokenizer: false});

test('a file that lacks weights, or has a matrix of no module, is refused with a line for each', async () => {
  const weights = onnxFile({
    nodes: [{op: 'MatMul', inputs: ['x', 'onnx::MatMul_9'], outputs: ['y']}],
    initializers: [floats('onnx::MatMul_9', [8, 8], Array<number>(64).fill(0))],
    inputs: [value('x', [null, 8])],
    outputs: [value('y', [null, 8])],
  });
  await expect(load(weights)).rejects.toThrow(
    /onnx::MatMul_9: no weight of the model[^]*query.weight: not in the files/,
  );
});

test('a file whose tensors are elsewhere is refused', async () => {
  const external = [
    field(1, 4),
    field(2, 1),
    field(8, 'a.weight'),
    field(13, [field(1, 'location'), field(2, 'b')]),
    field(14, 1),
  ];
  const weights = onnxFile({nodes: [], initializers: [external], inputs: [], outputs: []});
  await expect(load(weights)).rejects.toMatchObject({code: 'ERR_UNSUPPORTED'});
});

test('hostile names are refused as names that the model does not have', async () => {
  const names = ['__proto__.weight', 'constructor.bias', '.weight', '..bias', `${'a.'.repeat(100_000)}weight`];
  // As many prefixes as there are tensors.
  const prefixed = Array.from({length: 300}, (_, i) => [`p${i}.embeddings.LayerNorm.bias`, `q${i}.weight`]).flat();
  const initializers = [...names, ...prefixed].map(name => floats(name, [1], [0]));
  const weights = onnxFile({nodes: [], initializers, inputs: [], outputs: []});
  await withoutLeaks(async () => {
    await expect(load(weights)).rejects.toMatchObject({code: 'ERR_MISFIT'});
  });
});
