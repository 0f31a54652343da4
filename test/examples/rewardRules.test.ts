import {avoidReward, checkSchema, jsonReward, shortReward} from '../../examples/rewards/rules';
import {PRESETS} from '../../examples/rewards/src/presets';
import {rewardsOf, type Wishes} from '../../examples/rewards/src/wishes';

const NOTHING: Wishes = {json: '', words: 0, avoid: '', code: ''};

function judge(wishes: Partial<Wishes>, text: string, truncated = false): number[] {
  return rewardsOf({...NOTHING, ...wishes}).map(({of}) => of({text, truncated, question: 'Who?'}));
}

test('JSON gets half, and the rest for the share of the schema that it follows', () => {
  const schema = {
    type: 'object',
    required: ['name', 'ages'],
    properties: {
      name: {type: 'string', minLength: 2},
      ages: {type: 'array', items: {type: 'integer', minimum: 0}},
      color: {enum: ['red', 'blue']},
    },
  };
  expect(jsonReward('{"name": "Bo", "ages": [3, 4]}', schema)).toBe(1);
  // One of four ages is an integer that is not negative, and the color is missing, which is allowed: (1 + 1/4 + 1) / 3.
  expect(jsonReward('{"name": "Bo", "ages": [3, -4, 0.5, null]}', schema)).toBeCloseTo(0.5 + 0.375, 10);
  expect(jsonReward('{"name": 5, "color": "green"}', schema)).toBe(0.5);
  expect(jsonReward('["name"]', schema)).toBe(0);
  expect(jsonReward(' {"name"', schema)).toBe(0.1);
  expect(jsonReward('name', schema)).toBe(0);
  expect(jsonReward('', schema)).toBe(0);
  expect(jsonReward('{}', {required: ['constructor']})).toBe(0.5);
});

test('a schema that cannot be checked is refused', () => {
  expect(() => checkSchema({properties: {a: {oneOf: []}}})).toThrow('This schema has oneOf. Only these keywords');
  expect(() => checkSchema([])).toThrow('A JSON schema is an object');
  expect(() => checkSchema({items: null})).toThrow('A JSON schema is an object');
  expect(() => checkSchema({required: 'name'})).toThrow('"required" and "enum" are lists');
  expect(() => checkSchema({pattern: '('})).toThrow('Invalid regular expression');
});

test('short answers get 1, longer ones less than half, and no answer nothing', () => {
  const short = (text: string, truncated = false) => shortReward({text, truncated}, 4);
  expect(short('one two three four')).toBe(1);
  expect(short('one two three four five six')).toBe(0.375); // two of the eight that lead to 0
  expect(short('one two three four five six', true)).toBe(0.09375);
  expect(short('one two', true)).toBe(0.125);
  expect(short('a '.repeat(12))).toBe(0);
  expect(short(' \n')).toBe(0);
});

test('words to avoid are counted, in any case', () => {
  expect(avoidReward('So, SO what?', ['so'])).toBeCloseTo(1 / 3, 10);
  expect(avoidReward('Sober', ['so'])).toBe(1);
  expect(avoidReward('  ', ['so'])).toBe(0);
});

test('the fields of the page are rewards', () => {
  expect(judge({json: 'name, color'}, '{"name": 1}')).toEqual([0.75]);
  expect(judge({json: '{"type": "array"}', words: 3}, '[1]')).toEqual([1, 1]);
  expect(judge({avoid: 'Fox, dog'}, 'A fox.')).toEqual([0.5]);
  const code = '(answer, question) => answer.includes(question)';
  expect(judge({code}, 'Who? Me.')).toEqual([1]);
  expect(judge({code: 'function (answer) { return answer.length; } // characters'}, 'four')).toEqual([4]);
});

test('wishes that make no sense are refused', () => {
  expect(() => judge({}, '')).toThrow('fill in at least one field');
  expect(() => judge({json: '{"a"'}, '')).toThrow('The JSON schema cannot be read');
  expect(() => judge({code: 'answer =>'}, '')).toThrow('The function cannot be read');
  expect(() => judge({code: '5'}, '')).toThrow('Write a JavaScript function');
  expect(() => judge({code: '() => "good"'}, 'a')).toThrow('must return a number, and returned good for "a"');
});

test('each example has questions and wishes that make sense', () => {
  for (const {questions, wishes} of Object.values(PRESETS)) {
    expect(questions.length).toBeGreaterThan(4);
    expect(judge(wishes, '').every(reward => reward === 0)).toBe(true);
  }
  // Of the words, "a" and "red" are others than those of the question, "a" twice.
  const [length, words] = rewardsOf(PRESETS.short!.wishes);
  const answer = {text: 'Who? A red who, a!', question: 'Who?', truncated: false};
  expect([length!.of(answer), words!.of(answer)]).toEqual([1, 2 / 5]);
});
