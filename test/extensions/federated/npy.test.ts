import fc from 'fast-check';
import {fromNPY, toNPY} from '../../../src/extensions/federated/npy';
import {LoRAError} from '../../../src/index';

/** What `np.save` writes, without the numbers. */
function header(said: string, length = 128): Buffer {
  const start = Buffer.from([0x93, ...Buffer.from('NUMPY'), 1, 0, (length - 10) & 0xff, (length - 10) >> 8]);
  return Buffer.concat([start, Buffer.from(`${said.padEnd(length - 11)}\n`)]);
}

const floats = (values: number[]) => Buffer.from(new Float32Array(values).buffer);
const doubles = (values: number[]) => Buffer.from(new Float64Array(values).buffer);

test.each([
  [[2, 3], '(2, 3)', [1, 2, 3, 4, 5, 6]],
  [[2], '(2,)', [1.5, -2]],
  [[], '()', [7]],
  [[0, 4], '(0, 4)', []],
])('an array of shape %j is written as by NumPy', (shape, tuple, values) => {
  const said = `{'descr': '<f4', 'fortran_order': False, 'shape': ${tuple}, }`;
  // NumPy fills up to a multiple of 64 bytes.
  const bytes = Buffer.concat([header(said, 128), floats(values)]);
  const written = Buffer.from(toNPY({shape, values: Float32Array.from(values)}));
  expect(fromNPY(bytes)).toEqual({shape, values: Float32Array.from(values)});
  expect(fromNPY(written)).toEqual({shape, values: Float32Array.from(values)});
  expect((written.length - 4 * values.length) % 64).toBe(0);
  expect(written.subarray(10, 10 + said.length).toString()).toBe(said);
});

test('doubles are read too, and rounded', () => {
  const bytes = Buffer.concat([
    header("{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }"),
    doubles([0.1, 1e-50]),
  ]);
  expect([...fromNPY(bytes).values]).toEqual([Math.fround(0.1), 0]);
});

test('the order of Fortran, in which NumPy writes a transposed array, is read too', () => {
  // np.arange(6).reshape(3, 2).T and its three-dimensional relative, as np.save writes them
  const flat = header("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }");
  expect([...fromNPY(Buffer.concat([flat, floats([0, 1, 2, 3, 4, 5])])).values]).toEqual([0, 2, 4, 1, 3, 5]);
  const solid = header("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 1, 3), }");
  expect([...fromNPY(Buffer.concat([solid, floats([0, 1, 2, 3, 4, 5])])).values]).toEqual([0, 2, 4, 1, 3, 5]);
});

test('what is written is read again', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(4), {maxLength: 4}), shape => {
      const size = shape.reduce((product, one) => product * one, 1);
      const values = Float32Array.from({length: size}, (_, i) => Math.sin(i) / 3);
      expect(fromNPY(toNPY({shape, values}))).toEqual({shape, values});
    }),
  );
});

test.each([
  ['big-endian', header("{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }"), /little-endian/],
  ['of objects, which Python would run', header("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"), /floats/],
  ['without a shape', header("{'descr': '<f4', 'fortran_order': False, }"), /floats/],
  ['of another version', Buffer.from([0x93, ...Buffer.from('NUMPY'), 9, 0, 0, 0, 0, 0, 0]), /NumPy/],
  ['of another format', Buffer.from('not an array at all'), /NumPy/],
  ['of nothing', Buffer.alloc(0), /NumPy/],
])('an array %s is refused', (_, head, message) => {
  const read = () => fromNPY(Buffer.concat([head, floats([1])]));
  expect(read).toThrow(LoRAError);
  expect(read).toThrow(message);
});

test('more numbers in the shape than there are bytes are refused before they take memory', () => {
  const bytes = header("{'descr': '<f4', 'fortran_order': False, 'shape': (999999999, 999999999), }");
  expect(() => fromNPY(bytes)).toThrow(/came with 0 bytes/);
});
