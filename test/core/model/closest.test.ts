import {closestTo} from '../../../src/core/model/closest';
import {countingCalls} from '../../work';

const callsOf = countingCalls();

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

test('very long names take no more work than short ones', async () => {
  const work = (length: number) => () => {
    const names = Array.from({length: 300}, (_, i) => `${'x'.repeat(length)}${i}`);
    expect(closestTo('x'.repeat(length), names)).toHaveLength(3);
  };
  const [short, long] = await callsOf(work(100), work(10_000));
  expect(long).toBe(short);
});
