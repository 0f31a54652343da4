import {checksumOf} from '../../../src/platform/formats/checksum';

const bytes = (...values: number[]) => Uint8Array.from(values).buffer;

// Of each checksum the first 32 bits are those of FNV-1a, whose numbers for some texts are published
// (draft-eastlake-fnv, appendix C).
test.each([
  ['', '811c9dc5'],
  ['a', 'e40c292c'],
  ['foobar', 'bf9cf968'],
])('the checksum of %j begins with its FNV-1a', (text, expected) => {
  expect(checksumOf(text).split('-')[0]).toBe(expected);
  expect(checksumOf(bytes(...Buffer.from(text))).split('-')[0]).toBe(expected);
});

test('a checksum says which letters and bytes there are, and in which order', () => {
  const all = [
    checksumOf('ab', bytes(1, 2)),
    checksumOf('ba', bytes(1, 2)),
    checksumOf('ab', bytes(2, 1)),
    checksumOf('ab', bytes(1, 2, 0)),
    checksumOf('ab', bytes(1)),
    checksumOf('ab'),
  ];
  expect(new Set(all).size).toBe(all.length);
  expect(checksumOf('ab', bytes(1, 2))).toBe(all[0]);
});

// Files hold checksums: those that earlier versions wrote must stay right. By hand, with
// b = ((b xor (code + place)) · 0x85ebca6b) mod 2³² from 0x01000193.
test('the other 32 bits count the place of each letter, from another start', () => {
  const expected = (codes: number[]) =>
    codes.reduce((b, code, i) => ((b ^ BigInt(code + i)) * 0x85ebca6bn) % 2n ** 32n, 0x01000193n).toString(16);
  expect(checksumOf('').split('-')[1]).toBe('1000193');
  expect(checksumOf('foobar').split('-')[1]).toBe(expected([...Buffer.from('foobar')]));
  expect(checksumOf(bytes(7, 200, 0)).split('-')[1]).toBe(expected([7, 200, 0]));
});
