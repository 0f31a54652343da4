import fc from 'fast-check';
import {depthwiseFromTorch, depthwiseToTorch, fromTorch} from '../../../src/core/peft/methods/torchLayout';
import {toTorch, transpose, type Values} from '../../../src/platform/formats/layout';
import {
  asDepthwise,
  withinRankLimit,
  depthwiseUpdateToTorch,
  fromTorchUpdate,
  type TfjsUpdate,
  type TorchUpdate,
  toTorchUpdate,
} from '../../../src/core/peft/methods/update';

/** Values of a shape that are all different, or random. */
function filled(shape: readonly number[], seed?: number): Values {
  const size = shape.reduce((product, axis) => product * axis, 1);
  return {
    shape,
    data: Float32Array.from({length: size}, (_, i) => (seed === undefined ? i : Math.sin(seed + 7.3 * i))),
  };
}

/** The number at an index, by the definition of a row-major layout. */
function at({shape, data}: Values, ...index: number[]): number {
  return data[index.reduce((offset, i, axis) => offset * shape[axis]! + i, 0)]!;
}

const strength = (rank: number) => ({rank, alpha: 3, rankStabilized: false});
const scaling = ({strength: {rank, alpha, rankStabilized}}: Pick<TfjsUpdate, 'strength'>) =>
  alpha / (rankStabilized ? Math.sqrt(rank) : rank);

/** `s·A·B` in plain loops, `[fan-in, out]`. */
function delta(update: TfjsUpdate): number[] {
  const [rank = 1, ...outAxes] = update.b.shape;
  const out = outAxes.reduce((product, axis) => product * axis, 1);
  const fanIn = update.a.data.length / rank;
  return Array.from({length: fanIn * out}, (_, i) => {
    let sum = 0;
    for (let k = 0; k < rank; k++) {
      sum += update.a.data[Math.floor(i / out) * rank + k]! * update.b.data[k * out + (i % out)]!;
    }
    return scaling(update) * sum;
  });
}

describe('layouts', () => {
  test('a transposed tensor has each number where its index says', () => {
    const values = filled([2, 3, 4, 5]);
    const permuted = transpose(values, [2, 3, 1, 0]);
    expect(permuted.shape).toEqual([4, 5, 3, 2]);
    fc.assert(
      fc.property(fc.nat(1), fc.nat(2), fc.nat(3), fc.nat(4), (a, b, c, d) => {
        expect(at(permuted, c, d, b, a)).toBe(at(values, a, b, c, d));
      }),
    );
  });

  test.each([[[3]], [[3, 4]], [[5, 3, 2]], [[5, 3, 2, 4]], [[5, 3, 2, 4, 2]]])(
    'a weight of shape %p has its space first in tfjs, and comes back',
    shape => {
      const values = filled(shape);
      const permuted = fromTorch(values);
      expect(permuted.shape).toEqual(shape.length === 1 ? shape : [...shape.slice(2), shape[1], shape[0]]);
      expect(toTorch(permuted)).toEqual(values);
    },
  );

  test('a depthwise kernel has its outputs by channel, and comes back', () => {
    const values = filled([6, 1, 3, 2]);
    const permuted = depthwiseFromTorch(values, 3);
    expect(permuted.shape).toEqual([3, 2, 3, 2]);
    expect(at(permuted, 2, 1, 1, 0)).toBe(at(values, 2, 0, 2, 1));
    expect(depthwiseToTorch(permuted)).toEqual(values);
  });
});

describe('an update', () => {
  test.each([
    ['Linear', [2, 5], [4, 2]],
    ['Conv1d', [2, 5, 3], [4, 2, 1]],
    ['Conv2d', [2, 5, 3, 2], [4, 2, 1, 1]],
    ['Conv3d', [2, 5, 3, 2, 2], [4, 2, 1, 1, 1]],
  ])('of a %s goes to tfjs and back', (_, a, b) => {
    const update: TorchUpdate = {embedding: false, a: filled(a, 1), b: filled(b, 2), strength: strength(2)};
    const permuted = fromTorchUpdate(update);
    expect(permuted.a.shape).toEqual([...a.slice(2), 5, 2]);
    expect(permuted.b.shape).toEqual([2, 4]);
    expect(toTorchUpdate(permuted)).toEqual({a: update.a, b: update.b});
  });

  test('of a grouped convolution becomes that of a full one, with nothing between the groups of B', () => {
    const b = filled([4, 3, 1, 1], 2);
    const {b: whole} = fromTorchUpdate({embedding: false, a: filled([6, 5, 2, 2], 1), b, strength: strength(6)});
    expect(whole.shape).toEqual([6, 4]);
    for (let k = 0; k < 6; k++) {
      for (let out = 0; out < 4; out++) {
        const same = Math.floor(k / 3) === Math.floor(out / 2);
        expect(at(whole, k, out)).toBe(same ? at(b, out, k % 3, 0, 0) : 0);
      }
    }
  });

  test.each([
    ['more inputs than outputs', [7, 9], [9, 3], 3],
    ['fewer inputs than outputs', [3, 9], [9, 7], 3],
    ['as many as the rank', [4, 4], [4, 4], 4],
  ])('with %s is withinLimit to what the weight can hold, without loss', (_, a, b, rank) => {
    for (const rankStabilized of [false, true]) {
      const update = {a: filled(a, 1), b: filled(b, 2), strength: {rank: b[0]!, alpha: 3, rankStabilized}};
      const small = withinRankLimit(update);
      expect([small.a.shape.at(-1), small.b.shape[0], small.strength.rank]).toEqual([rank, rank, rank]);
      expect(scaling(small)).toBeCloseTo(scaling(update), 12);
      expect(delta(small)).toBeAllClose(delta(update), {atol: 1e-6, rtol: 1e-6});
    }
  });

  test('that mixes channels is no update of a depthwise kernel', () => {
    const update = fromTorchUpdate({
      embedding: false,
      a: filled([6, 3, 2, 2], 1),
      b: filled([6, 2, 1, 1], 2),
      strength: strength(6),
    });
    expect(asDepthwise(update)).toBeUndefined();
    expect(asDepthwise({...update, b: filled([6, 4], 2)})).toBeUndefined();
  });

  test('of a depthwise kernel is the same after it was one of a grouped convolution', () => {
    const sizes = fc.record({
      kh: fc.integer({min: 1, max: 3}),
      kw: fc.integer({min: 1, max: 3}),
      channels: fc.integer({min: 1, max: 4}),
      multiplier: fc.integer({min: 1, max: 4}),
      rank: fc.integer({min: 1, max: 5}),
    });
    fc.assert(
      fc.property(sizes, ({kh, kw, channels, multiplier, rank}) => {
        const update = {
          a: filled([kh, kw, rank], 1),
          b: filled([rank, channels, multiplier], 2),
          strength: strength(rank),
        };
        const torch = depthwiseUpdateToTorch(update);
        const groupRank = Math.min(rank, multiplier);
        expect(torch.a.shape[0]).toBe(channels * groupRank);
        expect(torch.b.shape).toEqual([channels * multiplier, groupRank, 1, 1]);
        const again = asDepthwise(fromTorchUpdate(torch))!;
        expect(again.strength.rank).toBe(Math.min(kh * kw, channels * multiplier));
        expect(delta(again)).toBeAllClose(delta(update), {atol: 1e-5, rtol: 1e-5});
      }),
      {seed: 3},
    );
  });
});
