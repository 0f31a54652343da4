import {OnnxTensor, readTensor} from '../../../../src/extensions/onnx/file/onnxTensor';
import {field} from '../../../../src/extensions/onnx/file/protobuf';

const bytesOf = (...values: number[]) => Uint8Array.from(values);
const join = (...parts: Uint8Array[]) => Uint8Array.from(parts.flatMap(part => [...part]));

// The bytes of each value by hand, little-endian.
test.each([
  ['float32', 1, bytesOf(0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0), [1, -2]],
  ['uint8', 2, bytesOf(0, 255), [0, 255]],
  ['int8', 3, bytesOf(127, 128), [127, -128]],
  ['uint16', 4, bytesOf(1, 0, 0xff, 0xff), [1, 65535]],
  ['int16', 5, bytesOf(1, 0, 0xff, 0xff), [1, -1]],
  ['int32', 6, bytesOf(1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff), [1, -1]],
  ['int64', 7, bytesOf(5, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f), [5, 2 ** 31 - 1]],
  ['bool', 9, bytesOf(0, 1), [0, 1]],
  ['float16', 10, bytesOf(0, 0x3c, 0, 0xc0), [1, -2]],
  ['double', 11, bytesOf(0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0, 0, 0, 0, 0, 0, 0, 0xc0), [1, -2]],
  ['uint32', 12, bytesOf(1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff), [1, 2 ** 31 - 1]],
  ['uint64', 13, bytesOf(1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0), [1, 2 ** 31 - 1]],
  ['bfloat16', 16, bytesOf(0x80, 0x3f, 0, 0xc0), [1, -2]],
  ['uint4', 21, bytesOf(0xf1), [1, 15]],
  ['int4', 22, bytesOf(0xf1), [1, -1]],
])('raw data of %s are its values, the closest of 32 bits', (_, type, raw, values) => {
  const tensor = readTensor(join(field(1, 2), field(2, type), field(8, 'w'), field(9, raw)));
  expect(Array.from(tensor.values())).toEqual(values);
  expect(tensor.name).toBe('w');
});

test('values may be listed, those of float16 by their bits', () => {
  const floats = readTensor(join(field(1, 2), field(2, 1), field(4, bytesOf(0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0))));
  expect(Array.from(floats.values())).toEqual([1, -2]);
  const halves = readTensor(join(field(1, 2), field(2, 10), field(5, 0x3c00), field(5, 0xc000)));
  expect(Array.from(halves.values())).toEqual([1, -2]);
  const long = readTensor(
    join(field(2, 7), field(7, bytesOf(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1))),
  );
  expect(Array.from(long.values())).toEqual([-1]);
});

test.each([
  ['raw data of another length', join(field(1, 3), field(2, 1), field(9, bytesOf(0, 0, 0, 0)))],
  ['more values than its shape calls for', join(field(2, 6), field(5, 1), field(5, 2))],
  ['a shape that no tensor has', join(field(1, 2 ** 40), field(1, 2 ** 40), field(2, 1), field(9, bytesOf()))],
  ['floats where its type has whole numbers', join(field(1, 1), field(2, 7), field(4, bytesOf(0, 0, 0xc0, 0x7f)))],
])('a tensor with %s is damaged', (_, message) => {
  expect(() => readTensor(message)).toThrow('The ONNX file is damaged: ');
});

test('a tensor of a type that tfjs has not can be read, and its values cannot', () => {
  const tensor = readTensor(join(field(1, 1), field(2, 17), field(8, 'w'), field(9, bytesOf(1))));
  expect(() => tensor.values()).toThrow('Tensor "w" is of type 17.');
});

test('an external tensor reads only its own bytes', () => {
  const place = {location: 'data', offset: 4, length: 4};
  const tensor = new OnnxTensor('w', 1, [1], undefined, place);
  tensor.supply(bytesOf(9, 9, 9, 9, 0, 0, 0x80, 0x3f));
  expect(Array.from(tensor.values())).toEqual([1]);
  expect(() => new OnnxTensor('w', 1, [1], undefined, place).supply(bytesOf(0, 0, 0, 0, 0))).toThrow(
    'tensor "w" should have 4 bytes from byte 4 of "data", which has 5',
  );
  expect(() => new OnnxTensor('w', 1, [1], undefined, {...place, offset: -4}).supply(bytesOf(0, 0, 0, 0))).toThrow(
    'damaged',
  );
});
