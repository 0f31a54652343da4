import fc from 'fast-check';
import {Budget} from '../../../src/core/peft/patternTable';
import {checkKeyMap, closestNames, type KeyMap, nameMapper} from '../../../src/core/peft/modules';

function mapName(keyMap: KeyMap, name: string, way: 'import' | 'export'): string | null | undefined {
  return nameMapper(keyMap, way, new Budget())(name);
}

describe('a table of names', () => {
  const table = {
    'encoder.layer.*.attention.*': 'layer_*_*',
    'encoder.layer.*.norm': 'layer_*_norm',
    classifier: 'head/out',
  };

  test.each([
    ['encoder.layer.11.attention.query', 'layer_11_query'],
    ['encoder.layer.0.norm', 'layer_0_norm'],
    ['classifier', 'head/out'],
  ])('maps %s and %s to each other', (module, layer) => {
    expect(mapName(table, module, 'import')).toBe(layer);
    expect(mapName(table, layer, 'export')).toBe(module);
  });

  test('says nothing of other names', () => {
    expect(mapName(table, 'my.classifier', 'import')).toBeUndefined();
    expect(mapName(table, 'encoder.layer.0.attention.self.query', 'import')).toBeUndefined();
    expect(mapName(table, 'layer_0/norm', 'export')).toBeUndefined();
  });

  test('takes all characters but the star as they are', () => {
    expect(mapName({'a.b+': 'c'}, 'a.b+', 'import')).toBe('c');
    expect(mapName({'a.b+': 'c'}, 'axbb', 'import')).toBeUndefined();
    expect(mapName({'a.*': '$&_*'}, 'a.b', 'import')).toBe('$&_b');
  });

  test('gives each star what an expression of JavaScript gives it', () => {
    const text = fc.array(fc.constantFrom('a', 'b', '.', '/', '*'), {maxLength: 9}).map(parts => parts.join(''));
    const name = fc.array(fc.constantFrom('a', 'b', '.', '/'), {maxLength: 12}).map(parts => parts.join(''));
    fc.assert(
      fc.property(text, name, (pattern, module) => {
        const stars = pattern.split('*').length - 1;
        const layer = Array.from({length: stars}, () => '<*>').join('');
        const expression = pattern.replace(/[./]/g, String.raw`\$&`).replaceAll('*', '([^./]+)');
        const parts = new RegExp(`^${expression}$`).exec(module)?.slice(1);
        const expected = parts?.map(part => `<${part}>`).join('');
        expect(mapName({[pattern]: layer}, module, 'import')).toBe(expected);
      }),
      {numRuns: 3000, seed: 5},
    );
  });

  test('of many stars is compared within the time that a test has', () => {
    const table = {[`${'*a'.repeat(40)}b`]: '*'.repeat(40)};
    expect(mapName(table, 'a'.repeat(1000), 'import')).toBeUndefined();
  });

  test('is two names to a row, with as many stars in one as in the other', () => {
    expect(() => checkKeyMap({'a.*': 'b', c: 'd', 'e.*': 'f_*', g: 1})).toThrow(
      'Rows of keyMap must be two names with as many * in one as in the other:\n  "a.*": "b"\n  "g": 1',
    );
    expect(() => checkKeyMap(null)).toThrow('keyMap must be a function or a table');
  });
});

test('a function of names is asked either way', () => {
  const keyMap = (name: string) => (name === 'a' ? 'b' : name === 'skip' ? null : undefined);
  expect(mapName(keyMap, 'a', 'export')).toBe('b');
  expect(mapName(keyMap, 'skip', 'import')).toBeNull();
  expect(mapName(keyMap, 'c', 'import')).toBeUndefined();
});

test('the closest names are those with the fewest changes, whatever the separators', () => {
  const layers = ['conv2d_1', 'layer_0_query', 'layer_0/value', 'head'];
  expect(closestNames('layer.0.value', layers, 2)).toEqual(['layer_0/value', 'layer_0_query']);
  expect(closestNames('net.Head', layers, 1)).toEqual(['head']);
  expect(closestNames('conv2d1', layers, 1)).toEqual(['conv2d_1']);
});
