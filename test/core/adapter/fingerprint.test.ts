import * as tf from '@tensorflow/tfjs';
import {type Kernel, NamedBase} from '../../../src/core/adapter/fingerprint';

// A kernel of 16 values is read at its odd places, each once: the multiples of the golden ratio times 16, rounded down,
// are 9, 3, 13, 7, 1, 11, 5 and 15.

let warn: jest.SpyInstance;
beforeEach(() => {
  warn = jest.spyOn(console, 'warn').mockImplementation();
});
afterEach(() => {
  warn.mockRestore();
});

const kernel = (values: readonly number[], update?: Kernel['update']): Kernel => ({
  held: tf.tensor1d([...values]),
  packed: undefined,
  size: values.length,
  update,
});

const filled = (value: number, size = 16) => Array<number>(size).fill(value);

const baseOf = (kernels: Record<string, readonly number[]>) =>
  NamedBase.read(new Map(Object.entries(kernels).map(([path, values]) => [path, kernel(values)])));

/** A base by the values that it names, of which the first is the largest. */
const named = (kernels: Record<string, number>) =>
  NamedBase.decode(
    Object.keys(kernels),
    Object.values(kernels).map(value => [value, ...filled(999, 8)]),
  );

test('a file has the largest value in four digits, and the others in thousandths of it', async () => {
  const base = await baseOf({x: filled(0.123456), y: filled(0), z: [...filled(4, 8), ...filled(-1, 8)]});
  // 0.123456 · 999 / 0.1235 = 998.6; places 9, 13, 11 and 15 are in the second half
  expect(base.encode(['x', 'z', 'y', 'none'])).toEqual([
    [0.1235, ...filled(999, 8)],
    [4, -250, 999, -250, 999, 999, -250, 999, -250],
    filled(0, 9),
    [],
  ]);
});

test('a kernel that is not finite is not named', async () => {
  const base = await baseOf({x: [...filled(1, 8), ...filled(Infinity, 8)], y: [NaN, ...filled(NaN, 15)]});
  expect(base.encode(['x', 'y'])).toEqual([[], []]);
});

test('what a file says is read as it was written, but for what is not a list of nine numbers', () => {
  const lists = [
    [2, 999, 0, -999, 1, 2, 3, 4, 5],
    [1, 1, 1, 1, 1, 1, 1, 1, null],
    [1, 1, 1, 1, 1, 1, 1, 1],
    [1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
    'x',
  ];
  const paths = ['a', 'b', 'c', 'd', 'e'];
  expect(NamedBase.decode(paths, lists).encode(paths)).toEqual([lists[0], [], [], [], []]);
  expect(NamedBase.decode(['a', 'b'], [lists[0]]).encode(['a'])).toEqual([[]]);
});

test('bases of other layers are shared as one', () => {
  const shared = NamedBase.shared([named({a: 1}), named({b: 2})])!;
  expect(shared.encode(['a', 'b'])).toEqual([
    [1, ...filled(999, 8)],
    [2, ...filled(999, 8)],
  ]);
  expect(NamedBase.shared([])).toBeUndefined();
  expect(warn).not.toHaveBeenCalled();
});

// A kernel of ones and one of k are |1 − k| / √(1 + k²) apart: 0.28 for 0.66, 0.31 for 0.63, 0.56 for 0.4, 0.64 for
// 0.33, 0.45 for 0.5, 0.50 for 0.45.
test.each<[what: string, kernels: Record<string, number>, distant: string | undefined]>([
  ['one that is a little different', {a: 0.66}, undefined],
  ['one that differs by more than 0.3', {a: 0.63}, 'a'],
  ['one of three that differs by less than 0.6', {a: 1, b: 1, c: 0.4}, undefined],
  ['one of three that differs by more than 0.6', {a: 1, b: 1, c: 0.33}, 'c'],
  ['two of three that differ by more than 0.3, and so the mean', {a: 1, b: 0.45, c: 0.45}, 'b, c'],
  ['five', {a: 0, b: 0, c: 0, d: 0, e: 0}, 'a, b, c, d, e'],
  ['six', {a: 0, b: 0, c: 0, d: 0, e: 0, f: 0}, 'a, b, c, d, e and 1 more'],
])('adapters on bases of kernels of which %s are of one base or are told apart', (_, kernels, distant) => {
  const ones = Object.fromEntries(Object.keys(kernels).map(path => [path, 1]));
  const shared = NamedBase.shared([named(ones), named(kernels)]);
  expect(shared === undefined).toBe(distant !== undefined);
  expect(warn.mock.calls).toEqual(
    distant === undefined
      ? []
      : [[expect.stringContaining(`trained on different bases: the kernels of ${distant} differ. `)]],
  );
});

test('kernels of zeros are equal, and count for the mean', () => {
  const zeros = {a: 0, b: 1, c: 1};
  // The mean of 0, 0.45 and 0.45 is 0.298, and of 0, 0.50 and 0.50 is 0.334
  expect(NamedBase.shared([named(zeros), named({...zeros, b: 0.5, c: 0.5})])).toBeDefined();
  expect(NamedBase.shared([named(zeros), named({...zeros, b: 0.45, c: 0.45})])).toBeUndefined();
});

/** The update `a·b`, of which `a` is [1, 1] and `b` is a row. */
const row = (values: readonly number[]) => () => ({
  a: tf.ones([1, 1]),
  b: tf.tensor2d([[...values]]),
  scaling: 2,
});

const differenceOf = async (kernels: Record<string, number>, update?: (value: number) => Kernel['update']) => {
  const paths = Object.keys(kernels);
  const base = await baseOf(Object.fromEntries(paths.map(path => [path, filled(1)])));
  const now = paths.map(path => [path, kernel(filled(kernels[path]!), update?.(kernels[path]! - 1))] as const);
  return base.differenceFrom(new Map(now));
};

test('a change below the rounding of files is none, and a larger one that is the update is the adapter', async () => {
  const own = (value: number) => row(filled(value));
  // Ones and 1.005 are 0.0035 apart, and ones and 1.006 are 0.0042.
  expect(await differenceOf({a: 1.005}, own)).toBeUndefined();
  expect(await differenceOf({a: 1.006}, own)).toContain('already contain the adapter');
  expect(await differenceOf({a: 1.005, b: 1.005, c: 1.005, d: 1.005}, own)).toBeUndefined();
  expect(await differenceOf({a: 1.006, b: 1.006, c: 1.006, d: 1.006}, own)).toContain('already contain');
  expect(await differenceOf({a: 1.006}, value => row(filled(-value)))).toBeUndefined();
  expect(await differenceOf({a: 1.006})).toBeUndefined();
  expect(await differenceOf({a: 2.5})).toContain('trained on another base: the kernels of a differ. ');
});

test('a change is the update if the cosine between them is above 0.95', async () => {
  // Of eight values seven are 1 and one is v: (7 + v) / √(8·(7 + v²)) is 0.942 for 0.05 and 0.957 for 0.2.
  const nearly = (v: number) => (value: number) => row(filled(value).map((each, i) => (i === 9 ? v * each : each)));
  expect(await differenceOf({a: 1.1}, nearly(0.05))).toBeUndefined();
  expect(await differenceOf({a: 1.1}, nearly(0.2))).toContain('already contain the adapter');
});

test('a kernel counts as much as another, however large it is', async () => {
  const update = (value: number) => row(filled(value));
  const [large, small] = [filled(1000), filled(1)];
  const base = await baseOf({large, small});
  // Relative to each kernel both move by a tenth, the small one in the direction of its update and the large one not.
  const now = new Map([
    ['large', kernel(filled(1100), update(-100))],
    ['small', kernel(filled(1.1), update(0.1))],
  ]);
  expect(await base.differenceFrom(now)).toBeUndefined();
  const other = new Map([
    ['large', kernel(filled(1100), update(100))],
    ['small', kernel(filled(1.1), update(0.1))],
  ]);
  expect(await base.differenceFrom(other)).toContain('already contain');
});

test('a base is warned of once, and reads leave no tensor', async () => {
  const base = await baseOf({a: filled(1)});
  const {numTensors} = tf.memory();
  const other = new Map([['a', kernel(filled(5))]]);
  base.check(other);
  await base.checkLater(other);
  expect(warn).toHaveBeenCalledTimes(1);
  expect(tf.memory().numTensors).toBe(numTensors + 1);
  const same = await baseOf({a: filled(1)});
  same.check(new Map([['b', kernel(filled(5))]]));
  expect(warn).toHaveBeenCalledTimes(1);
});
