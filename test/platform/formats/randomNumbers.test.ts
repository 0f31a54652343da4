import {randomNumbers} from '../../../src/platform/formats/randomNumbers';

const first = (count: number, next: () => number) => Array.from({length: count}, next);

test('the numbers of seed 0 are those of mulberry32 as it was published', () => {
  expect(first(4, randomNumbers(0, 0))).toEqual([1144304738, 1416247, 958946056, 627933444]);
});

test('numbers of another seed or stream are those of mulberry32 from a mix of both', () => {
  // The published generator, one line each: github.com/bryc/code/blob/master/jshash/PRNGs.md
  const mulberry32 = (a: number) => () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return (t ^ (t >>> 14)) >>> 0;
  };
  // Its first number is the mix of what its state was plus this step.
  const mix = (value: number) => mulberry32(value - 0x6d2b79f5)();
  for (const [seed, stream] of [
    [7, 0],
    [7, 3],
    [-5, 2 ** 31],
    [2 ** 32 + 7, 1],
  ] as const) {
    expect(first(5, randomNumbers(seed, stream))).toEqual(first(5, mulberry32(mix(mix(seed) ^ stream))));
  }
});
