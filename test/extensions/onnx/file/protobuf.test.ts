import {addIntegers, field, fieldsOf} from '../../../../src/extensions/onnx/file/protobuf';

const all = (...bytes: number[]) => [...fieldsOf(Uint8Array.from(bytes))];

test('reads fields of each wire type, with their places', () => {
  expect(all(0x08, 0x96, 0x01)).toEqual([{number: 1, value: 150, start: 0, end: 3}]);
  const text = all(0x08, 0x01, 0x12, 0x03, 0x61, 0x62, 0x63);
  expect(text[1]).toEqual({number: 2, value: Uint8Array.of(97, 98, 99), start: 2, end: 7});
  expect(all(0x0d, 0, 0, 0x80, 0x3f)[0]!.value).toEqual(Uint8Array.of(0, 0, 0x80, 0x3f));
  expect(all(0x09, 1, 2, 3, 4, 5, 6, 7, 8)[0]!.value).toHaveLength(8);
});

test.each([
  [[0x7f], 127],
  [[0xff, 0xff, 0xff, 0xff, 0x07], 2 ** 31 - 1],
  [[0xff, 0xff, 0xff, 0xff, 0x0f], 2 ** 32 - 1],
  [[0x80, 0x80, 0x80, 0x80, 0x80, 0x20], 2 ** 40],
  [[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], -1],
  [[0x80, 0x80, 0x80, 0x80, 0xf8, 0xff, 0xff, 0xff, 0xff, 0x01], -(2 ** 31)],
  [[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], 2 ** 63],
])('the integer of bytes %p is %p', (bytes, value) => {
  expect(all(0x08, ...bytes)[0]!.value).toBe(value);
});

test('integers come one by one or packed', () => {
  const list: number[] = [];
  all(0x08, 0x05, 0x0a, 0x03, 0x01, 0x96, 0x01).forEach(each => addIntegers(each, list));
  expect(list).toEqual([5, 1, 150]);
});

test.each([
  ['an integer is cut off', [0x08, 0x96]],
  ['an integer has eleven bytes', [0x08, ...new Array<number>(10).fill(0xff), 0x01]],
  ['bytes are cut off', [0x12, 0x05, 0x61]],
  ['a length is negative', [0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]],
  ['a field has the number 0', [0x00, 0x00]],
  ['the wire type is that of a group', [0x0b]],
])('refuses a message where %s', (_, bytes) => {
  expect(() => all(...bytes)).toThrow('The ONNX file is damaged: ');
});

test('a field that is written reads back', () => {
  const message = [field(7, 'höhe'), field(1, 300), field(16, [Uint8Array.of(1), Uint8Array.of(2, 3)])];
  const bytes = Uint8Array.from(message.flatMap(part => [...part]));
  const [text, integer, joined] = [...fieldsOf(bytes)];
  expect(new TextDecoder().decode(text!.value as Uint8Array)).toBe('höhe');
  expect(integer).toMatchObject({number: 1, value: 300});
  expect(joined).toMatchObject({number: 16, value: Uint8Array.of(1, 2, 3)});
});
