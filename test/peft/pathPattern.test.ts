import fc from 'fast-check';
import {LoRAError} from '../../src/errors';
import {pathMatcher} from '../../src/peft/pathPattern';

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
  ['(?:ab){2,3}', 'ababab', true],
  ['(?:ab){2,3}', 'ab', false],
  ['(?:ab){2}', 'ababab', false],
  ['a{,2}b', 'b', true],
  ['a{,}b', 'aaab', true],
  ['a{}', 'a{}', true],
  ['(?P<name>q|k)_proj', 'self.k_proj', true],
  ['[^.]+', 'a.b', true],
  ['[]x]', ']', true],
  ['[a-]', '-', true],
  [String.raw`[\w-]+`, 'a-b', true],
  [String.raw`\Aa\Z`, 'a', true],
  ['a??b*?', 'abb', true],
  ['', 'a', false],
  ['', 'a.', true],
])('%p of %p: %p', (pattern, path, expected) => {
  expect(pathMatcher(pattern)(path)).toBe(expected);
});

test('patterns match what the expression of PEFT matches', () => {
  const pattern = fc.letrec<{any: string}>(tie => ({
    any: fc.oneof(
      {maxDepth: 4},
      fc.constantFrom('a', 'b', 'ab', String.raw`\.`, '.', '[ab]', '[^a]', String.raw`\d`, '0', '^', '$'),
      fc.tuple(tie('any'), tie('any')).map(parts => parts.join('')),
      fc.tuple(tie('any'), tie('any')).map(parts => `(${parts.join('|')})`),
      fc
        .tuple(tie('any'), fc.constantFrom('*', '+', '?', '{2}', '{1,3}', '{0,}', '*?'))
        .map(([a, q]) => `(?:${a})${q}`),
    ),
  })).any;
  const path = fc.array(fc.constantFrom('a', 'b', '.', '0'), {maxLength: 8}).map(parts => parts.join(''));
  fc.assert(
    fc.property(pattern, path, (expression, text) => {
      expect(pathMatcher(expression)(text)).toBe(peftMatches(expression, text));
    }),
    {numRuns: 3000, seed: 7},
  );
});

test('a pattern that is made to take for ever does not', () => {
  const path = 'a'.repeat(200);
  for (const pattern of ['(a+)+b', '(a|a)*b', '(a*)*b', '.*.*.*.*.*.*.*.*b', '((a?){50}){50}b', '(((a{2}){2}){2})*b']) {
    expect(pathMatcher(pattern)(path)).toBe(false);
  }
});

test.each([
  ['(', /leaves a group open/],
  [')', /closes a group/],
  ['[a', /leaves a set open/],
  ['*a', /repeats nothing/],
  ['a**', /repeats a repetition/],
  ['a{3,2}', /repeats something/],
  ['a{99999}', /repeats something/],
  ['[b-a]', /range b-a/],
  ['\\', /ends in a backslash/],
  ['(?=a)', /lookaround/],
  ['(?i)a', /flag/],
  [String.raw`(a)\1`, /uses \\1/],
  [String.raw`\bfc`, /uses \\b/],
  ['('.repeat(100), /nests more than/],
  ['a'.repeat(3000), /longer than/],
  ['((a?){1000}){1000}b', /has more than 10000 states/],
])('%p is refused', (pattern, message) => {
  expect(() => pathMatcher(pattern)).toThrow(LoRAError);
  expect(() => pathMatcher(pattern)).toThrow(message);
});
