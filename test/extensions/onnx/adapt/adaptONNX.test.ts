import * as tf from '@tensorflow/tfjs';
import {applyLoRA, disposeModel, getAdapter} from '../../../../src/index';
import {adaptONNX, type AdaptONNXOptions, fromONNX, toONNX} from '../../../../src/onnx';
import {field} from '../../../../src/extensions/onnx/file/protobuf';
import {spliceOnnx} from '../../../../src/extensions/onnx/export/spliceOnnx';
import {readOnnx} from '../../../../src/extensions/onnx/file/readOnnx';
import {encodeSafetensors, type NamedValues} from '../../../../src/platform/formats/encodeSafetensors';
import {fromFloat16} from '../../../../src/platform/formats/halfFloats';
import {numbers, useBackend} from '../../../helpers';
import {stirFactors} from '../../../models';
import {bytesOf, predicted, readCases} from '../cases';
import {type FileEntries, floats, graph, type NodeEntry, onnxFile, value} from '../files';

beforeAll(() => useBackend('cpu'));

/** Numbers that differ from each other, and are no multiples of a power of two. */
const ramp = (count: number, first: number) =>
  Array.from({length: count}, (_, i) => (first + 3 * i) / 7 - i * i * 0.01);

/** The sizes of a module's update. */
type Size = [fanIn: number, rank: number, fanOut: number];

interface Adapter {
  config: Record<string, unknown>;
  weights: Uint8Array<ArrayBuffer>;
}

/** A PEFT adapter of modules, whose alpha is twice the rank of the first. */
function peft(modules: Record<string, Size>, fields = {}): Adapter {
  const tensors: Record<string, NamedValues> = {};
  Object.entries(modules).forEach(([path, [fanIn, rank, fanOut]], i) => {
    const name = `base_model.model.${path}`;
    tensors[`${name}.lora_A.weight`] = {shape: [rank, fanIn], data: Float32Array.from(ramp(rank * fanIn, i))};
    tensors[`${name}.lora_B.weight`] = {shape: [fanOut, rank], data: Float32Array.from(ramp(fanOut * rank, 2 - i))};
  });
  const rank = Object.values(modules)[0]![1];
  const config = {peft_type: 'LORA', r: rank, lora_alpha: 2 * rank, target_modules: Object.keys(modules), ...fields};
  return {config, weights: encodeSafetensors(tensors)};
}

/** `2·B·A·x`, by the tensors of `peft`, for the module at an index. */
function update(x: readonly number[], [fanIn, rank, fanOut]: Size, index: number): number[] {
  const [a, b] = [ramp(rank * fanIn, index), ramp(fanOut * rank, 2 - index)].map(list => list.map(Math.fround));
  return Array.from({length: fanOut}, (_, i) =>
    Array.from({length: rank}, (_, k) => {
      const inner = x.reduce((sum, value, j) => sum + value * a![k * fanIn + j]!, 0);
      return 2 * b![i * rank + k]! * inner;
    }).reduce((sum, value) => sum + value, 0),
  );
}

const X = [0.5, -1, 2];
const matMul = (name: string, input: string, weight: string, output: string): NodeEntry => ({
  op: 'MatMul',
  name,
  inputs: [input, weight],
  outputs: [output],
});

/** A file of products of `x`, `[3]` → the width of each, whose matrices are zero, so that outputs are updates alone. */
function fileOf(products: Record<string, number>, entries: Partial<FileEntries> = {}): Uint8Array {
  const named = Object.entries(products);
  return onnxFile({
    nodes: named.map(([name], i) => matMul(name, 'x', `w${i}`, `y${i}`)),
    initializers: named.map(([, width], i) => floats(`w${i}`, [3, width], new Array<number>(3 * width).fill(0))),
    inputs: [value('x', [null, 3])],
    outputs: named.map(([, width], i) => value(`y${i}`, [null, width])),
    ...entries,
  });
}

/** What an adapted file computes for `X`, by its values outside of the graph. */
async function outputs(file: Uint8Array, adapter: Adapter, options: AdaptONNXOptions = {}) {
  const adapted = await adaptONNX(file, adapter, {mode: 'data', ...options});
  const model = await fromONNX(adapted.file, {externalData: {'adapter.onnx_data': adapted.data}});
  const results = [model.predict(tf.tensor2d([X]))].flat().map(numbers);
  disposeModel(model);
  return results;
}

const close = (values: readonly number[]) => values.map(each => expect.closeTo(each, 4) as number);

describe('the products of a file are found by the names of', () => {
  const [path, size]: [string, Size] = ['model.layers.0.self_attn.q_proj', [3, 2, 4]];

  test.each([
    ['optimum', '/model/layers.0/self_attn/q_proj/MatMul'],
    ['optimum, in 4 bits', '/model/layers.0/self_attn/q_proj/MatMul_Q4'],
    ["the model builder, whose attention is called 'attn'", '/model/layers.0/attn/q_proj/MatMul'],
    ['a file with a prefix', '/base/model/layers.0/self_attn/q_proj/Gemm_token_0'],
    ['a file without the first part', '/layers.0/self_attn/q_proj/MatMul'],
  ])('%s', async (_, name) => {
    expect(
      await outputs(fileOf({[name]: 4, '/model/layers.1/self_attn/q_proj/MatMul': 4}), peft({[path]: size})),
    ).toEqual([close(update(X, size, 0)), [0, 0, 0, 0]]);
  });

  test("torch's exporter, in the metadata of nodes", async () => {
    const file = fileOf({node_linear_5: 4});
    const scopes = `['', 'model', 'model.layers.0.self_attn', '${path}', 'linear_5']`;
    const node = field(1, [
      ...[field(1, 'x'), field(1, 'w0'), field(2, 'y0'), field(3, 'node_linear_5'), field(4, 'MatMul')],
      field(9, [field(1, 'pkg.torch.onnx.name_scopes'), field(2, scopes)]),
    ]);
    const noted = await spliceOnnx(file, {replaced: new Map([[0, {nodes: [node]}]])});
    expect(await outputs(noted, peft({[path]: size}))).toEqual([close(update(X, size, 0))]);
  });

  test('its matrix', async () => {
    const file = fileOf(
      {},
      {
        nodes: [matMul('', 'x', `${path}.weight`, 'y')],
        initializers: [floats(`${path}.weight`, [3, 4], new Array<number>(12).fill(0))],
        outputs: [value('y', [null, 4])],
      },
    );
    expect(await outputs(file, peft({[path]: size}))).toEqual([close(update(X, size, 0))]);
  });
});

test('a product that joins q, k and v takes the update of each at its outputs', async () => {
  const attention = (module: string) => `model.layers.0.self_attn.${module}`;
  const file = fileOf({'/model/layers.0/attn/qkv_proj/MatMul': 8, '/model/layers.0/mlp/gate_up_proj/MatMul': 4});
  const [q, v, up]: Size[] = [[3, 2, 4], [3, 2, 2], [3, 2, 2]]; // prettier-ignore
  const adapter = peft({[attention('q_proj')]: q!, [attention('v_proj')]: v!, 'model.layers.0.mlp.up_proj': up!});
  expect(await outputs(file, adapter)).toEqual([
    close([...update(X, q!, 0), 0, 0, ...update(X, v!, 1)]),
    close([0, 0, ...update(X, up!, 2)]),
  ]);
});

test('products that split a joined module take the rows of its update', async () => {
  const file = fileOf({'/m/gate_proj/MatMul': 2, '/m/up_proj/MatMul': 3});
  const whole = update(X, [3, 2, 5], 0);
  expect(await outputs(file, peft({'m.gate_up_proj': [3, 2, 5]}))).toEqual([
    close(whole.slice(0, 2)),
    close(whole.slice(2)),
  ]);
});

test('the strengths of PEFT count: rsLoRA, and patterns of ranks and alphas', async () => {
  const file = fileOf({'/a/MatMul': 2, '/b/MatMul': 2});
  const modules: Record<string, Size> = {a: [3, 2, 2], b: [3, 4, 2]};
  const adapter = peft(modules, {rank_pattern: {b: 4}, alpha_pattern: {b: 6}, use_rslora: true});
  const scaled = (index: number, scale: number) =>
    update(X, Object.values(modules)[index]!, index).map(each => (each / 2) * scale);
  expect(await outputs(file, adapter)).toEqual([close(scaled(0, 4 / Math.sqrt(2))), close(scaled(1, 3))]);
});

const OPERATIONS = new Map(readCases('operations').map(each => [each.name, each]));

test.each(['DequantizeLinear', 'MatMulInteger', 'MatMulNBits', 'MatMulNBits with scales of float32', 'Gemm'])(
  '%s: the adapted file computes what the adapted model does, and with zeros the bits of the file before',
  async name => {
    const onnxCase = OPERATIONS.get(name)!;
    const file = bytesOf(onnxCase);
    const base = await fromONNX(file);
    const model = applyLoRA(base, {rank: 1, alpha: 3, seed: 1});
    const outputsWith = async () => {
      const adapter = getAdapter(model);
      const {file: adapted, data} = await adaptONNX(file, adapter, {mode: 'data', dataFile: 'lora.bin'});
      const again = await fromONNX(adapted, {externalData: {'lora.bin': data}});
      const values = numbers(predicted(again, onnxCase)[0]!);
      adapter.dispose();
      disposeModel(again);
      return values;
    };
    expect(await outputsWith()).toEqual(numbers(predicted(base, onnxCase)[0]!));
    stirFactors(model);
    const expected = numbers(predicted(model, onnxCase)[0]!);
    expect(await outputsWith()).toBeAllClose(expected, {rtol: 0, atol: 1e-5 * Math.max(...expected.map(Math.abs))});
    [model, base].forEach(disposeModel);
  },
);

describe("with {mode: 'inputs'}", () => {
  const file = fileOf({'/a/MatMul': 2, '/b/MatMul': 4});
  const onlyA = peft({a: [3, 2, 2]});
  const both = peft({a: [3, 1, 2], b: [3, 1, 4]});

  test('the factors are inputs of an open rank, and their values are returned', async () => {
    const {file: adapted, inputs, data} = await adaptONNX(file, onlyA);
    expect(data).toHaveLength(0);
    expect(readOnnx(adapted).graph.inputs.slice(1)).toEqual([
      {name: 'a.lora_A', type: 1, shape: [3, 'a.rank']},
      {name: 'a.lora_B', type: 1, shape: ['a.rank', 2]},
    ]);
    const [a, b] = [ramp(6, 0), ramp(4, 2)];
    expect(inputs).toEqual({
      'a.lora_A': {type: 'float32', dims: [3, 2], data: Float32Array.of(a[0]!, a[3]!, a[1]!, a[4]!, a[2]!, a[5]!)},
      'a.lora_B': {
        type: 'float32',
        dims: [2, 2],
        data: Float32Array.of(b[0]!, b[2]!, b[1]!, b[3]!).map(each => 2 * each),
      },
    });
  });

  test('a file that is adapted takes another adapter, and new inputs only for new modules', async () => {
    const first = await adaptONNX(file, onlyA);
    const again = await adaptONNX(first.file, onlyA);
    expect(again).toEqual(first);
    const second = await adaptONNX(first.file, both);
    expect(Object.keys(second.inputs)).toEqual(['a.lora_A', 'a.lora_B', 'b.lora_A', 'b.lora_B']);
    expect(readOnnx(second.file).graph.inputs.map(({name}) => name)).toEqual(['x', ...Object.keys(second.inputs)]);
    const together = readOnnx((await adaptONNX(file, both)).file).graph.nodes.map(({inputs}) => inputs);
    expect(readOnnx(second.file).graph.nodes.map(({inputs}) => inputs)).toEqual(together);
  });

  test('a product of 16 bits gets factors of 16 bits', async () => {
    const zeros = [field(1, 3), field(1, 2), field(2, 10), field(8, 'w0'), field(9, new Uint8Array(12))];
    const half = fileOf({'/a/MatMul': 2}, {initializers: [zeros], inputs: [value('x', [null, 3], 10)]});
    const {inputs} = await adaptONNX(half, peft({a: [3, 1, 2]}));
    const {data: a} = (await adaptONNX(file, peft({a: [3, 1, 2]}))).inputs['a.lora_A']!;
    const bits = Array.from(inputs['a.lora_A']!.data);
    expect(inputs['a.lora_A']!.type).toBe('float16');
    expect(bits.map(fromFloat16)).toEqual(Array.from(a).map(each => expect.closeTo(each, 3) as number));
  });
});

test('products in the branches of an If take the same factors', async () => {
  const branch = [
    field(1, [field(1, 'x'), field(1, 'w0'), field(2, 'z'), field(3, '/a/MatMul'), field(4, 'MatMul')]),
    field(2, 'branch'),
    field(12, value('z', [null, 2])),
  ];
  const choice: NodeEntry = {
    ...{op: 'If', name: 'choice', inputs: ['c'], outputs: ['y']},
    attributes: [graph('then_branch', branch), graph('else_branch', branch)],
  };
  const file = fileOf(
    {'/a/MatMul': 2},
    {
      nodes: [choice],
      inputs: [value('x', [null, 3]), value('c', [], 9)],
      outputs: [value('y', [null, 2])],
    },
  );
  const {file: adapted, data} = await adaptONNX(file, peft({a: [3, 2, 2]}), {mode: 'data'});
  for (const c of [0, 1]) {
    const externalData = {'adapter.onnx_data': data};
    const model = await fromONNX(adapted, {externalData, constantInputs: {c}});
    expect(numbers(model.predict(tf.tensor2d([X])) as tf.Tensor)).toEqual(close(update(X, [3, 2, 2], 0)));
    disposeModel(model);
  }
});

describe('an adapter is refused by name', () => {
  const file = fileOf({'/model/a/MatMul': 2, '/model/b/MatMul': 4});
  const expectError = async (adapter: Adapter, message: string, options: AdaptONNXOptions = {}, source = file) =>
    expect(adaptONNX(source, adapter, options)).rejects.toThrow(message);

  test('if the file has no product for a module: both are listed', async () => {
    await expectError(
      peft({a: [3, 1, 2], 'model.layers.3.fc': [3, 1, 2]}),
      "The file has no product for 1 of the adapter's 2 modules: model.layers.3.fc. Its products are model.a, model.b.",
    );
  });

  test.each<Size>([
    [4, 1, 2],
    [3, 1, 1],
    [3, 1, 3],
  ])('if a product is of another size than %i → %i', async (...size) => {
    const [fanIn, , fanOut] = size;
    await expectError(
      peft({'model.a': size}),
      `model.a computes 3 → 2, and the adapter's module model.a ${fanIn} → ${fanOut}. Is the file of another model?`,
    );
  });

  test('if two of its modules fit the same product, unless a prefix tells them apart', async () => {
    const rank = {rank_pattern: {'decoder.model.a': 2}};
    const twice = peft({'encoder.model.a': [3, 1, 2], 'decoder.model.a': [3, 2, 2]}, rank);
    await expectError(twice, 'decoder.model.a and encoder.model.a both fit model.a.');
    expect((await outputs(file, twice, {prefix: 'encoder'}))[0]).toEqual(close(update(X, [3, 1, 2], 0)));
    await expectError(twice, 'No module of the adapter is under the path "vision".', {prefix: 'vision'});
  });

  test('if it is not made of products alone', async () => {
    await expectError(peft({'model.a': [3, 1, 2]}, {use_dora: true}), 'no magnitude');
    const {config} = peft({'model.a': [3, 1, 2]}, {modules_to_save: ['a']});
    const weights = encodeSafetensors({'base_model.model.model.a.weight': {shape: [2, 3], data: new Float32Array(6)}});
    await expectError(
      {config, weights},
      'model.a: it is saved whole. Merge it, or load it with loadAdapter and convert it with convertToLoRA.',
    );
    const base = tf.sequential({layers: [tf.layers.dense({units: 2, inputShape: [3], name: 'a'})]});
    const ofMethod = getAdapter(applyLoRA(base, {method: 'ia3'}));
    await expect(adaptONNX(file, ofMethod)).rejects.toThrow('a: its method ia3 is no product.');
  });

  test('if the file has another one in its data', async () => {
    const adapter = peft({a: [3, 1, 2]});
    const once = await adaptONNX(file, adapter, {mode: 'data'});
    await expectError(adapter, 'The file has an adapter already, model.a.lora_A.', {}, once.file);
  });

  test('if the product is a custom operator, whose other nodes stay as they are', async () => {
    const custom = {...matMul('/model/a/MatMul', 'x', 'w0', 'z'), domain: 'acme'};
    const source = fileOf(
      {'/model/b/MatMul': 2},
      {nodes: [custom, matMul('/model/b/MatMul', 'x', 'w0', 'y')], outputs: [value('y', [null, 2])]},
    );
    await expectError(peft({a: [3, 1, 2]}), 'Its products are model.b.', {}, source);
    const {file: adapted} = await adaptONNX(source, peft({b: [3, 1, 2]}));
    expect(readOnnx(adapted).graph.nodes[0]).toEqual(readOnnx(source).graph.nodes[0]);
  });

  test('if the file has 2 GB, before it is read', async () => {
    const large = Object.defineProperty(new Blob(), 'size', {value: 2 ** 31});
    const stream = jest.spyOn(large, 'stream');
    await expect(adaptONNX(large, peft({a: [3, 1, 2]}))).rejects.toMatchObject({code: 'ERR_TOO_LARGE'});
    expect(stream).not.toHaveBeenCalled();
  });

  test('if an option, or the file, is none', async () => {
    const adapter = peft({a: [3, 1, 2]});
    await expectError(adapter, "mode must be 'inputs' or 'data', got \"beside\".", {mode: 'beside' as 'data'});
    await expectError(adapter, "for {mode: 'data'}", {dataFile: 'x'});
    await expectError(adapter, 'dataFile must be the name of a file', {mode: 'data', dataFile: '../x'});
    await expectError(adapter, 'prefix must be the path of a module', {prefix: ''});
    await expectError(adapter, 'The ONNX file is damaged', {}, file.subarray(0, 40));
  });
});

test('a model that toONNX wrote takes the adapter of the model, by the names of its layers', async () => {
  const base = tf.sequential({
    layers: [tf.layers.dense({units: 4, inputShape: [3], name: 'a'}), tf.layers.dense({units: 2, name: 'b'})],
  });
  const model = applyLoRA(base, {rank: 2, seed: 1});
  stirFactors(model);
  const x = tf.tensor2d([X]);
  const expected = numbers(model.predict(x) as tf.Tensor);
  const adapter = getAdapter(model);
  const {file, data} = await adaptONNX(await toONNX(base), adapter, {mode: 'data'});
  const again = await fromONNX(file, {externalData: {'adapter.onnx_data': data}});
  expect(numbers(again.predict(x) as tf.Tensor)).toBeAllClose(expected, {rtol: 1e-5, atol: 1e-6});
});

test.each(['__proto__', 'constructor', 'toString'])('a module may be called %s', async name => {
  const file = fileOf({[`/model/${name}/MatMul`]: 2});
  const [y] = await outputs(file, peft({[`model.${name}`]: [3, 1, 2]}));
  expect(y).toEqual(close(update(X, [3, 1, 2], 0)));
});
