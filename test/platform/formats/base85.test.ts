import fc from 'fast-check';
import {base85Of, bytesOfBase85} from '../../../src/platform/formats/base85';

test('five characters say four bytes', () => {
  // 1·2²⁴ + 2·2¹⁶ + 3·2⁸ + 4 = 16,909,060 = 27·85³ + 45·85² + 30·85 + 10, and the characters of these digits.
  expect(base85Of(Uint8Array.of(1, 2, 3, 4))).toBe('!CUF1');
  expect([...bytesOfBase85('!CUF1')]).toEqual([1, 2, 3, 4]);
  expect(base85Of(Uint8Array.of(255, 255, 255, 255))).toHaveLength(5);
});

test('bytes come back, with zeros up to a multiple of four', () => {
  fc.assert(
    fc.property(fc.uint8Array({maxLength: 50}), bytes => {
      const text = base85Of(bytes);
      expect(text).toHaveLength(5 * Math.ceil(bytes.length / 4));
      const padding = Array<number>((4 - (bytes.length % 4)) % 4).fill(0);
      expect([...bytesOfBase85(text)]).toEqual([...bytes, ...padding]);
    }),
  );
});

test('no character has a meaning in strings of JavaScript or in HTML', () => {
  const bytes = Uint8Array.from({length: 4000}, (_, i) => (i * 7919) % 256);
  expect(base85Of(bytes)).toMatch(/^[!-~]+$/);
  expect(base85Of(bytes)).not.toMatch(/['"`\\$<&/%]/);
});
