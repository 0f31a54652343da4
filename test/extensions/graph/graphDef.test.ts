import {
  flagOf,
  type GraphNode,
  inputsOf,
  keyOf,
  numberOf,
  numbersOf,
  nodeAndOutput,
  shapeOf,
  shortName,
  textOf,
  textsOf,
  typeOf,
} from '../../../src/extensions/graph/graphDef';

const node: GraphNode = {
  name: 'n',
  op: 'Conv2D',
  input: ['x:1', '^before', 'k'],
  attr: {
    padding: {s: 'U0FNRQ=='},
    spelled: {s: [83, 65, 77, 69]},
    fused_ops: {list: {s: ['Qmlhc0FkZA==', [82, 101, 108, 117]]}},
    keep_dims: {b: true},
    epsilon: {f: 0.5},
    count: {i: '12'},
    none: {i: '0'},
    strides: {list: {i: ['1', 2]}},
    scales: {list: {i: [], f: [0.5, 2]}},
    T: {type: 'DT_HALF'},
    numbered: {type: 9},
    odd: {type: 'DT_COMPLEX128'},
    inherited: {type: 'constructor'},
    shape: {shape: {dim: [{size: '-1'}, {size: 3}, {}]}},
    scalar: {shape: {}},
    unknown: {shape: {unknownRank: true}},
  },
};

test('texts are in base64 or lists of bytes', () => {
  expect([textOf(node, 'padding'), textOf(node, 'spelled'), textOf(node, 'missing', 'VALID')]).toEqual([
    'SAME',
    'SAME',
    'VALID',
  ]);
  expect(textsOf(node, 'fused_ops')).toEqual(['BiasAdd', 'Relu']);
  expect(textsOf(node, 'missing')).toEqual([]);
});

test('numbers are integers, which may be texts, or floats', () => {
  expect(['epsilon', 'count', 'none', 'missing'].map(key => numberOf(node, key, 7))).toEqual([0.5, 12, 0, 7]);
  expect(numbersOf(node, 'strides')).toEqual([1, 2]);
  expect(numbersOf(node, 'scales')).toEqual([0.5, 2]);
  expect(numbersOf(node, 'missing', [4])).toEqual([4]);
});

test('a flag that is not there is false', () => {
  expect([flagOf(node, 'keep_dims'), flagOf(node, 'missing')]).toEqual([true, false]);
});

test('types go by name or number, and those that tfjs lacks are undefined', () => {
  expect(['T', 'numbered', 'odd', 'inherited', 'missing'].map(key => typeOf(node, key))).toEqual([
    'float32',
    'int32',
    undefined,
    undefined,
    undefined,
  ]);
});

test('a size that is not known is null, and a shape without a rank is undefined', () => {
  expect(shapeOf(node, 'shape')).toEqual([null, 3, null]);
  expect(shapeOf(node, 'scalar')).toEqual([]);
  expect(shapeOf(node, 'unknown')).toBeUndefined();
  expect(shapeOf(node, 'missing')).toBeUndefined();
});

test('an attribute is not looked for in the prototype', () => {
  expect(numberOf(node, 'constructor', 3)).toBe(3);
  expect(textOf({name: 'n', op: 'Add'}, 'padding', 'none')).toBe('none');
});

test('inputs that only order the execution are left out', () => {
  expect(inputsOf(node)).toEqual(['x:1', 'k']);
  expect(inputsOf({name: 'n', op: 'Const'})).toEqual([]);
});

test('an input names a node and its output, the first where it names none', () => {
  expect(nodeAndOutput('split:2')).toEqual(['split', 2]);
  expect(nodeAndOutput('split')).toEqual(['split', 0]);
  expect(nodeAndOutput('scope:a/b')).toEqual(['scope:a/b', 0]);
  expect([keyOf('x'), keyOf('x:0'), keyOf('x:1')]).toEqual(['x:0', 'x:0', 'x:1']);
});

test('the calls around a node are no part of its short name', () => {
  expect(shortName('StatefulPartitionedCall/model/PartitionedCall_12/dense/MatMul')).toBe('model/dense/MatMul');
  expect(shortName('StatefulPartitionedCall')).toBe('StatefulPartitionedCall');
  expect(shortName('MyPartitionedCall/x')).toBe('MyPartitionedCall/x');
});
