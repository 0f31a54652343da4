import {ticksOf} from '../../examples/shared/ticks';

const texts = (from: number, to: number, count = 4) => ticksOf(from, to, count).map(({text}) => text);

test('an axis has round numbers, each as short as it can be told from the others', () => {
  expect(texts(0, 1.61)).toEqual(['0', '0.5', '1.0', '1.5']);
  expect(texts(0, 1, 2)).toEqual(['0', '0.5', '1.0']);
  expect(texts(0, 130)).toEqual(['0', '50', '100']);
  expect(texts(-5, 0, 5)).toEqual(['-5', '-4', '-3', '-2', '-1', '0']);
  expect(texts(0, 0.0042)).toEqual(['0', '0.002', '0.004']);
});

test('what is small or large is written in powers of ten', () => {
  expect(texts(0, 1.1920928955078125e-7)).toEqual(['0', '5e-8', '1.0e-7']);
  expect(texts(0, 3.2e-6)).toEqual(['0', '1e-6', '2e-6', '3e-6']);
  expect(texts(0.9e-4, 1.25e-4)).toEqual(['9e-5', '1.0e-4', '1.1e-4', '1.2e-4']);
  expect(texts(0, 3e6, 3)).toEqual(['0', '1e6', '2e6', '3e6']);
});

test('an axis ends inside of its range', () => {
  for (const [from, to] of [
    [0, 0.999],
    [0.3, 0.7],
    [-4.8, -0.2],
  ] as const) {
    const places = ticksOf(from, to, 4).map(({at}) => at);
    expect(Math.min(...places)).toBeGreaterThanOrEqual(from - 1e-9);
    expect(Math.max(...places)).toBeLessThanOrEqual(to + 1e-9);
    expect(places.length).toBeGreaterThan(1);
  }
});
