import fc from 'fast-check';
import {LoRAError} from '../../../src/platform/errors';
import {Budget, PatternTable} from '../../../src/core/peft/patternTable';

/** Whether a table of one pattern finds a path. */
function matches(pattern: string, path: string): boolean {
  const table = new PatternTable(new Budget());
  table.add({pattern, value: 1});
  return table.rowsFor(path).length > 0;
}

/** PEFT's own rule, `re.match(rf"(.*\.)?({key})$", path)`, for patterns that JavaScript's engine spells alike. */
function peftMatches(pattern: string, path: string): boolean {
  return new RegExp(String.raw`^(.*\.)?(${pattern})$`).test(path);
}

test.each([
  ['fc1', 'fc1', true],
  ['fc1', 'encoder.fc1', true],
  ['fc1', 'encoder.xfc1', false],
  ['fc1', 'fc1.dense', false],
  ['^fc1', 'fc1', true],
  ['^fc1', 'encoder.fc1', false],
  ['layer.0.query', 'encoder.layer.0.query', true],
  [String.raw`layer\.[0-3]\.(query|value)`, 'encoder.layer.2.value', true],
  [String.raw`layer\.[0-3]\.(query|value)`, 'encoder.layer.4.value', false],
  [String.raw`layer\.\d+\..*`, 'layer.12.attention.query', true],
  [String.raw`.*\.query`, 'query', false],
  ['a|b.c', 'x.a', true],
  ['a|b.c', 'x.b.c', true],
  ['a{,2}b', 'b', true],
  ['a{,}b', 'aaab', true],
  ['a{}', 'a{}', true],
  [String.raw`^layer\.0\.query`, 'layer.0.query', true],
  [String.raw`^layer\.0\.query`, 'layer_0.query', false],
  ['layer.0.query', 'layer_0_query', true],
  [String.raw`(.*\.)?query`, 'query', true],
  [String.raw`(.*\.)??query`, 'a.query', true],
  [String.raw`layers\.\d{1,2}\.(?:q|k)_proj`, 'model.layers.17.k_proj', true],
  [String.raw`layers\.\d{1,2}\.(?:q|k)_proj`, 'model.layers.117.k_proj', false],
  [String.raw`layer\_1`, 'layer_1', true],
  [String.raw`[\_x]1`, '_1', true],
  ['.', '😀', true],
  ['[^.]+', 'a.b', true],
  ['[]x]', ']', true],
  ['[a-]', '-', true],
  [String.raw`[\w-]+`, 'a-b', true],
  ['a??b*?', 'abb', true],
  ['', 'a', false],
  ['', 'a.', true],
])('%p of %p: %p', (pattern, path, expected) => {
  expect(matches(pattern, path)).toBe(expected);
});

test('patterns match what the expression of PEFT matches', () => {
  const single = fc.constantFrom(
    'a',
    'b',
    String.raw`\.`,
    '.',
    '[ab]',
    '[^a]',
    '[a-z0-9]',
    String.raw`[\d.]`,
    String.raw`\d`,
    '0',
  );
  const times = fc.constantFrom('', '', '*', '+', '?', '{2}', '{1,3}', '{0,}', '*?');
  const pattern = fc.letrec<{any: string}>(tie => ({
    any: fc.oneof(
      {maxDepth: 5},
      fc.tuple(single, times).map(parts => parts.join('')),
      fc.constantFrom('^', '$', 'ab'),
      fc.tuple(tie('any'), tie('any')).map(parts => parts.join('')),
      fc.tuple(tie('any'), tie('any'), fc.constantFrom('', '?')).map(([one, other, end]) => `(${one}|${other})${end}`),
    ),
  })).any;
  const path = fc.array(fc.constantFrom('a', 'b', '.', '0'), {maxLength: 8}).map(parts => parts.join(''));
  fc.assert(
    fc.property(pattern, path, (expression, text) => {
      expect(matches(expression, text)).toBe(peftMatches(expression, text));
    }),
    {numRuns: 5000, seed: 7},
  );
});

test('each row that matches a path takes from the budget', () => {
  const spentBy = (rows: number) => {
    const budget = new Budget(10_000);
    const spend = jest.spyOn(budget, 'spend');
    const table = new PatternTable(budget);
    Array.from({length: rows}).forEach((_, value) => table.add({pattern: 'fc1', value}));
    spend.mockClear();
    expect(table.rowsFor('fc1')).toHaveLength(rows);
    return spend.mock.calls.reduce((sum, [steps]) => sum + steps, 0);
  };
  expect(spentBy(500) - spentBy(1)).toBe(499);
});

test('a budget is spent when more is taken than there is', () => {
  const budget = new Budget(3);
  budget.spend(3);
  expect(budget.isSpent).toBe(false);
  expect(() => {
    budget.spend(1);
  }).toThrow(/takes too long/);
  expect(budget.isSpent).toBe(true);
});

test('a pattern that is made to take for ever ends, or has spent its budget', () => {
  const path = 'a'.repeat(900);
  expect(matches('.*.*.*.*.*.*.*.*b', path)).toBe(false);
  expect(matches(`${'a?'.repeat(400)}b`, path)).toBe(false);
  expect(matches(`${'(a|a)'.repeat(200)}b`, path)).toBe(false);
  const table = new PatternTable(new Budget());
  table.add({pattern: '.*[a-z]'.repeat(285), value: 1});
  const read = () => Array.from({length: 1000}, () => table.rowsFor(path));
  expect(read).toThrow(/takes too long/);
});

test.each([
  ['(', /leaves a group open/],
  [')', /closes a group/],
  ['[a', /leaves a set open/],
  ['*a', /repeats nothing/],
  ['a**', /repeats a repetition/],
  ['a{3,2}', /repeats something/],
  ['a{99999}', /repeats something/],
  ['[b-a]', /has \[b-a\], which is not a set/],
  ['\\', /ends in a backslash/],
  ['(?=a)', /lookaround/],
  ['(?i)a', /flag/],
  [String.raw`(a)\1`, /uses \\1/],
  [String.raw`\bfc`, /uses \\b/],
  ['('.repeat(100), /nests more than/],
  ['.*'.repeat(1500), /longer than/],
  ['(a+)+b', /repeats a group\. Write a pattern for each module/],
  ['(?:ab){2}', /repeats a group/],
  ['(?P<name>a)', /named group/],
])('%p is refused', (pattern, message) => {
  expect(() => matches(pattern, '')).toThrow(LoRAError);
  expect(() => matches(pattern, '')).toThrow(message);
});
