import * as tf from '@tensorflow/tfjs';
import {fromONNX} from '../../../../src/onnx';
import {field} from '../../../../src/extensions/onnx/file/protobuf';
import {Planner} from '../../../../src/extensions/graph/import/planner';
import {useBackend, withoutLeaks} from '../../../helpers';
import {type FileEntries, floats, int, integers, ints, type Message, onnxFile, text, value} from '../files';

beforeAll(() => useBackend('cpu'));

/** What an import may compute with at most: values that kernels read or write, and bytes that it holds at once. */
const MAX_WORK = 2 ** 25;
const MAX_BYTES = 2 ** 27;

/** The error of importing a file, or the model. Either way it computes little, and leaves nothing. */
async function tried(file: Uint8Array): Promise<string> {
  let message = '';
  const {kernels, peakBytes} = await tf.profile(async () => {
    message = await fromONNX(file).then(model => {
      model.dispose();
      return 'imported';
    }, String);
  });
  const shapes = kernels.flatMap(({inputShapes, outputShapes}) => [...inputShapes, ...outputShapes]);
  expect(shapes.reduce((sum, shape) => sum + tf.util.sizeFromShape(shape), 0)).toBeLessThan(MAX_WORK);
  expect(peakBytes).toBeLessThan(MAX_BYTES);
  return message;
}

/** What a node takes beside `x`: an initializer, or an input that is left out. */
type Extra = ((name: string) => Message) | undefined;

const numbers =
  (...values: number[]): Extra =>
  name =>
    integers(name, [values.length], values);
const single =
  (value: number): Extra =>
  name =>
    integers(name, [], [value]);
const ones =
  (...shape: number[]): Extra =>
  name =>
    floats(name, shape, new Array<number>(shape.reduce((product, size) => product * size, 1)).fill(1));
const values =
  (...list: number[]): Extra =>
  name =>
    floats(name, [list.length], list);

/** A file of one node. Without a shape of `x`, the node has constants alone, and is added to an input. */
function node(
  op: string,
  x: (number | null)[] | undefined,
  {attributes = [], extra = [], opset = 18}: {attributes?: Message[]; extra?: Extra[]; opset?: number} = {},
): FileEntries {
  const names = extra.map((each, i) => (each === undefined ? '' : `c${i}`));
  const isFlow = x !== undefined;
  return {
    nodes: [
      {op, name: 'n', inputs: [...(isFlow ? ['x'] : []), ...names], outputs: [isFlow ? 'y' : 'c'], attributes},
      ...(isFlow
        ? []
        : [
            {op: 'Cast', inputs: ['c'], outputs: ['f'], attributes: [int('to', 1)]},
            {op: 'ReduceSum', inputs: ['f'], outputs: ['s']},
            {op: 'Add', inputs: ['x', 's'], outputs: ['y']},
          ]),
    ],
    initializers: extra.flatMap((each, i) => (each === undefined ? [] : [each(`c${i}`)])),
    inputs: [value('x', x ?? [null, 4])],
    outputs: [value('y', [null])],
    opset,
  };
}

const LARGE = 30_000;
const times = (count: number, size: number) => new Array<number>(count).fill(size);
const below = (count: number) => Array.from({length: count}, (_, i) => i);
const pool = (op: string, size: number) =>
  node(op, [null, 1, 8, 8], {attributes: [ints('kernel_shape', [size, size]), ints('pads', times(4, size - 1))]});
const axes = [ints('axes', below(3000))];

test.each<[what: string, entries: FileEntries, message: RegExp]>([
  ['an input of 900 million values', node('Trilu', [1, LARGE, LARGE]), /Input "x" of \[null, 30000, 30000\] has more/],
  ['a mask', node('Trilu', [1, 8000, 8000]), /Trilu "n": .*64000000 values/],
  ['windows beyond an image', pool('AveragePool', LARGE), /AveragePool "n": .*\d+ values/],
  ['as many sizes of windows as pixels', pool('AveragePool', 2500), /AveragePool "n": .*\d+ values/],
  ['windows of a maximum', pool('MaxPool', LARGE), /MaxPool "n": .*\d+ values/],
  ['axes of size 1', node('Unsqueeze', [null, 4], {attributes: axes, opset: 11}), /Unsqueeze "n": .*33 axes/],
  ['axes of a constant', node('Unsqueeze', undefined, {attributes: axes, extra: [ones(1)], opset: 11}), /33 axes/],
  ['copies', node('Tile', [null, 4], {extra: [numbers(1, 1e9)]}), /Tile "n": .*\d+ values/],
  ['copies of a constant', node('Tile', undefined, {extra: [ones(2), numbers(1e9)]}), /Tile "n": .*\d+ values/],
  ['a broadcast', node('Expand', [null, 1], {extra: [numbers(1, 1e9)]}), /Expand "n": .*\d+ values/],
  ['pads', node('Pad', [null, 4], {extra: [numbers(0, 1e9, 0, 0)]}), /Pad "n": .*\d+ values/],
  [
    'mirrored pads',
    node('Pad', [null, 4], {attributes: [text('mode', 'reflect')], extra: [numbers(0, 1e9, 0, 0)]}),
    /Pad "n": .*\d+ values/,
  ],
  [
    'pads of a convolution',
    node('Conv', [null, 1, 4, 4], {attributes: [ints('pads', times(4, 1e5))], extra: [ones(1, 1, 1, 1)]}),
    /Conv "n": .*\d+ values/,
  ],
  ['a range', node('Range', undefined, {extra: [single(0), single(1e9), single(1)]}), /Range "n": .*\d+ values/],
  ['the largest of 16 million', node('TopK', [null, 1e6, 8], {extra: [numbers(2)]}), /TopK "n": .*\d+ values/],
  ['a choice of five axes', node('Trilu', [LARGE, 3, null, 1, 2]), /Trilu "n": .*\d+ values/],
  ['one-hot rows', node('OneHot', [null, 4], {extra: [single(1e9), values(0, 1)]}), /OneHot "n": .*\d+ values/],
  [
    'a filled shape',
    node('ConstantOfShape', undefined, {extra: [numbers(LARGE, LARGE)]}),
    /ConstantOfShape "n": .*\d+ values/,
  ],
  [
    'an enlarged image',
    node('Resize', [1, 1, 4, 4], {
      attributes: [text('mode', 'linear')],
      extra: [undefined, undefined, numbers(1, 1, LARGE, LARGE)],
    }),
    /Resize "n": .*\d+ values/,
  ],
  [
    'a matrix that resizes',
    node('Resize', [1, 3, 4000], {
      attributes: [text('mode', 'cubic')],
      extra: [undefined, undefined, numbers(1, 3, 4000 * 1000)],
    }),
    /Resize "n": .*16000000000 values/,
  ],
  [
    'an enlarged image of opset 9',
    node('Upsample', [null, 1, 4, 4], {extra: [values(1, 1, LARGE, LARGE)], opset: 9}),
    /Upsample "n": .*\d+ values/,
  ],
  [
    'the strides of a transposed convolution',
    node('ConvTranspose', [null, 1, 64, 64], {attributes: [ints('strides', [9999, 9999])], extra: [ones(1, 1, 1, 1)]}),
    /ConvTranspose "n": .*\d+ values/,
  ],
  [
    'the strides of a transposed convolution of volumes',
    node('ConvTranspose', [null, 1, 9, 9, 9], {
      attributes: [ints('strides', [999, 999, 999])],
      extra: [ones(1, 1, 1, 1, 1)],
    }),
    /ConvTranspose "n": .*\d+ values/,
  ],
  [
    'groups',
    node('Conv', [null, 4e7, 1, 1, 1], {attributes: [int('group', 4e7)], extra: [ones(0, 1, 1, 1, 1)]}),
    /Conv "n": .*\d+ values/,
  ],
  [
    'channels that are moved',
    node('DepthToSpace', [null, 4e7, 1, 1], {attributes: [int('blocksize', 2), text('mode', 'CRD')]}),
    /DepthToSpace "n": .*\d+ values/,
  ],
])('a small file cannot have %s computed', async (_, entries, message) => {
  const file = onnxFile(entries);
  expect(file.length).toBeLessThan(20_000);
  await withoutLeaks(async () => expect(await tried(file)).toMatch(message));
});

/** Nodes in a row, each of which takes the one before it `count` times. */
function chain(op: string, length: number, count: number, attributes: Message[] = []): Uint8Array {
  return onnxFile({
    nodes: Array.from({length}, (_, i) => ({
      op,
      name: 'same',
      inputs: new Array<string>(count).fill(`v${i}`),
      outputs: [`v${i + 1}`],
      attributes,
    })),
    inputs: [value('v0', [null, 4])],
    outputs: [value(`v${length}`, [null, null])],
  });
}

test('concatenations that double 40 times compute nothing', async () => {
  await withoutLeaks(async () => {
    expect(await tried(chain('Concat', 40, 2, [int('axis', 1)]))).toMatch(/would return up to \d+ values/);
  });
});

test('a range away from its limit is empty, however far away that is', async () => {
  await withoutLeaks(async () => {
    const model = await fromONNX(onnxFile(node('Range', undefined, {extra: [single(2 ** 40), single(0), single(1)]})));
    const y = tf.tidy(() => (model.predict(tf.ones([1, 4])) as tf.Tensor).dataSync());
    expect([...y]).toEqual([1, 1, 1, 1]);
    model.dispose();
  });
  const far = node('Range', undefined, {extra: [single(2 ** 40), single(0), single(1)]});
  expect(await tried(onnxFile(far))).toBe('imported');
});

test('no more than 40,000 layers are planned for nodes that take one value often', async () => {
  const add = jest.spyOn(Planner.prototype, 'addCall');
  try {
    expect(await tried(chain('Sum', 2, 25_000))).toMatch(/Sum "same_1": .*the nodes up to it need 40000 layers/);
    expect(add.mock.calls.length).toBeLessThan(40_010);
  } finally {
    add.mockRestore();
  }
});

test('the inputs and outputs of all nodes are counted', async () => {
  expect(await tried(chain('Concat', 2, 210_000, [int('axis', 1)]))).toMatch(
    'The nodes of the ONNX file have more than 400000 inputs and outputs.',
  );
});

test('20,000 nodes of one name are told from each other by few looks at each', async () => {
  const has = Object.getOwnPropertyDescriptor(Map.prototype, 'has')!;
  let looks = 0;
  const counted = function (this: Map<unknown, unknown>, key: unknown): boolean {
    looks++;
    return (has.value as typeof counted).call(this, key);
  };
  Object.defineProperty(Map.prototype, 'has', {...has, value: counted});
  try {
    expect(await tried(chain('Relu', 20_000, 1))).toMatch('needs 20000 layers, more than 10000');
  } finally {
    Object.defineProperty(Map.prototype, 'has', has);
  }
  expect(looks).toBeLessThan(20 * 20_000);
});

test('the layers of one node have short names', async () => {
  const model = await fromONNX(chain('Sum', 1, 300));
  const lengths = model.layers.map(({name}) => name.length);
  expect(Math.max(...lengths)).toBeLessThan(30);
});

test('functions that call each other without end are refused, even if they have no nodes', async () => {
  const calls = (i: number) =>
    Array.from({length: 30}, (_, at) =>
      field(7, [field(1, 'a'), field(2, `b${at}`), field(4, `f${i}`), field(7, 'own')]),
    );
  const functions = Array.from({length: 10}, (_, i) =>
    field(25, [
      field(1, `f${i}`),
      field(4, 'a'),
      field(5, i === 0 ? 'a' : 'b0'),
      ...(i === 0 ? [] : calls(i - 1)),
      field(10, 'own'),
    ]),
  );
  const file = onnxFile({
    nodes: [{op: 'f9', domain: 'own', inputs: ['x'], outputs: ['y']}],
    inputs: [value('x', [null, 4])],
    outputs: [value('y', [null, 4])],
    more: functions,
  });
  expect(await tried(file)).toMatch('expands to more than 100000 nodes');
});
