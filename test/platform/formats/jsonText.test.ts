import {isTextList} from '../../../src/core/adapter/checkAdapter';
import {duplicateKeys, nesting} from '../../../src/platform/formats/jsonText';

test.each([
  ['{"a": 1, "b": 2}', []],
  ['{"a": 1, "a": 2}', ['a']],
  ['{"a" : 1, "b": 2, "a"\n\t\r : 3}', ['a']],
  ['{"a": {"a": 1}, "b": {"a": 2}}', []],
  ['{"a": {"b": 1, "b": 2}, "c": 3, "c": 4}', ['b', 'c']],
  ['{"a": {"b": 1}, "a": 2}', ['a']],
  ['{"a": "a", "b": "a", "c": ["a", "a"]}', []],
  ['{"a": "}", "a": "{"}', ['a']],
  ['{"x\\"y": 1, "x\\"y": 2, "\\u0061": 1, "a": 2}', ['x"y', 'a']],
  ['[{"a": 1}, {"a": 2}]', []],
  ['"a"', []],
])('the keys of %s that occur twice in one object are %j', (json, keys) => {
  expect(duplicateKeys(json)).toEqual(keys);
});

test.each([
  ['1', 0],
  ['[]', 1],
  ['{}', 1],
  ['{"a": [1, {"b": []}]}', 4],
  ['[[], [], [[]], []]', 3],
  ['["[[[", "\\"[", "\\\\", []]', 2],
  ['"[[[', 0],
  ['[{', 2],
  [']]][', 0],
])('%s is nested %d deep', (json, depth) => {
  expect(nesting(json)).toBe(depth);
});

test.each([
  [[], true],
  [['a', ''], true],
  [['a', 1], false],
  ['a', false],
  [null, false],
])('%j is a list of texts: %p', (value, isOne) => {
  expect(isTextList(value)).toBe(isOne);
});
