import {closestTo} from '../../../src/core/model/closest';

test.each<[text: string, names: string[], closest: string[]]>([
  ['dense', ['conv', 'Dense', 'dense_1', 'dens'], ['Dense', 'dens']],
  ['kernel', ['colonel', 'x', 'kernle'], ['kernle']],
  ['block', ['block_1_expand', 'block_2_expand', 'act'], ['block_1_expand', 'block_2_expand']],
  ['a', ['a_long_name', 'b'], []],
  ['', ['a', 'b'], []],
  ['head', ['head', 'head'], ['head']],
  ['layer', ['layer_1', 'layer_2', 'layer_3', 'layer_4'], ['layer_1', 'layer_2', 'layer_3']],
  ['nothing', [], []],
])('to "%s" of %j are %j', (text, names, closest) => {
  expect(closestTo(text, names)).toEqual(closest);
});

test('very long names take no longer than short ones', () => {
  const long = 'x'.repeat(1e4);
  const start = process.cpuUsage();
  expect(
    closestTo(
      long,
      Array.from({length: 300}, (_, i) => `${long}${i}`),
    ),
  ).toHaveLength(3);
  expect(process.cpuUsage(start).user).toBeLessThan(5e6);
});
