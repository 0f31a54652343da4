import {characterErrorRate, makeDetector, scoreEvents, wordErrorRate} from 'tfjs-lora/sound';

test('error rates count the fewest edits, over all texts', () => {
  expect(wordErrorRate('switch the lamp off', 'switch the lamp off')).toBe(0);
  expect(wordErrorRate('switch the  lamp off ', 'switch a lamp')).toBe(2 / 4);
  expect(wordErrorRate(['one two', 'three'], ['one', 'three three three'])).toBe(3 / 3);
  expect(wordErrorRate('a', 'b c d')).toBe(3);
  expect(characterErrorRate('kitten', 'sitting')).toBe(3 / 6);
  expect(characterErrorRate('a 😀', 'a')).toBe(2 / 3);
});

// Expected values are those of jiwer 4.0.
test('white space around a text is no error of characters', () => {
  expect(characterErrorRate(' lamp off\n', 'lamp off')).toBe(0);
  expect(characterErrorRate(['lamp ', '\tyes'], ['  lamb', 'yes '])).toBe(1 / 7);
  expect(characterErrorRate('a  b', ' a b ')).toBe(1 / 4);
});

test('error rates refuse lists of different length, and nothing', () => {
  expect(() => wordErrorRate(['a', 'b'], ['a'])).toThrow('There are 2 references and 1 transcripts');
  expect(() => wordErrorRate([' '], ['a'])).toThrow('The references are empty');
  expect(() => characterErrorRate([1] as never, ['a'])).toThrow('references must be a text or a list of texts.');
});

test('a detector keeps to the threshold and the cool-down of each class', () => {
  const detect = makeDetector({threshold: 0.6, coolDown: 1});
  const at = (time: number, scores: Record<string, number>) => detect({time, scores});
  expect(at(0, {yes: 0.5, background: 0.4})).toBeUndefined();
  expect(at(0.5, {yes: 0.7, background: 0.3})).toEqual({time: 0.5, label: 'yes'});
  expect(at(1, {yes: 0.9, background: 0.1})).toBeUndefined();
  expect(at(1.2, {yes: 0.1, no: 0.8})).toEqual({time: 1.2, label: 'no'});
  expect(at(1.5, {yes: 0.9, no: 0.1})).toEqual({time: 1.5, label: 'yes'});
  expect(at(9, {yes: 0.2, background: 0.8})).toBeUndefined();
  const each = makeDetector({threshold: {yes: 0.9}, ignore: []});
  expect(each({time: 0, scores: {yes: 0.8}})).toBeUndefined();
  expect(each({time: 0, scores: {no: 1}})).toBeUndefined();
  expect(each({time: 0, scores: {yes: 0.95}})).toEqual({time: 0, label: 'yes'});
});

test('events are right once, and within the tolerance', () => {
  const known = [1, 5, 9].map(time => ({time, label: 'yes'}));
  const detected = [1.2, 1.3, 5.6, 9].map(time => ({time, label: time === 9 ? 'no' : 'yes'}));
  expect(scoreEvents(detected, known)).toEqual({precision: 1 / 4, recall: 1 / 3, falseAlarms: 3});
  expect(scoreEvents(detected, known, {tolerance: 1})).toEqual({precision: 2 / 4, recall: 2 / 3, falseAlarms: 2});
  expect(scoreEvents([], [])).toEqual({precision: 1, recall: 1, falseAlarms: 0});
});

test.each([
  [() => makeDetector({threshold: NaN}), 'threshold must be a number from 0 to 1, or one for each class, got NaN.'],
  [() => makeDetector({coolDown: -1}), 'coolDown must be a number of seconds, 0 or more, got -1.'],
  [() => scoreEvents([{time: 1}] as never, []), 'detected must be a list of events, {time, label}, got [{"time":1}].'],
])('bad options are refused', (call, message) => {
  expect(call).toThrow(message);
});
