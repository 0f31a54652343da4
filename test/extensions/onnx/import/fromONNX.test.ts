import {readFileSync} from 'node:fs';
import * as tf from '@tensorflow/tfjs';
import {applyLoRA, disposeModel, LoRAError, mergeLoRA, replaceHead} from '../../../../src/index';
import {OPERATIONS} from '../../../../src/extensions/onnx/lower/operations';
import {field, floatField} from '../../../../src/extensions/onnx/file/protobuf';
import {fromONNX, toONNX} from '../../../../src/onnx';
import {numbers, useBackend, withoutLeaks} from '../../../helpers';
import {bytesOf, readCases} from '../cases';
import {type FileEntries, floats, graph, int, integers, ints, onnxFile, text, value} from '../files';

beforeAll(() => useBackend('cpu'));

/** y = relu(x · w), with 3 values and 2 units. */
const PRODUCT: FileEntries = {
  nodes: [
    {op: 'MatMul', inputs: ['x', 'w'], outputs: ['m'], name: '/body/MatMul'},
    {op: 'Relu', inputs: ['m'], outputs: ['y'], name: '/body/Relu'},
  ],
  initializers: [floats('w', [3, 2], [1, 2, 3, 4, 5, 6])],
  inputs: [value('x', [null, 3])],
  outputs: [value('y', [null, 2])],
};

function outputOf(model: tf.LayersModel, x: tf.Tensor): number[] {
  return numbers(model.predict(x) as tf.Tensor);
}

test('a product and its activation become one Dense, named after the node', async () => {
  const model = await fromONNX(onnxFile(PRODUCT));
  expect(model.layers.map(layer => [layer.name, layer.getClassName()])).toEqual([
    ['x', 'InputLayer'],
    ['body/MatMul', 'Dense'],
  ]);
  expect(
    outputOf(
      model,
      tf.tensor2d([
        [1, 0, -1],
        [0, 1, 0],
      ]),
    ),
  ).toEqual([0, 0, 3, 4]);
});

test('takes bytes, a Blob, a Response, and promises of them', async () => {
  const file = onnxFile(PRODUCT);
  for (const source of [
    file,
    file.slice().buffer,
    new Blob([file as BlobPart]),
    Promise.resolve(new Response(file as BodyInit)),
  ]) {
    const model = await fromONNX(source);
    expect(model.outputs[0]!.shape).toEqual([null, 2]);
  }
});

test('a part is imported from a value to a value', async () => {
  const file = onnxFile(PRODUCT);
  const body = await fromONNX(file, {outputs: ['m']});
  expect(outputOf(body, tf.tensor2d([[1, 0, -1]]))).toEqual([-4, -4]);
  const tail = await fromONNX(file, {inputs: ['m'], inputShapes: {m: [2]}});
  expect(outputOf(tail, tf.tensor2d([[1, -1]]))).toEqual([1, 0]);
});

test('inputs and outputs keep the layout of the file where convolutions hold their channels last', async () => {
  // The mean of two channels, by a kernel of 1 × 1.
  const file = onnxFile({
    nodes: [{op: 'Conv', inputs: ['x', 'w'], outputs: ['y'], attributes: [ints('kernel_shape', [1, 1])]}],
    initializers: [floats('w', [1, 2, 1, 1], [0.5, 0.5])],
    inputs: [value('x', [null, 2, 1, 3])],
    outputs: [value('y', [null, 1, 1, 3])],
  });
  const model = await fromONNX(file);
  expect(model.inputs[0]!.shape).toEqual([null, 2, 1, 3]);
  expect(model.outputs[0]!.shape).toEqual([null, 1, 1, 3]);
  expect(outputOf(model, tf.tensor([1, 2, 3, 5, 6, 7], [1, 2, 1, 3]))).toEqual([3, 4, 5]);
});

test('a head that takes channels last is refused where the file gives them first', async () => {
  const file = onnxFile({
    nodes: [{op: 'Conv', inputs: ['x', 'w'], outputs: ['y'], name: 'conv'}],
    initializers: [floats('w', [2, 2, 1, 1], [1, 0, 0, 1])],
    inputs: [value('x', [null, 2, 3, 4])],
    outputs: [value('y', [null, 2, 3, 4])],
  });
  const body = await fromONNX(file);
  const last = body.layers.at(-1)!.name;
  const pool = () => tf.layers.globalAveragePooling2d({name: 'pool'});
  expect(() => replaceHead(body, [pool()], {after: last})).toThrow("{after: 'conv'}");
  const model = replaceHead(body, [pool()], {after: 'conv'});
  const turned = replaceHead(body, [tf.layers.permute({dims: [2, 3, 1], name: 'turned'}), pool()], {after: last});
  const x = tf.range(0, 24).reshape([1, 2, 3, 4]);
  expect(outputOf(model, x)).toEqual([5.5, 17.5]);
  expect(outputOf(turned, x)).toEqual([5.5, 17.5]);
});

test('a head on sequences that takes channels last is refused where the file gives them first', async () => {
  const file = onnxFile({
    nodes: [{op: 'Conv', inputs: ['x', 'w'], outputs: ['y'], name: 'conv'}],
    initializers: [floats('w', [2, 2, 1], [1, 0, 0, 1])],
    inputs: [value('x', [null, 2, 4])],
    outputs: [value('y', [null, 2, 4])],
  });
  const body = await fromONNX(file);
  const pool = () => tf.layers.globalAveragePooling1d({name: 'pool'});
  expect(() => replaceHead(body, [pool()], {after: body.layers.at(-1)!.name})).toThrow(/sequences[^]*{after: 'conv'}/);
  const model = replaceHead(body, [pool()], {after: 'conv'});
  expect(outputOf(model, tf.range(0, 8).reshape([1, 2, 4]))).toEqual([1.5, 5.5]);
});

test('a batch size that the file was made for is freed', async () => {
  const model = await fromONNX(onnxFile({...PRODUCT, inputs: [value('x', [1, 3])]}));
  expect(model.inputs[0]!.shape).toEqual([null, 3]);
  expect(outputOf(model, tf.ones([2, 3]))).toEqual([9, 12, 9, 12]);
});

test('two products with one matrix share their layer', async () => {
  const model = await fromONNX(
    onnxFile({
      ...PRODUCT,
      nodes: [
        {op: 'MatMul', inputs: ['x', 'w'], outputs: ['a']},
        {op: 'MatMul', inputs: ['x', 'w'], outputs: ['b']},
        {op: 'Mul', inputs: ['a', 'b'], outputs: ['y']},
      ],
    }),
  );
  expect(model.weights).toHaveLength(1);
  expect(outputOf(model, tf.tensor2d([[1, 0, 0]]))).toEqual([1, 4]);
});

describe('external data', () => {
  const place = (location: string) => [
    field(13, [field(1, 'location'), field(2, location)]),
    field(13, [field(1, 'offset'), field(2, '4')]),
    field(13, [field(1, 'length'), field(2, '24')]),
  ];
  const initializer = [field(1, 3), field(1, 2), field(2, 1), field(8, 'w'), ...place('model.onnx_data'), field(14, 1)];
  const file = onnxFile({...PRODUCT, initializers: [initializer]});

  test('are read from what is given for their names', async () => {
    const data = new Uint8Array(Float32Array.from([9, 1, 2, 3, 4, 5, 6]).buffer);
    const model = await fromONNX(file, {externalData: {'model.onnx_data': data}});
    expect(outputOf(model, tf.tensor2d([[1, 0, 0]]))).toEqual([1, 2]);
  });

  test('are asked for by name, and never fetched by the word of the file', async () => {
    await expect(fromONNX(file)).rejects.toThrow('{externalData: {"model.onnx_data": file}}');
  });

  test('are refused where the file is too short', async () => {
    await expect(fromONNX(file, {externalData: {'model.onnx_data': new Uint8Array(27)}})).rejects.toThrow(
      'tensor "w" should have 24 bytes from byte 4 of "model.onnx_data", which has 27',
    );
  });
});

describe('refuses, and leaves nothing behind', () => {
  const refused = async (entries: Partial<FileEntries>, options = {}): Promise<string> => {
    let message = '';
    await withoutLeaks(async () => {
      const error = await fromONNX(onnxFile({...PRODUCT, ...entries}), options).catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(LoRAError);
      message = (error as LoRAError).message;
    });
    return message;
  };

  test('operations that no layer computes, all of them, with the part that can be imported', async () => {
    const message = await refused({
      nodes: [
        {op: 'MatMul', inputs: ['x', 'w'], outputs: ['m'], name: 'first'},
        {op: 'NonMaxSuppression', inputs: ['m'], outputs: ['n'], name: 'boxes'},
        {op: 'Magic', domain: 'com.example', inputs: ['n'], outputs: ['y'], name: 'wand'},
      ],
    });
    expect(message).toContain('NonMaxSuppression "boxes": The operation is not supported.');
    expect(message).toContain('Magic "wand": The operation is of com.example, which is not supported.');
    expect(message).toContain("fromONNX(file, {outputs: ['first']})");
  });

  test.each([
    ['TopK', ['x', 'k'], 'largest', [field(3, 0)], 'returns the smallest values'],
    ['Selu', ['x'], 'gamma', [floatField(2, 2)], 'has another alpha or gamma than usual'],
    ['MatMul', ['x', 'w'], 'transA', [field(3, 1)], 'has transA, which is not supported'],
    ['Relu', ['x'], 'leak', [floatField(2, 0.5)], 'has leak, which is not supported'],
  ])('settings of operations, by name: %s', async (op, inputs, name, setting, reason) => {
    const message = await refused({
      nodes: [{op, inputs, outputs: ['y'], name: 'first', attributes: [[field(1, name), ...setting]]}],
      initializers: [...PRODUCT.initializers!, [field(1, 1), field(2, 7), field(8, 'k'), field(7, 1)]],
    });
    expect(message).toContain(`${op} "first": The node ${reason}`);
  });

  test.each([
    [
      'a node that takes what nothing gives',
      {nodes: [{op: 'Relu', inputs: ['z'], outputs: ['y']}]},
      'takes "z", which no node before it returns',
    ],
    ['two nodes that give one value', {nodes: [PRODUCT.nodes[0]!, PRODUCT.nodes[0]!]}, 'two nodes return "m"'],
    [
      'two initializers of one name',
      {initializers: [PRODUCT.initializers![0]!, PRODUCT.initializers![0]!]},
      'two initializers "w"',
    ],
    ['an opset that is too old', {opset: 6}, 'opset 6, where 7 to 25 are supported'],
    ['an output that nothing gives', {outputs: [value('z', [null])]}, 'no value "z"'],
  ])('%s', async (_, entries, message) => {
    expect(await refused(entries as Partial<FileEntries>)).toContain(message);
  });

  test.each([
    ['inputs that are not there', {inputs: ['q']}, 'no value "q"'],
    ['the same output twice', {outputs: ['m', 'm']}, 'outputs names "body/MatMul" twice'],
    ['shapes of what is no input', {inputShapes: {y: [2]}}, 'not among the inputs'],
    ['options that do not exist', {output: ['y']}, 'no option "output"'],
  ])('%s', async (_, options, message) => {
    expect(await refused({}, options)).toContain(message);
  });

  test('sizes that the plan tried and the file may not support', async () => {
    const file = onnxFile({
      nodes: [{op: 'Pad', inputs: ['x', 'p'], outputs: ['y'], attributes: [text('mode', 'reflect')]}],
      initializers: [integers('p', [6], [0, 0, 128, 0, 0, 0])],
      inputs: [value('x', [null, null, null])],
      outputs: [value('y', [null, null, null])],
    });
    const message = await fromONNX(file).catch(String);
    expect(message).toContain('"x" open, and was tried with 64, 64 and 96, 96, which it may not support.');
    expect(message).toContain("Pass the sizes that you use: {inputShapes: {'x': […, …]}}.");
    const model = await fromONNX(file, {inputShapes: {x: [4, 200]}});
    expect(model.outputs[0]!.shape).toEqual([null, 4, 328]);
  });

  test('what is no ONNX file', async () => {
    await expect(fromONNX(new TextEncoder().encode('<?'))).rejects.toThrow('The ONNX file is damaged');
    await expect(fromONNX(new Uint8Array())).rejects.toThrow('it has no graph');
  });
});

describe('docs/onnx.md', () => {
  const page = readFileSync('docs/onnx.md', 'utf8');

  test('names the operations that import, and each has a file that is compared with ONNX Runtime', () => {
    const lists = [.../## Operations[^]*/.exec(page)![0].matchAll(/\n\n(`\w+`[^]*?\.)\n\n/g)].map(([, list]) =>
      [...list!.matchAll(/`(\w+)`/g)].map(([, name]) => name!),
    );
    expect(lists).toEqual(['', 'com.microsoft'].map(domain => Object.keys(OPERATIONS[domain]!).sort()));
    const tested = readCases('operations').map(each => new TextDecoder('latin1').decode(bytesOf(each)));
    expect(
      lists.flat().filter(name => !tested.some(file => file.includes(`"${String.fromCharCode(name.length)}${name}`))),
    ).toEqual([]);
  });
});

describe('constant inputs', () => {
  const nodes = [
    {op: 'MatMul', inputs: ['x', 'w'], outputs: ['m'], name: 'body'},
    {op: 'Mul', inputs: ['m', 'scale'], outputs: ['y'], name: 'scaled'},
  ];
  const file = onnxFile({...PRODUCT, nodes, inputs: [value('x', [null, 3]), value('scale', [null, 2])]});

  test('become constants, also when the model is written', async () => {
    const model = await fromONNX(file, {constantInputs: {scale: 2}});
    expect(model.inputs).toHaveLength(1);
    // The key in saved models.
    expect(model.getUserDefinedMetadata()).toEqual({tfjsLoRAONNX: {inputValues: {scale: 2}}});
    expect(outputOf(model, tf.tensor2d([[1, 0, -1]]))).toEqual([-8, -8]);
    const [weight] = model.layers[1]!.getWeights();
    model.layers[1]!.setWeights([tf.mul(weight!, 2)]);
    const again = await fromONNX(await toONNX(model, file), {constantInputs: {scale: 1}});
    expect(outputOf(again, tf.tensor2d([[1, 0, -1]]))).toEqual([-8, -8]);
  });

  test('are refused where there is no such input, or no number', async () => {
    await expect(fromONNX(file, {constantInputs: {z: 0}})).rejects.toThrow(
      'constantInputs names "z", which is not an input. The file has x, scale.',
    );
    await expect(fromONNX(file, {constantInputs: {scale: '1' as unknown as number}})).rejects.toThrow(
      'The value of "scale" must be a number.',
    );
  });
});

describe('a product with a matrix of 4 bits', () => {
  const kindsOf = async (name: string) => {
    const model = await fromONNX(bytesOf(readCases('operations').find(each => each.name === name)!));
    const kinds = model.layers.map(layer => layer.getClassName());
    return {model, kinds};
  };

  test('stays in blocks where a format holds it exactly, adapts, and merges to float32', async () => {
    const {model, kinds} = await kindsOf('MatMulNBits');
    expect(kinds).toContain('tfjs-lora/quantized>QuantizedDense');
    const adapted = applyLoRA(model, {rank: 2, seed: 1});
    const merged = mergeLoRA(adapted);
    expect(merged.layers.map(layer => layer.getClassName())).toContain('Dense');
    const x = tf.randomNormal([1, 2, 64], 0, 1, 'float32', 1);
    expect(outputOf(merged, x)).toBeAllClose(outputOf(model, x), {rtol: 1e-5, atol: 1e-5});
  });

  test('becomes float32 where its scales are no float16', async () => {
    const {kinds} = await kindsOf('MatMulNBits with scales of float32');
    expect(kinds).toContain('Dense');
  });
});

describe('an If', () => {
  const branch = (op: string) => [
    field(1, [field(1, 'x'), field(1, 'w'), field(2, 'z'), field(4, op)]),
    field(2, op),
    field(12, value('z', [null, 2])),
  ];
  const nodes = [
    {
      op: 'If',
      inputs: ['c'],
      outputs: ['y'],
      name: 'choice',
      attributes: [graph('then_branch', branch('MatMul')), graph('else_branch', branch('Magic'))],
    },
  ];
  const file = onnxFile({...PRODUCT, nodes, inputs: [value('x', [null, 3]), value('c', [], 9)]});

  test('is imported as the branch that a constant takes', async () => {
    const model = await fromONNX(file, {constantInputs: {c: 1}});
    expect(outputOf(model, tf.tensor2d([[1, 0, -1]]))).toEqual([-4, -4]);
    disposeModel(model);
    await expect(fromONNX(file, {constantInputs: {c: 0}})).rejects.toThrow(
      'Magic "choice/else/z": The operation is not',
    );
  });

  test('is refused by name where the model decides', async () => {
    await expect(fromONNX(file)).rejects.toThrow('If "choice": The node decides at run time what is computed');
  });
});

test('pads of a stride become those of a layer where TensorFlow would choose the same', async () => {
  const imported = (op: string, pads: number[], attributes: Uint8Array[][] = []) =>
    fromONNX(
      onnxFile({
        nodes: [
          {
            op,
            inputs: ['x', ...(op === 'Conv' ? ['w'] : [])],
            outputs: ['y'],
            attributes: [ints('kernel_shape', [3, 3]), ints('strides', [2, 2]), ints('pads', pads), ...attributes],
          },
        ],
        initializers: op === 'Conv' ? [floats('w', [1, 1, 3, 3], new Array<number>(9).fill(1))] : [],
        inputs: [value('x', [null, 1, 4, 4])],
        outputs: [value('y', [null, 1, 2, 2])],
      }),
    );
  const x = tf.range(1, 17).reshape([1, 1, 4, 4]);
  const counting = [field(1, 'count_include_pad'), field(3, 1), field(20, 2)];
  for (const [model, expected, isPadded] of [
    [await imported('Conv', [0, 0, 1, 1]), [54, 45, 72, 54], false],
    [await imported('Conv', [1, 1, 0, 0]), [14, 30, 57, 99], true],
    [await imported('AveragePool', [0, 0, 1, 1]), [6, 7.5, 12, 13.5], false],
    [await imported('AveragePool', [0, 0, 1, 1], [counting]), [6, 5, 8, 6], true],
  ] as const) {
    expect(outputOf(model, x)).toEqual(expected);
    expect(model.layers.some(layer => layer.getClassName() === 'ZeroPadding2D')).toBe(isPadded);
  }
});

test('sizes of a concatenation that differ for some of the open sizes are named, with the option that fixes them', async () => {
  // The height of a pooled image is half of that of the input, and 32 in a constant.
  const file = onnxFile({
    nodes: [
      {
        op: 'MaxPool',
        inputs: ['x'],
        outputs: ['p'],
        attributes: [ints('kernel_shape', [2, 2]), ints('strides', [2, 2])],
      },
      {op: 'MaxPool', inputs: ['z'], outputs: ['q'], attributes: [ints('kernel_shape', [1, 1])]},
      {op: 'Concat', inputs: ['p', 'q'], outputs: ['y'], name: 'joined', attributes: [int('axis', 1)]},
    ],
    inputs: [value('x', [null, 2, null, 4]), value('z', [null, 3, 32, 2])],
    outputs: [value('y', [null, 5, 32, 2])],
  });
  await expect(fromONNX(file)).rejects.toThrow(
    /joined[^]*Pass the sizes that you use: {inputShapes: {'x': \[2, …, 4\]}}/,
  );
  const model = await fromONNX(file, {inputShapes: {x: [2, 64, 4]}});
  expect(model.outputs[0]!.shape).toEqual([null, 5, 32, 2]);
});

test('an input of one axis has a second one, and takes lists as predict, fit and apply give them', async () => {
  const file = onnxFile({
    nodes: [{op: 'Relu', inputs: ['x'], outputs: ['y']}],
    inputs: [value('x', [null])],
    outputs: [value('y', [null])],
  });
  const model = await fromONNX(file);
  expect(model.inputs[0]!.shape).toEqual([null, 1]);
  const list = tf.tensor1d([-1, 2, 3]);
  for (const y of [model.predict(list), model.predict(list.reshape([3, 1])), model.apply(list)] as tf.Tensor[]) {
    expect([y.shape, numbers(y)]).toEqual([[3], [0, 2, 3]]);
  }
});

test('an input that does not compute each example by itself says how it is passed', async () => {
  const state = {
    nodes: [
      {op: 'Transpose', inputs: ['h'], outputs: ['t'], attributes: [ints('perm', [1, 0, 2])]},
      {op: 'Sub', inputs: ['x', 't'], outputs: ['y']},
    ],
    inputs: [value('x', [1, 2, 3]), value('h', [2, 1, 3])],
    outputs: [value('y', [1, 2, 3])],
  };
  const model = await fromONNX(onnxFile(state));
  const [x, h] = [tf.ones([1, 2, 3]), tf.range(0, 6).reshape([2, 1, 3])];
  expect(numbers(model.apply([x, h]) as tf.Tensor)).toEqual([1, 0, -1, -2, -3, -4]);
  expect(() => model.predict([tf.ones([2, 2, 3]), h])).toThrow('are passed by model.apply([…])');
  disposeModel(model);
  const still = await fromONNX(onnxFile(state), {constantInputs: {h: 0}});
  expect(numbers(still.predict(x) as tf.Tensor)).toEqual([1, 1, 1, 1, 1, 1]);
});

test('a matrix that is multiplied by a dynamic axis is refused by name', async () => {
  const file = onnxFile({
    nodes: [{op: 'Gemm', inputs: ['x', 'w'], outputs: ['y'], name: 'product', attributes: [int('transA', 1)]}],
    initializers: [floats('w', [4, 2], [1, 2, 3, 4, 5, 6, 7, 8])],
    inputs: [value('x', [null, 3])],
    outputs: [value('y', [3, 2])],
  });
  await expect(fromONNX(file)).rejects.toThrow(
    'Gemm "product": The node multiplies its matrix by an axis of dynamic size',
  );
});

test('a row of a tensor of five axes is normalized, which the layer of tfjs does not do', async () => {
  const model = await fromONNX(
    onnxFile({
      nodes: [{op: 'LayerNormalization', inputs: ['x', 'g', 'b'], outputs: ['y']}],
      initializers: [floats('g', [2], [1, 2]), floats('b', [2], [0, 5])],
      inputs: [value('x', [null, 1, 1, 1, 2])],
      outputs: [value('y', [null, 1, 1, 1, 2])],
    }),
  );
  // The mean is 2, and the deviation 1.
  expect(outputOf(model, tf.tensor([1, 3], [1, 1, 1, 1, 2]))).toBeAllClose([-1, 7], {rtol: 0, atol: 1e-4});
});
