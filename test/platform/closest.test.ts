import {closestTo, editsBetween} from '../../src/platform/closest';

test.each([
  ['kitten', 'sitting', 3],
  ['flaw', 'lawn', 2],
  ['', 'abc', 3],
  ['abc', '', 3],
  ['rank', 'rank', 0],
])('from %p to %p it takes %p edits', (one, other, edits) => {
  expect(editsBetween(one, other)).toBe(edits);
});

test('the closest names come first, whatever their case, at most three', () => {
  // 1 edit in 8 characters, 1 in 7, and 2 in 7
  expect(closestTo('block_1', ['black_2', 'conv', 'block_12', 'block_2'])).toEqual(['block_12', 'block_2', 'black_2']);
  expect(closestTo('DENSE', ['pool', 'dense'])).toEqual(['dense']);
  expect(closestTo('dense_0', ['dense_1', 'dense_2', 'dense_3', 'dense_4'])).toEqual(['dense_1', 'dense_2', 'dense_3']);
  expect(closestTo('dense', ['dense', 'dense'])).toEqual(['dense']);
});

test('a name is suggested up to half of whose characters differ, and up to a quarter more than in the closest', () => {
  expect(closestTo('abcd', ['abxx', 'axxx'])).toEqual(['abxx']);
  expect(closestTo('abcd', ['abxx', 'abcx', 'abcd'])).toEqual(['abcd', 'abcx']);
  expect(closestTo('abcd', ['wxyz'])).toEqual([]);
});

test('a part of a name is enough, unless it is a single character or another name is much closer', () => {
  expect(closestTo('pool', ['global_average_pool', 'poll'])).toEqual(['poll', 'global_average_pool']);
  expect(closestTo('global_average_pool', ['pool'])).toEqual(['pool']);
  expect(closestTo('pool', ['global_average_pool', 'pool'])).toEqual(['pool']);
  expect(closestTo('de', ['decoder_output'])).toEqual(['decoder_output']);
  expect(closestTo('d', ['decoder_output', 'd'])).toEqual([]);
});

test('long names are compared by their beginning', () => {
  const start = 'x'.repeat(80);
  expect(closestTo(`${start}a`, [start + 'y'.repeat(200)])).toEqual([start + 'y'.repeat(200)]);
});
