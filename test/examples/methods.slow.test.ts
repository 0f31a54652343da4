import {cut, study, WAYS} from '../../examples/methods/study';
import {useBackend, withoutLeaks} from '../helpers';

const TINY = {train: 30, test: 20, epochs: 3, seeds: [1]};

describe('the example of methods, run small,', () => {
  beforeEach(() => useBackend('wasm'));

  test('trains each method at about the same number of parameters, and leaks nothing', async () => {
    await withoutLeaks(async () => {
      const rows = await study(TINY);
      expect(rows.map(({name}) => name)).toEqual(WAYS.map(({name}) => name));
      for (const {name, parameters, mean, milliseconds, peakBytes, fileBytes} of rows) {
        const isSmaller = name === 'IA³' || name === 'LoKr';
        expect(isSmaller || Math.abs(parameters / 2508 - 1) < 0.05).toBe(true);
        expect(parameters).toBeLessThanOrEqual(2600);
        [mean, milliseconds, peakBytes, fileBytes].forEach(value => expect(value).toBeGreaterThan(0));
      }
    });
  }, 240_000);

  test('cuts an adapter to one size in two ways', async () => {
    const [whole, uniform, best] = await cut(TINY);
    expect(whole!.parameters).toBe(2 * uniform!.parameters);
    expect(best!.parameters).toBeLessThanOrEqual(uniform!.parameters);
    expect(best!.parameters).toBeGreaterThan(0.8 * uniform!.parameters);
  }, 120_000);
});
