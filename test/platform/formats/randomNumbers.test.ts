import {randomNumbers} from '../../../src/platform/formats/randomNumbers';

const first = (count: number, next: () => number) => Array.from({length: count}, next);

test('the numbers of seed 0 are those of mulberry32 as it was published', () => {
  expect(first(4, randomNumbers(0, 0))).toEqual([1144304738, 1416247, 958946056, 627933444]);
});

test('numbers of another seed or stream are those of mulberry32 from a mix of both', () => {
  // Each number scrambles a counter that grows by 0x6d2b79f5, with products and sums of 32 bits.
  const wrap = (value: bigint) => BigInt.asUintN(32, value);
  const mix = (counter: bigint) => {
    const odd = wrap((counter ^ (counter >> 15n)) * (counter | 1n));
    const sum = wrap(odd + wrap((odd ^ (odd >> 7n)) * (odd | 61n))) ^ odd;
    return sum ^ (sum >> 14n);
  };
  const numbersFrom = (state: bigint) =>
    Array.from({length: 5}, (_, i) => mix(wrap(state + BigInt(i + 1) * 0x6d2b79f5n)));
  expect(numbersFrom(0n).slice(0, 4)).toEqual([1144304738n, 1416247n, 958946056n, 627933444n]);
  for (const [seed, stream] of [
    [7, 0],
    [7, 3],
    [-5, 2 ** 31],
    [2 ** 32 + 7, 1],
  ] as const) {
    const state = mix(mix(wrap(BigInt(seed))) ^ wrap(BigInt(stream)));
    expect(first(5, randomNumbers(seed, stream)).map(BigInt)).toEqual(numbersFrom(state));
  }
});
